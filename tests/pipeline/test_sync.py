"""`make sync` brings MLflow up to date, from the journal or only from git and DVC."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.pipeline.clone import SYNC, Clone, family, wait_for

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from mlflow.entities import Run

SLEEPING_LINE = 'import pathlib, time; pathlib.Path("in_stage").touch(); time.sleep(120)'


def story(clone: Clone, parent: "Run", *, with_stages: bool = True) -> dict[str, Any]:
    """Return the parts of a parent run that must be the same after it was created again."""
    data = parent.data
    kinds: tuple[str, ...] = ("dvc.md5.", "git.commit")
    if with_stages:
        kinds += ("stage.", "git.", "pipeline.")
    tags = {key: value for key, value in data.tags.items() if key.startswith(kinds) and not key.endswith(".run_id")}
    return {
        "params": data.params,
        "metrics": data.metrics,
        "tags": tags,
        "status": parent.info.status,
        "stages": {
            name: (run.info.status, run.data.params, run.data.metrics, run.info.start_time, run.info.end_time)
            for name, run in clone.nested(parent).items()
            if with_stages
        },
    }


def everything(clone: Clone) -> dict[str, Any]:
    return {
        run.info.run_id: (run.info.status, run.data.tags, run.data.metrics, run.info.end_time) for run in clone.runs()
    }


def test_deleted_store_is_rebuilt_and_a_second_sync_changes_nothing(clone: Clone) -> None:
    original = story(clone, clone.parent())
    clone.forget_runs()
    clone.run(*SYNC)
    (parent,) = clone.parents()
    assert story(clone, parent) == original
    assert parent.info.run_name == "first"
    nested = clone.nested(parent)
    assert {stage: parent.data.tags[f"stage.{stage}.run_id"] for stage in nested} == {
        stage: run.info.run_id for stage, run in nested.items()
    }
    before = everything(clone)
    assert "completed 0 of 1 sessions" in clone.run(*SYNC).stderr
    assert everything(clone) == before


def test_fresh_clone_gets_a_parent_run_from_git_and_dvc(clone: Clone, tmp_path: Path) -> None:
    remote, path = tmp_path / "remote", tmp_path / "colleague"
    clone.run("dvc", "remote", "add", "--force", "--default", "storage", str(remote))
    clone.commit()
    clone.run("dvc", "push")
    clone.git("clone", "--quiet", str(clone.path), str(path))
    colleague = Clone(path)
    colleague.run("dvc", "pull")
    assert colleague.status() == []
    colleague.run(*SYNC)
    (parent,) = colleague.parents()
    original = story(clone, clone.parent(), with_stages=False)
    original["tags"]["git.commit"] = clone.git("rev-parse", "HEAD")
    assert story(colleague, parent, with_stages=False) == original
    assert colleague.outcomes() == ["unchanged"] * 5
    # Only the other clone knows which run produced it.
    assert parent.data.tags["stage.train.run_id"] == "unknown"
    before = everything(colleague)
    colleague.run(*SYNC)
    assert everything(colleague) == before


def test_late_sync_records_the_settings_of_the_run_and_not_later_ones(clone: Clone) -> None:
    clone.in_stage("train", SLEEPING_LINE)
    process = clone.start("dvc", "repro")
    wait_for((clone.path / "in_stage").exists)
    for each in family(process.pid):
        each.kill()
    process.communicate()
    assert clone.parent().info.status == "RUNNING"
    clone.set_param("train.estimator", "knn")
    clone.run(*SYNC)
    parent = clone.parent()
    assert parent.info.status == "KILLED"
    assert clone.nested(parent)["train"].info.status == "KILLED"
    assert clone.outcomes(parent)[3] == "failed"
    assert parent.data.params["train.estimator"] == "logreg"
