import os
from pathlib import Path

import pytest

from src.errors import TrackingError
from src.tracking.journal import Journal
from src.tracking.store import Store, open_store
from src.tracking.sync import sync
from tests.tracking.workspace import (
    ended_session,
    foreign_key,
    git,
    make_session,
    make_visit,
    runs,
)


@pytest.fixture
def journal(root: Path) -> Journal:
    return Journal(root)


def snapshot_of(store: Store) -> list[tuple[object, ...]]:
    return [
        (run.info.run_id, run.info.status, run.info.end_time, run.data.params, run.data.metrics, run.data.tags)
        for run in runs(store)
    ]


def test_folder_without_sessions_needs_no_work(root: Path, store: Store) -> None:
    assert sync(root, "pipeline") == (0, 0)
    assert runs(store) == []


def test_session_that_no_store_knows_of_is_recorded(journal: Journal, store: Store) -> None:
    journal.write_session(ended_session(journal.root))
    journal.write_visit("some", make_visit("train", metrics={"f1": 0.5}))
    assert sync(journal.root, "pipeline") == (1, 1)
    (parent,), (nested,) = runs(store, "parent"), runs(store, "stage")
    assert (parent.info.run_name, parent.info.status, parent.info.end_time) == ("by test", "FINISHED", 9_000)
    assert (nested.info.status, nested.info.start_time, nested.info.end_time) == ("FINISHED", 2_000, 5_500)
    assert nested.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.tags["stage.train.run_id"] in (nested.info.run_id, "unknown")
    session, (visit,) = journal.read_session("some"), journal.visits("some")
    assert session is not None
    assert (session.run_id, session.complete) == (parent.info.run_id, True)
    assert (visit.run_id, visit.complete) == (nested.info.run_id, True)


def test_sync_again_changes_nothing(journal: Journal, store: Store) -> None:
    for session_id in ("one", "two"):
        journal.write_session(ended_session(journal.root, session_id))
        journal.write_visit(session_id, make_visit("train"))
    assert sync(journal.root, "pipeline") == (2, 2)
    before = snapshot_of(store)
    assert len(before) == 4
    assert sync(journal.root, "pipeline") == (0, 2)
    assert snapshot_of(store) == before


def test_record_is_rebuilt_in_another_store(journal: Journal, store: Store, templates: Path) -> None:
    journal.write_session(ended_session(journal.root))
    journal.write_visit("some", make_visit("train", metrics={"f1": 0.5}))
    sync(journal.root, "pipeline")
    before = {(run.info.run_name, run.info.status, run.info.start_time, *run.data.metrics) for run in runs(store)}
    # A store that was deleted and made anew.
    (journal.root / "other.db").write_bytes((templates / "mlflow.db").read_bytes())
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{journal.root}/other.db"
    assert sync(journal.root, "pipeline") == (1, 1)
    other = open_store(journal.root, "pipeline")
    assert other.uri != store.uri
    after = {(run.info.run_name, run.info.status, run.info.start_time, *run.data.metrics) for run in runs(other)}
    assert after == before
    assert sync(journal.root, "pipeline") == (0, 1)


@pytest.mark.parametrize("kind", ["parent", "stage"])
def test_run_that_a_user_deleted_stays_deleted(journal: Journal, store: Store, kind: str) -> None:
    journal.write_session(ended_session(journal.root))
    journal.write_visit("some", make_visit("train"))
    sync(journal.root, "pipeline")
    store.client.delete_run(runs(store, kind)[0].info.run_id)
    left = [run.info.run_id for run in runs(store)]
    assert sync(journal.root, "pipeline") == (0, 1)
    assert [run.info.run_id for run in runs(store)] == left


def test_session_whose_process_was_killed_hard_is_closed(journal: Journal, store: Store) -> None:
    journal.write_session(ended_session(journal.root, status="RUNNING", end_time=None))
    journal.write_visit("some", make_visit("train", status="RUNNING", end_time=None))
    sync(journal.root, "pipeline")
    assert {run.info.run_name: run.info.status for run in runs(store)} == {"by test": "KILLED", "train": "KILLED"}
    assert all(run.info.end_time for run in runs(store))


def test_session_whose_stages_left_it_closed_keeps_its_status(journal: Journal, store: Store) -> None:
    journal.write_session(ended_session(journal.root, status="FAILED", closed_by_owner=False))
    journal.write_visit("some", make_visit("train", status="FAILED"))
    sync(journal.root, "pipeline")
    assert {run.info.status for run in runs(store)} == {"FAILED"}


def test_session_that_goes_on_is_left_alone(journal: Journal, store: Store) -> None:
    journal.write_session(make_session(journal.root))
    journal.write_visit("some", make_visit("train", status="RUNNING", end_time=None))
    assert sync(journal.root, "pipeline") == (0, 0)
    assert runs(store) == []
    assert journal.visits("some")[0].status == "RUNNING"


def test_session_of_another_host_is_left_to_that_host(journal: Journal, store: Store) -> None:
    journal.write_session(ended_session(journal.root, owner=foreign_key(), status="RUNNING", end_time=None))
    assert sync(journal.root, "pipeline") == (0, 0)
    session = journal.read_session("some")
    assert session is not None
    assert session.status == "RUNNING"
    assert runs(store) == []


def test_stage_that_another_host_still_runs_is_not_said_to_be_killed(journal: Journal) -> None:
    # A run opened by hand may be carried on by several hosts that share the folder.
    journal.write_session(ended_session(journal.root, status="RUNNING", end_time=None, closed_by_owner=False))
    journal.write_visit("some", make_visit("train", process=foreign_key(), status="RUNNING", end_time=None))
    sync(journal.root, "pipeline")
    assert [visit.status for visit in journal.visits("some")] == ["RUNNING"]


def test_damaged_session_does_not_keep_the_others_from_being_recorded(journal: Journal, store: Store) -> None:
    for session_id in ("damaged", "good"):
        journal.write_session(ended_session(journal.root, session_id, name=session_id))
    (journal.path / "damaged" / "session.json").write_text("")
    assert sync(journal.root, "pipeline") == (1, 1)
    assert [run.info.run_name for run in runs(store)] == ["good"]


def test_store_that_fails_leaves_what_is_missing_in_the_journal(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.write_session(ended_session(journal.root))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://nowhere")
    with pytest.raises(TrackingError, match="MLflow store foo://nowhere"):
        sync(journal.root, "pipeline")
    session = journal.read_session("some")
    assert session is not None
    assert (session.run_id, session.complete) == (None, False)


def test_results_that_came_by_git_are_recorded_once(repository: Path) -> None:
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "Another")
    assert sync(repository, "pipeline") == (1, 1)
    store = open_store(repository, "pipeline")
    (run,) = runs(store)
    assert (run.info.run_name, run.info.status) == ("workspace", "FINISHED")
    assert run.data.metrics == {"test_f1_macro": 0.5, "rows.train": 4.0}
    assert run.data.params["split.size"] == "0.25"
    assert {run.data.tags[f"stage.{stage}"] for stage in ("data_split", "train")} == {"unchanged"}
    assert run.data.tags["stage.train.run_id"] == "unknown"
    assert run.data.tags["git.commit"] == git(repository, "rev-parse", "HEAD")
    assert sync(repository, "pipeline")[0] == 0
    assert len(runs(store)) == 1
