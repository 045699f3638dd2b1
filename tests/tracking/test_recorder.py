import logging
import os
from pathlib import Path

import pytest

from src.tracking.journal import Journal, Session, Visit
from src.tracking.lineage import read_lock
from src.tracking.recorder import Recorder, StageRecord
from src.tracking.store import Store, open_store
from tests.tracking.workspace import UNREACHABLE, make_session, runs


def only_session(root: Path) -> tuple[Session, list[Visit]]:
    (session,) = Journal(root).sessions()
    return session, Journal(root).visits(session.id)


def store_of(root: Path) -> Store:
    return open_store(root, "pipeline")


def test_stage_alone_is_a_parent_with_one_nested_run(repository: Path) -> None:
    recorder = Recorder("data_split", "pipeline")
    recorder.start()
    assert [run.info.status for run in runs(store_of(repository))] == ["RUNNING", "RUNNING"]
    recorder.finish("FINISHED", StageRecord(metrics={"n_rows": 4}, tags={"source": "iris"}))
    (parent,), (nested,) = (runs(store_of(repository), kind) for kind in ("parent", "stage"))
    assert nested.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (nested.info.run_name, nested.info.status, parent.info.status) == ("data_split", "FINISHED", "FINISHED")
    assert nested.data.params == {"base.target_column": "target", "split.size": "0.25"}
    assert nested.data.metrics == {"n_rows": 4.0}
    assert nested.data.tags["source"] == "iris"
    assert nested.data.tags["dvc.entry"] == read_lock(repository)["data_split"].digest
    assert parent.data.tags["stage.data_split"] == "ran"
    assert parent.data.tags["stage.data_split.run_id"] == nested.info.run_id


def test_metrics_of_a_stage_are_those_of_its_files_and_those_that_it_tells(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://nowhere")
    recorder = Recorder("train", "pipeline")
    recorder.start()
    recorder.finish("FINISHED", StageRecord(metrics={"n_rows": 4}))
    _, (visit,) = only_session(repository)
    assert visit.metrics == {"n_rows": 4, "test_f1_macro": 0.5, "rows.train": 4.0}
    assert visit.params == {"split.size": "0.25", "split.nested.name": "train", "split.nested.shuffle": "true"}


def test_failed_stage_shows_no_metrics_of_a_former_run(repository: Path) -> None:
    recorder = Recorder("train", "pipeline")
    recorder.start()
    recorder.finish("FAILED", traceback="Traceback: no")
    _, (visit,) = only_session(repository)
    assert (visit.status, visit.metrics, visit.traceback) == ("FAILED", {}, "Traceback: no")
    parent, nested = runs(store_of(repository), "parent")[0], runs(store_of(repository), "stage")[0]
    assert (parent.info.status, nested.info.status, nested.data.metrics) == ("FAILED", "FAILED", {})
    assert parent.data.tags["stage.train"] == "failed"


def test_fluent_functions_of_a_stage_write_to_its_own_run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    parent_id = store_of(repository).client.create_run(store_of(repository).experiment_id).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", parent_id)
    recorder = Recorder("data_split", "pipeline")
    recorder.start()
    mlflow.log_metric("by_hand", 1.0)
    recorder.finish("FINISHED")
    (nested,) = runs(store_of(repository), "stage")
    assert nested.data.metrics == {"by_hand": 1.0}
    assert nested.data.tags["mlflow.parentRunId"] == parent_id
    assert nested.info.run_id != parent_id


def test_stages_of_one_process_are_siblings(repository: Path) -> None:
    for stage in ("data_split", "train"):
        recorder = Recorder(stage, "pipeline")
        recorder.start()
        recorder.finish("FAILED")
    (parent,) = runs(store_of(repository), "parent")
    nested = runs(store_of(repository), "stage")
    assert [run.info.run_name for run in nested] == ["data_split", "train"]
    assert {run.data.tags["mlflow.parentRunId"] for run in nested} == {parent.info.run_id}


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("run_id", [None, "0a1b"])
def test_environment_is_afterwards_as_it_was(monkeypatch: pytest.MonkeyPatch, run_id: str | None) -> None:
    if run_id:
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    recorder = Recorder("data_split", "pipeline")
    recorder.start()
    recorder.finish("FAILED")
    assert os.environ.get("MLFLOW_RUN_ID") == run_id


def test_parent_of_the_launcher_is_left_to_the_launcher(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Journal(repository).write_session(make_session(repository, "launch-1"))
    monkeypatch.setenv("PIPELINE_SESSION", "launch-1")
    recorder = Recorder("data_split", "pipeline")
    recorder.start()
    recorder.finish("FINISHED")
    (parent,) = runs(store_of(repository), "parent")
    assert parent.info.status == "RUNNING"
    assert "stage.data_split" not in parent.data.tags
    assert runs(store_of(repository), "stage")[0].info.status == "FINISHED"


@pytest.mark.parametrize("uri", ["foo://ann:s3cr3t@nowhere", UNREACHABLE])
def test_store_that_fails_costs_one_warning_and_nothing_of_the_journal(
    repository: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    recorder = Recorder("data_split", "pipeline")
    with caplog.at_level(logging.WARNING, logger="src"):
        recorder.start()
        recorder.finish("FINISHED", StageRecord(metrics={"n_rows": 4}))
    (record,) = caplog.records
    assert record.getMessage().startswith("MLflow store ")
    assert "make sync" in record.getMessage() or "no such kind of store" in record.getMessage()
    assert "s3cr3t" not in caplog.text
    session, (visit,) = only_session(repository)
    assert (session.status, session.run_id, session.complete) == ("FINISHED", None, False)
    assert (visit.status, visit.run_id, visit.complete, visit.metrics) == ("FINISHED", None, False, {"n_rows": 4})
    assert visit.entry is not None
    assert visit.entry.digest == read_lock(repository)["data_split"].digest


def test_store_that_is_lost_while_the_stage_runs_costs_one_warning(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder("data_split", "pipeline")
    recorder.start()
    (nested,) = runs(store_of(repository), "stage")
    store_of(repository).client.delete_run(nested.info.run_id)
    with caplog.at_level(logging.WARNING, logger="src"):
        recorder.finish("FINISHED")
    assert len(caplog.records) == 1
    _, (visit,) = only_session(repository)
    assert (visit.status, visit.complete) == ("FINISHED", False)


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml"])
def test_files_that_cannot_be_read_stop_no_stage(repository: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    (repository / name).write_text("a: [\n")
    recorder = Recorder("data_split", "pipeline")
    with caplog.at_level(logging.WARNING, logger="src"):
        recorder.start()
        recorder.finish("FINISHED")
    assert name in caplog.text


def test_function_that_dvc_yaml_does_not_name_is_recorded(repository: Path) -> None:
    recorder = Recorder("explore", "pipeline")
    recorder.start()
    recorder.finish("FINISHED", StageRecord(metrics={"n": 1}))
    (nested,) = runs(store_of(repository), "stage")
    assert (nested.info.run_name, nested.info.status, nested.data.metrics) == ("explore", "FINISHED", {"n": 1.0})
    assert nested.data.params == {}
