"""Pipelines with other features of DVC than this project's own."""

import json

import pytest

from tests.pipeline.clone import SYNC, Clone

EXTRA_STAGES = """
vars: [{sizes: {small: 3}}]

metrics: [reports/each_a.json]

stages:
  shell:
    cmd: wc -l ${train.cv_results_path} > reports/lines.txt
    deps: ["${train.cv_results_path}"]
    outs: [reports/lines.txt]
  each:
    foreach: [a, b]
    do:
      cmd: >-
        echo '{"n_${item}": ${sizes.small}}' > reports/each_${item}.json
      outs: ["reports/each_${item}.json"]
  cell:
    matrix: {row: [1, 2], column: [x]}
    cmd: echo ${item.row} > reports/cell_${item.row}_${item.column}.txt
    outs: ["reports/cell_${item.row}_${item.column}.txt"]
  inside:
    wdir: reports
    cmd: cp metrics.json copy.md
    deps: [metrics.json]
    outs: [copy.md]
  again:
    foreach: [1, 2]
    do:
      cmd:
        - python -m src.stages.featurize --config params.yaml
        - cp data/processed/features.parquet reports/${item}.parquet
      deps: ["${data_load.dataset_path}"]
      outs: ["reports/${item}.parquet"]
"""
EXTRA = ["shell", "each@a", "each@b", "cell@1-x", "cell@2-x", "inside", "again@1", "again@2"]


@pytest.fixture
def extended(clone: Clone) -> Clone:
    """Add stages with a shell command, foreach, matrix, vars and wdir, and a top-level metric."""
    stages = EXTRA_STAGES.partition("stages:")
    text = clone.read("dvc.yaml").replace("\nplots:", f"{stages[2].rstrip()}\n\nplots:")
    (clone.path / "dvc.yaml").write_text(stages[0] + text)
    clone.commit("More stages")
    return clone


def outcomes(clone: Clone) -> dict[str, str]:
    tags = clone.parent().data.tags
    # MLflow allows no @ in a key.
    return {stage: tags.get(f"stage.{stage.replace('@', '_')}", "-") for stage in EXTRA}


def test_stages_of_every_kind_are_recorded(extended: Clone) -> None:
    extended.launch()
    assert outcomes(extended) == dict.fromkeys(EXTRA, "ran")
    assert extended.parent().data.metrics["n_a"] == 3
    assert set(extended.nested(extended.parent())) == {"again@1", "again@2"}
    extended.launch()
    assert outcomes(extended) == dict.fromkeys(EXTRA, "unchanged")


def test_stage_whose_command_fails_is_recorded_as_failed(extended: Clone) -> None:
    extended.edit("dvc.yaml", r"cmd: wc -l .*", "cmd: exit 3")
    extended.launch(code=255)
    assert extended.parent().info.status == "FAILED"
    assert outcomes(extended)["shell"] == "failed"


@pytest.mark.thorough
def test_cache_from_the_users_configuration_is_used(clone: Clone) -> None:
    home = clone.path.parent / "home"
    (home / ".config" / "dvc").mkdir(parents=True)
    (home / ".config" / "dvc" / "config").write_text(f"[cache]\n    dir = {home / 'cache'}\n")
    clone.env |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
    clone.set_param("train.cv", 3)
    clone.launch()
    assert any((home / "cache").rglob("*"))
    before = clone.parent().data.metrics
    clone.forget_runs()
    clone.run(*SYNC)
    parent = clone.parent()
    assert parent.data.metrics == before
    assert clone.nested(parent)["train"].inputs.dataset_inputs


def test_sync_ignores_a_journal_in_an_older_format(clone: Clone) -> None:
    session = clone.path / ".dvc" / "tmp" / "pipeline" / "launch-of-old"
    session.mkdir()
    (session / "session.json").write_text(json.dumps({"id": "launch-of-old", "closed_by_owner": True}))
    (session / "visit-1-2-train.json").write_text(json.dumps({"stage": "train", "status": "FINISHED"}))
    n_before = len(clone.parents())
    clone.run(*SYNC)
    assert len(clone.parents()) == n_before
    assert session.exists()
