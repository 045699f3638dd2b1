"""The pipeline in a clone, with real git, DVC and MLflow."""

import json
from pathlib import Path

import pytest

from src.tracking.session import numbers
from tests.pipeline.clone import LAUNCHER, STAGES, SYNC, Clone


def test_first_run_has_one_parent_with_five_finished_stages(clone: Clone) -> None:
    (parent,) = clone.parents()
    nested = clone.nested(parent)
    assert parent.info.run_name == "first"
    assert set(nested) == set(STAGES)
    assert {run.info.status for run in [parent, *nested.values()]} == {"FINISHED"}
    assert clone.outcomes(parent) == ["ran"] * 5


def test_parent_has_params_metrics_files_and_the_commit(clone: Clone) -> None:
    from mlflow import MlflowClient

    parent = clone.parent()
    assert parent.data.params["train.estimator"] == clone.params()["train"]["estimator"]
    expected = json.loads(clone.read("reports/metrics.json")) | json.loads(clone.read("reports/cv_metrics.json"))
    assert parent.data.metrics == numbers(expected)
    artifacts = {item.path for item in MlflowClient(clone.store).list_artifacts(parent.info.run_id)}
    assert {"dvc.yaml", "dvc.lock", "params.yaml", "reports"} <= artifacts
    assert parent.data.tags["git.commit"] == clone.git("rev-parse", "HEAD~1")
    assert parent.data.tags["git.branch"] == "main"
    assert parent.data.tags["git.dirty"] == "false"


def test_nested_runs_have_only_their_own_params(clone: Clone) -> None:
    nested = clone.nested(clone.parent())
    sections = {name.partition(".")[0] for name in nested["featurize"].data.params}
    assert sections == {"base", "featurize"}
    assert "data_split.test_size" in nested["data_split"].data.params
    assert "test_f1_macro" in nested["evaluate"].data.metrics
    assert "cv_f1_macro_mean" in nested["train"].data.metrics


def test_second_run_executes_no_stage_and_says_so(clone: Clone) -> None:
    lock = clone.lock()
    result = clone.launch("--name", "second")
    assert "Nothing to do: all 5 stages are up to date." in result.stdout
    assert "test_f1_macro" in result.stdout
    assert "models/model.joblib" in result.stdout
    assert "make ui" in result.stdout
    assert clone.lock() == lock
    second, first = clone.parents()
    assert clone.outcomes(second) == ["unchanged"] * 5
    assert clone.nested(second) == {}
    assert second.data.metrics == first.data.metrics


@pytest.mark.slow
def test_forced_rerun_writes_the_same_bytes(clone: Clone) -> None:
    lock = clone.lock()
    clone.launch("-f")
    assert clone.lock() == lock
    assert clone.git("status", "--porcelain") == ""


def test_variables_of_git_do_not_lead_into_another_repository(clone: Clone, tmp_path: Path) -> None:
    clone.run("git", "init", "--quiet", str(tmp_path / "other"))
    other = {"GIT_DIR": str(tmp_path / "other/.git"), "GIT_WORK_TREE": str(tmp_path / "other")}
    clone.launch("-f", "-s", "featurize", **other)
    parent = clone.parent()
    for run in (parent, *clone.nested(parent).values()):
        assert run.data.tags["git.commit"] == clone.git("rev-parse", "HEAD")
    assert (parent.data.tags["git.branch"], parent.data.tags["git.dirty"]) == ("main", "false")


def test_log_level_reruns_nothing(clone: Clone) -> None:
    clone.set_param("base.log_level", "DEBUG")
    assert clone.status() == []


def test_cv_reruns_nothing_before_train(clone: Clone) -> None:
    clone.set_param("train.cv", 3)
    assert clone.status() == ["train"]
    clone.launch()
    assert clone.outcomes() == ["unchanged", "unchanged", "unchanged", "ran", "ran"]


def test_editing_the_figures_reruns_evaluate_only(clone: Clone) -> None:
    path = clone.path / "src/report/visualizing.py"
    path.write_text(path.read_text() + "\n# another line\n")
    assert clone.status() == ["evaluate"]
    clone.launch()
    assert clone.outcomes() == ["unchanged"] * 4 + ["ran"]


def test_model_predicts_raw_rows_as_it_was_evaluated(clone: Clone) -> None:
    import joblib
    import pandas as pd

    model = joblib.load(clone.path / "models/model.joblib")
    raw = pd.read_parquet(clone.path / "data/raw/dataset.parquet")
    featurized = pd.read_parquet(clone.path / "data/processed/features.parquet")
    assert list(model.predict(raw)) == list(model[1:].predict(featurized))


@pytest.mark.slow
def test_run_opened_by_hand_becomes_the_parent(clone: Clone) -> None:
    opened = clone.launch("--open", "--name", "by hand").stdout
    run_id = opened.strip()
    assert opened == f"{run_id}\n"
    clone.set_param("data_split.test_size", 0.25)
    clone.repro(MLFLOW_RUN_ID=run_id)
    parent = clone.parent()
    assert (parent.info.run_id, parent.info.run_name, parent.info.status) == (run_id, "by hand", "FINISHED")
    assert set(clone.nested(parent)) == {"data_split", "train", "evaluate"}
    assert clone.outcomes(parent) == ["unchanged", "unchanged", "ran", "ran", "ran"]


def test_outputs_contain_no_run_id(clone: Clone) -> None:
    known = [run.info.run_id.encode() for run in clone.runs()]
    outputs = [clone.path / name for name in ("dvc.lock", "models/model.joblib", "reports/metrics.json")]
    assert known
    assert not [run_id for path in outputs for run_id in known if run_id in path.read_bytes()]


def test_disabled_tracking_records_nothing(clone: Clone) -> None:
    clone.forget_runs()
    clone.set_param("tracking.enabled", False)
    clone.set_param("train.cv", 3)
    clone.launch()
    assert clone.status() == []
    assert not (clone.path / "mlflow.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("home", ["-uHOME", "HOME=/"])
def test_user_whom_the_system_does_not_know_runs_the_pipeline(clone: Clone, home: str) -> None:
    nameless = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
    nameless += ["env", "-uUSER", "-uLOGNAME", "-uLNAME", "-uUSERNAME", home]
    clone.set_param("train.estimator", "knn")
    result = clone.run(*nameless, *LAUNCHER)
    assert "WARNING" not in result.stderr
    assert clone.outcomes() == ["unchanged"] * 3 + ["ran"] * 2
    assert clone.parent().data.tags["mlflow.user"] == "54321"
    assert "is up to date" in clone.run(*nameless, *SYNC).stderr
    assert clone.git("status", "--porcelain", "--untracked-files").count("??") == 0
