"""Each DVC experiment has one parent run in the store of the main repository."""

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from src.tracking.session import numbers
from tests.pipeline.clone import COMPLETE_SECONDS, STAGES, SYNC, Clone, wait_for

if TYPE_CHECKING:
    from mlflow.entities import Run


def experiments(clone: Clone) -> "dict[str, Run]":
    """Return the parent runs of experiments by DVC's name of the experiment."""
    found = clone.runs("tags.`pipeline.kind` = 'parent' and tags.`dvc.exp.name` != ''")
    assert len({run.data.tags["dvc.exp.name"] for run in found}) == len(found)
    return {run.data.tags["dvc.exp.name"]: run for run in found}


def shown_by_dvc(clone: Clone) -> dict[str, dict[str, Any]]:
    """Return the metrics of each experiment from `dvc exp show`."""
    shown: dict[str, dict[str, Any]] = {}
    for baseline in json.loads(clone.run("dvc", "exp", "show", "--json").stdout):
        for experiment in baseline["experiments"] or []:
            files = experiment["revs"][-1]["data"]["metrics"].values()
            shown[experiment["name"]] = {key: value for file in files for key, value in file["data"].items()}
    return shown


def assert_complete(clone: Clone, name: str, outcomes: list[str]) -> None:
    wait_for(lambda: experiments(clone)[name].info.status != "RUNNING", seconds=COMPLETE_SECONDS)
    parent = experiments(clone)[name]
    assert parent.info.run_name == name
    assert parent.info.status == "FINISHED"
    assert clone.outcomes(parent) == outcomes
    assert parent.data.tags["dvc.exp.baseline"] == clone.git("rev-parse", "HEAD")
    assert parent.info.artifact_uri.startswith((clone.path / "mlruns").as_uri())
    assert parent.data.metrics == numbers(shown_by_dvc(clone)[name])
    ran = {stage for stage, outcome in zip(STAGES, outcomes, strict=True) if outcome == "ran"}
    assert set(clone.nested(parent)) == ran
    plots = {path.name for path in (clone.path / "mlruns" / parent.info.run_id).rglob("*.png")}
    assert "confusion_matrix.png" in plots


@pytest.mark.slow
def test_experiments_of_every_kind_have_one_complete_parent_each(clone: Clone) -> None:
    """All kinds share a repository, because each experiment takes seconds."""
    unchanged = ["unchanged"] * 3

    # In a temporary folder, which DVC deletes. The model is the same, so evaluate is skipped.
    path = clone.path / "src/train/fit.py"
    path.write_text(path.read_text() + "\n# another line\n")
    clone.run("dvc", "exp", "run", "--temp", "--name", "in-temp")
    assert_complete(clone, "in-temp", [*unchanged, "ran", "unchanged"])
    clone.git("checkout", "--quiet", "src")

    # Two at once in the queue, with the run id of another session.
    for name, estimator in (("queued-knn", "knn"), ("queued-svm", "svm")):
        clone.run("dvc", "exp", "run", "--queue", "--name", name, "--set-param", f"train.estimator={estimator}")
    clone.run("dvc", "queue", "start", "--jobs", "2", MLFLOW_RUN_ID=clone.parent().info.run_id, PIPELINE_SESSION="x")
    wait_for(lambda: clone.run("dvc", "queue", "status").stdout.count("Success") == 2, seconds=120)
    wait_for(lambda: "0 active" in clone.run("dvc", "queue", "status").stdout)
    for name in ("queued-knn", "queued-svm"):
        assert_complete(clone, name, [*unchanged, "ran", "ran"])
    assert clone.outcomes(clone.parents()[-1]) == ["ran"] * 5

    # In the workspace. All stages come from the run cache, so only git has a trace of it.
    clone.run("dvc", "exp", "run", "--name", "in-workspace", "--set-param", "train.estimator=knn")
    assert "in-workspace" not in experiments(clone)
    clone.run(*SYNC)
    assert_complete(clone, "in-workspace", [*unchanged, "restored", "restored"])

    # From git and DVC's cache only.
    before = experiments(clone)
    assert set(before) == {"in-temp", "queued-knn", "queued-svm", "in-workspace"}
    clone.forget_runs()
    shutil.rmtree(clone.path / ".dvc/tmp/pipeline")
    clone.run(*SYNC)
    after = experiments(clone)
    assert set(after) == set(before)
    for name, parent in after.items():
        assert parent.data.params == before[name].data.params
        assert parent.data.metrics == before[name].data.metrics
        assert clone.outcomes(parent)[:3] == unchanged
    assert clone.run(*SYNC).stderr.startswith("MLflow is up to date: completed 0 of ")
