"""Each DVC experiment has one parent run in the store of the main repository."""

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from src.tracking.session import numbers
from tests.pipeline.clone import COMPLETE_SECONDS, STAGES, SYNC, Clone, wait_for
from tests.pipeline.versions import make

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
@pytest.mark.thorough
def test_experiments_of_every_kind_have_one_complete_parent_each(clone: Clone) -> None:
    """All kinds share a repository, because each experiment takes seconds."""
    unchanged = ["unchanged"] * 3

    # In a temporary folder, which DVC deletes. The model is the same, so evaluate is skipped.
    path = clone.path / "src/train/fit.py"
    path.write_text(path.read_text() + "\n# another line\n")
    clone.run("dvc", "exp", "run", "--temp", "--name", "in-temp")
    assert_complete(clone, "in-temp", [*unchanged, "ran", "unchanged"])
    clone.git("checkout", "--quiet", "src")

    # In the queue, with the run id of another session. `make experiments` below runs two at once.
    clone.run("dvc", "exp", "run", "--queue", "--name", "queued", "--set-param", "train.estimator=knn")
    clone.run("dvc", "queue", "start", MLFLOW_RUN_ID=clone.parent().info.run_id, PIPELINE_SESSION="x")
    wait_for(lambda: "Success" in clone.run("dvc", "queue", "status").stdout, seconds=120)
    wait_for(lambda: "0 active" in clone.run("dvc", "queue", "status").stdout)
    assert_complete(clone, "queued", [*unchanged, "ran", "ran"])
    assert clone.outcomes(clone.parents()[-1]) == ["ran"] * 5

    # In the workspace. All stages come from the run cache, so only git has a trace of it.
    clone.run("dvc", "exp", "run", "--name", "in-workspace", "--set-param", "train.estimator=knn")
    assert "in-workspace" not in experiments(clone)
    clone.run(*SYNC)
    assert_complete(clone, "in-workspace", [*unchanged, "restored", "restored"])

    # From git and DVC's cache only.
    before = experiments(clone)
    assert set(before) == {"in-temp", "queued", "in-workspace"}
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


@pytest.mark.slow
def test_make_experiments_tries_a_grid_and_runs_again_only_what_changed(clone: Clone) -> None:
    """All cases share a repository, because each experiment takes seconds."""
    grid = "train.estimator=knn,no.such.Class train.cv=3"
    result = make(clone, "experiments", code=1, GRID=grid)
    lines = result.stdout.splitlines()
    assert lines[1].split() == [
        "name",
        "estimator",
        "test_f1_macro",
        "95",
        "%",
        "interval",
        "seconds",
        "cv_f1_macro_mean",
    ]
    shown = shown_by_dvc(clone)["knn-cv3"]
    low, high = (shown[f"test_f1_macro_ci95_{end}"] for end in ("low", "high"))
    start = f"* knn-cv3            knn            {shown['test_f1_macro']:.4f}         {low:.4f} to {high:.4f}  "
    assert lines[2].startswith(start)
    assert lines[2].endswith(f"{shown['cv_f1_macro_mean']:.4f}")
    assert lines[3].split() == ["no.such.Class-cv3", "no.such.Class", "failed", "-", "-", "-"]
    assert max(map(len, lines)) <= 100
    assert "Bring it into the workspace: dvc exp apply knn-cv3\n1 failed; see why: dvc queue logs no" in result.stdout
    assert "cannot be imported" in clone.run("dvc", "queue", "logs", "no.such.Class-cv3").stdout
    assert_complete(clone, "knn-cv3", ["unchanged"] * 3 + ["ran", "ran"])
    stages = clone.nested(experiments(clone)["knn-cv3"]).values()
    seconds = sum(run.info.end_time - run.info.start_time for run in stages) / 1000
    assert float(lines[2].split()[-2]) == pytest.approx(seconds, abs=0.2)
    assert experiments(clone)["no.such.Class-cv3"].info.status == "FAILED"
    wait_for(lambda: "0 active, 0 idle" in clone.run("dvc", "queue", "status").stdout)

    # The same again changes nothing.
    n_runs, commit = len(clone.runs()), clone.git("for-each-ref", "refs/exps/*/*/knn-cv3")
    again = make(clone, "experiments", GRID="train.estimator=knn train.cv=3")
    assert "skipping knn-cv3, which exists with the same code, data and settings\n" in again.stderr
    assert again.stdout.splitlines()[2].split()[-6:] == lines[2].split()[-6:]
    assert (len(clone.runs()), clone.git("for-each-ref", "refs/exps/*/*/knn-cv3")) == (n_runs, commit)


@pytest.mark.thorough
def test_changed_setting_that_is_not_part_of_the_name_replaces_the_experiment(clone: Clone) -> None:
    make(clone, "experiments", GRID="train.estimator=knn train.cv=3")
    commit = clone.git("for-each-ref", "refs/exps/*/*/knn-cv3")
    # It is not committed.
    clone.edit("params.yaml", "n_bootstrap: 1000", "n_bootstrap: 200")
    clone.launch()
    replaced = make(clone, "experiments", GRID="train.estimator=knn train.cv=3")
    assert "1 of 1: knn-cv3 done\n" in replaced.stderr
    assert clone.git("for-each-ref", "refs/exps/*/*/knn-cv3") != commit
    assert "n_bootstrap: 200" in clone.read("params.yaml")
    assert "estimator: logreg" in clone.read("params.yaml")
    clone.run("dvc", "exp", "apply", "knn-cv3")
    assert clone.params()["train"]["estimator"] == "knn"
    assert clone.params()["evaluate"]["n_bootstrap"] == 200
    assert clone.status() == []


def test_wrong_grid_is_refused_before_anything_is_queued(clone: Clone) -> None:
    result = make(clone, "experiments", code=2, GRID="train.cvv=3")
    assert "ConfigError: GRID: params.yaml has no setting 'train.cvv'; did you mean train.cv?\n" in result.stderr
    assert make(clone, "experiments", code=2, GRID="").stderr.startswith("ConfigError: GRID is empty; ")
    assert not (clone.path / ".dvc/tmp/exps").exists()
