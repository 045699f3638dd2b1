from pathlib import Path

import pytest

from src.tracking.journal import Journal, Session
from src.tracking.lineage import StageEntry, observe_stage, read_stages
from src.tracking.names import Status
from src.tracking.parent_run import ensure_parent
from src.tracking.session import Place
from src.tracking.stage_run import close_stage_run, open_stage_run
from src.tracking.store import Store, open_store
from tests.tracking.workspace import artifacts, make_session, make_visit


@pytest.fixture
def session(store: Store, root: Path) -> Session:
    return ensure_parent(store, Journal(root), make_session(root))


def test_stage_is_nested_under_the_parent_of_its_session(store: Store, session: Session) -> None:
    visit = make_visit("train", status="RUNNING")
    open_stage_run(store, session, visit)
    run = store.client.get_run(visit.run_id)
    assert (run.info.run_name, run.info.status, run.info.start_time) == ("train", "RUNNING", 2_000)
    assert run.data.tags["mlflow.parentRunId"] == session.run_id
    assert run.data.tags["pipeline.kind"] == "stage"
    assert run.data.tags["dvc.stage"] == "train"
    assert run.data.tags["mlflow.source.name"] == "src/stages/train.py"
    assert run.data.tags["pipeline.session"] == "some"


def test_nested_run_does_not_touch_the_status_of_the_parent(store: Store, session: Session, place: Place) -> None:
    visit = make_visit("train", status="FAILED")
    open_stage_run(store, session, visit)
    close_stage_run(store, place, visit)
    assert store.client.get_run(session.run_id).info.status == "RUNNING"


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_stage_ends_with_its_own_status_and_time(store: Store, session: Session, place: Place, status: Status) -> None:
    entry = StageEntry("cmd", {"src/a.py": "1", "t.parquet": "2"}, {}, {"out.parquet": "3"})
    visit = make_visit("train", status=status, entry=entry, params={"cv": "5"}, metrics={"n": 3.0}, tags={"x": "y"})
    open_stage_run(store, session, visit)
    close_stage_run(store, place, visit)
    run = store.client.get_run(visit.run_id)
    assert visit.complete
    assert (run.info.status, run.info.end_time) == (status, 5_500)
    assert (run.data.params, run.data.metrics, run.data.tags["x"]) == ({"cv": "5"}, {"n": 3.0}, "y")
    assert run.data.tags["dvc.md5.t.parquet"] == "2"
    assert "dvc.md5.src/a.py" not in run.data.tags
    # What failed has produced nothing that a later session could find.
    assert run.data.tags.get("dvc.entry") == (entry.digest if status == "FINISHED" else None)


def test_failed_stage_has_its_traceback(store: Store, session: Session, place: Place) -> None:
    visit = make_visit("train", status="FAILED", traceback="Traceback …\nValueError: é")
    open_stage_run(store, session, visit)
    close_stage_run(store, place, visit)
    path = Path(store.client.download_artifacts(visit.run_id, "traceback.txt"))
    assert path.read_text(encoding="utf-8") == "Traceback …\nValueError: é"


def test_stage_can_be_closed_again_after_a_failure_half_way(store: Store, session: Session, place: Place) -> None:
    visit = make_visit("train", params={"cv": "5", "long": "x" * 9_000}, metrics={"n": 3.0}, tags={"t": "y" * 9_000})
    open_stage_run(store, session, visit)
    for _ in range(2):
        close_stage_run(store, place, visit)
    assert store.client.get_run(visit.run_id).info.status == "FINISHED"


def test_run_that_the_stage_has_open_by_itself_is_closed(store: Store, session: Session, place: Place) -> None:
    import mlflow

    visit = make_visit("train", status="FAILED")
    open_stage_run(store, session, visit)
    mlflow.start_run(run_id=visit.run_id)
    close_stage_run(store, place, visit)
    assert mlflow.active_run() is None
    assert store.client.get_run(visit.run_id).info.status == "FAILED"


# MLflow compares string columns with a range to tell whether they have names.
@pytest.mark.filterwarnings("ignore:Operation with range is deprecated:DeprecationWarning")
# MLflow's own functions of language models lack the type hints that it asks for.
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_finished_stage_has_its_tables_plots_and_model(repository: Path) -> None:
    store, place = open_store(repository, "pipeline"), Place(repository, repository)
    session = ensure_parent(store, Journal(repository), make_session(repository))
    definition = read_stages(repository)["train"]
    entry = observe_stage(repository, definition)
    visit = make_visit("train", entry=entry, plots=definition.plots, models=["models/model.joblib"])
    open_stage_run(store, session, visit)
    close_stage_run(store, place, visit)
    run = store.client.get_run(visit.run_id)
    assert (run.info.status, run.info.end_time) == ("FINISHED", 5_500)
    (table,) = run.inputs.dataset_inputs
    assert (table.dataset.name, table.dataset.digest) == ("data/train.parquet", entry.deps["data/train.parquet"])
    assert "reports/train" in artifacts(store, run.info.run_id, "reports")
    (model,) = run.outputs.model_outputs
    assert store.client.get_logged_model(model.model_id).tags["dvc.md5"] == entry.outs["models/model.joblib"]


def test_failed_stage_has_neither_plots_nor_a_model(repository: Path) -> None:
    store, place = open_store(repository, "pipeline"), Place(repository, repository)
    session = ensure_parent(store, Journal(repository), make_session(repository))
    definition = read_stages(repository)["train"]
    entry = observe_stage(repository, definition)
    visit = make_visit(
        "train", status="FAILED", entry=entry, plots=definition.plots, models=["models/model.joblib"], traceback="x"
    )
    open_stage_run(store, session, visit)
    close_stage_run(store, place, visit)
    run = store.client.get_run(visit.run_id)
    assert artifacts(store, run.info.run_id) == {"traceback.txt"}
    assert len(run.inputs.dataset_inputs) == 1
    assert not (run.outputs and run.outputs.model_outputs)


def test_first_stage_shows_the_table_that_it_wrote(repository: Path) -> None:
    store, place = open_store(repository, "pipeline"), Place(repository, repository)
    session = ensure_parent(store, Journal(repository), make_session(repository))
    entry = observe_stage(repository, read_stages(repository)["data_split"])
    visit = make_visit("data_split", entry=StageEntry(entry.cmd, {}, {}, entry.outs))
    open_stage_run(store, session, visit)
    close_stage_run(store, place, visit)
    (table,) = store.client.get_run(visit.run_id).inputs.dataset_inputs
    assert table.dataset.name == "data/train.parquet"
