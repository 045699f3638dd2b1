import logging
from pathlib import Path

import pytest

from src.tracking.journal import Journal, Snapshot
from src.tracking.names import Outcome, Status
from src.tracking.parent_run import ensure_parent, log_parent
from src.tracking.session import Place
from src.tracking.stage_run import close_stage_run, open_stage_run
from src.tracking.store import Store
from tests.tracking.workspace import artifacts, ended_session, make_session, make_visit, runs


@pytest.fixture
def journal(root: Path) -> Journal:
    return Journal(root)


# --- opening ---


def test_parent_is_opened_once(store: Store, journal: Journal) -> None:
    session = make_session(journal.root)
    journal.write_session(session)
    first = ensure_parent(store, journal, session)
    # Another stage read the session before it had a run.
    second = ensure_parent(store, journal, make_session(journal.root))
    assert first.run_id == second.run_id
    (run,) = runs(store)
    assert (run.info.run_id, run.info.run_name, run.info.status) == (first.run_id, "by test", "RUNNING")
    assert (run.data.tags["pipeline.kind"], run.info.start_time) == ("parent", 1_000)
    assert run.data.tags["mlflow.source.name"] == "dvc.yaml"
    assert journal.read_session("some") == first


@pytest.mark.parametrize("how", ["deleted", "of another store"])
def test_parent_that_cannot_be_used_is_replaced_with_a_warning(
    store: Store, journal: Journal, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    session = make_session(journal.root, run_id="0" * 32)
    if how == "deleted":
        session.run_id = store.client.create_run(store.experiment_id).info.run_id
        store.client.delete_run(session.run_id)
    former = session.run_id
    with caplog.at_level(logging.WARNING):
        fresh = ensure_parent(store, journal, session)
    assert fresh.run_id not in (None, former)
    assert [run.info.run_id for run in runs(store)] == [fresh.run_id]
    assert f"MLflow run {former} does not exist in sqlite:///" in caplog.text
    assert "or was deleted; going on under a fresh parent run" in caplog.text


@pytest.mark.parametrize(("closed_by_owner", "status"), [(False, "RUNNING"), (True, "FINISHED")])
def test_parent_that_every_stage_leaves_closed_is_opened_again_by_the_next(
    store: Store, journal: Journal, closed_by_owner: bool, status: str
) -> None:
    run_id = store.client.create_run(store.experiment_id).info.run_id
    store.client.set_terminated(run_id, "FINISHED")
    ensure_parent(store, journal, make_session(journal.root, run_id=run_id, closed_by_owner=closed_by_owner))
    assert store.client.get_run(run_id).info.status == status


# --- the story ---


def test_parent_tells_the_whole_story(store: Store, journal: Journal, place: Place) -> None:
    (place.work_root / "roc.svg").write_text("<svg/>")
    snapshot = Snapshot(
        outcomes={"train": "ran", "evaluate": "stale"},
        params={"train.cv": "5"},
        metrics={"f1": 0.5},
        md5s={"data/train.parquet": "abc"},
        texts={"params.yaml": "train: {cv: 5}\n"},
    )
    session = ensure_parent(store, journal, ended_session(journal.root, snapshot=snapshot))
    log_parent(store, place, session)
    (run,) = runs(store)
    assert (run.info.status, run.info.end_time) == ("FINISHED", 9_000)
    assert run.data.params == {"train.cv": "5"}
    assert run.data.metrics == {"f1": 0.5}
    assert run.data.tags["dvc.md5.data/train.parquet"] == "abc"
    assert run.data.tags["stage.train"] == "ran"
    assert run.data.tags["stage.evaluate"] == "stale"
    assert artifacts(store, run.info.run_id) == {"params.yaml"}
    assert Path(store.client.download_artifacts(run.info.run_id, "params.yaml")).read_text() == "train: {cv: 5}\n"


@pytest.mark.parametrize(
    ("outcome", "found"), [("restored", True), ("unchanged", True), ("stale", False), ("unknown", False)]
)
def test_stage_links_to_the_run_that_produced_what_is_there(
    store: Store, journal: Journal, place: Place, outcome: Outcome, found: bool
) -> None:
    earlier = ensure_parent(store, journal, make_session(journal.root, "earlier"))
    visit = make_visit("train")
    open_stage_run(store, earlier, visit)
    close_stage_run(store, place, visit)
    assert visit.run_id is not None
    store.client.set_tag(visit.run_id, "dvc.entry", "digest")
    snapshot = Snapshot(outcomes={"train": outcome, "evaluate": "unchanged"}, entries={"train": "digest"})
    session = ensure_parent(store, journal, ended_session(journal.root, "later", snapshot=snapshot))
    assert session.run_id is not None
    log_parent(store, place, session)
    tags = store.client.get_run(session.run_id).data.tags
    assert tags["stage.train.run_id"] == (visit.run_id if found else "unknown")
    # Nothing is known of where it came from, and nothing is invented.
    assert tags["stage.evaluate.run_id"] == "unknown"
    note = tags["mlflow.note.content"].splitlines()
    assert note[0] == "| stage | outcome | duration | run |"
    link = (
        f"[{visit.run_id[:8]}](#/experiments/{store.experiment_id}/runs/{visit.run_id}?workflowType=machine_learning)"
    )
    assert note[2:] == [
        f"| train | {outcome} | 3.5 s | {link} |" if found else f"| train | {outcome} |  | unknown |",
        "| evaluate | unchanged |  | unknown |",
    ]


@pytest.mark.parametrize(("outcome", "status"), [("ran", "FINISHED"), ("failed", "FAILED")])
def test_stage_that_ran_links_to_its_run_in_this_session(
    store: Store, journal: Journal, place: Place, outcome: Outcome, status: Status
) -> None:
    visits = {}
    for session_id, start in (("one", 9_000), ("two", 5_000)):
        session = ensure_parent(store, journal, make_session(journal.root, session_id))
        visits[session_id] = make_visit("train", status=status, start_time=start)
        open_stage_run(store, session, visits[session_id])
        # Both produced the same.
        store.client.set_tag(visits[session_id].run_id, "dvc.entry", "digest")
    session.snapshot = Snapshot(outcomes={"train": outcome}, entries={"train": "digest"})
    log_parent(store, place, session)
    assert session.run_id is not None
    assert store.client.get_run(session.run_id).data.tags["stage.train.run_id"] == visits["two"].run_id


def test_newest_of_several_producers_is_shown(store: Store, journal: Journal, place: Place) -> None:
    session = ensure_parent(store, journal, make_session(journal.root))
    visits = [make_visit("train", start_time=start) for start in (3_000, 7_000, 5_000)]
    for visit in visits:
        open_stage_run(store, session, visit)
        store.client.set_tag(visit.run_id, "dvc.entry", "digest")
    session.snapshot = Snapshot(outcomes={"train": "unchanged"}, entries={"train": "digest"})
    log_parent(store, place, session)
    assert store.client.get_run(session.run_id).data.tags["stage.train.run_id"] == visits[1].run_id


def test_param_that_changed_since_the_run_was_opened_keeps_its_first_value(
    store: Store, journal: Journal, place: Place
) -> None:
    session = ensure_parent(store, journal, make_session(journal.root, closed_by_owner=False))
    for cv, key in (("5", "a[1]"), ("10", "a[1]")):
        session.snapshot = Snapshot(params={"train.cv": cv, key: cv, f"new{cv}": "1"}, metrics={"f1": float(cv)})
        log_parent(store, place, session)
    (run,) = runs(store)
    assert run.data.params == {"train.cv": "5", "a_1_": "5", "new5": "1", "new10": "1"}
    assert run.data.metrics == {"f1": 10.0}


def test_parent_of_a_session_that_goes_on_is_not_ended(store: Store, journal: Journal, place: Place) -> None:
    session = ensure_parent(store, journal, make_session(journal.root, snapshot=Snapshot(metrics={"f1": 0.5})))
    log_parent(store, place, session)
    (run,) = runs(store)
    assert (run.info.status, run.info.end_time, run.data.metrics) == ("RUNNING", None, {"f1": 0.5})


def test_session_that_left_nothing_is_ended_all_the_same(store: Store, journal: Journal, place: Place) -> None:
    log_parent(store, place, ensure_parent(store, journal, ended_session(journal.root, snapshot=None, status="KILLED")))
    assert [run.info.status for run in runs(store)] == ["KILLED"]


def test_plot_that_is_gone_does_not_lose_the_rest(store: Store, journal: Journal, place: Place) -> None:
    snapshot = Snapshot(plots=["gone.png"], md5s={"gone.png": "0" * 32}, metrics={"f1": 0.5})
    log_parent(store, place, ensure_parent(store, journal, ended_session(journal.root, snapshot=snapshot)))
    (run,) = runs(store)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"f1": 0.5})
