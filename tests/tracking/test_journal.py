import json
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from src.tracking.journal import Journal, Snapshot, now
from src.tracking.lineage import StageEntry
from tests.tracking.workspace import make_session, make_visit

ENTRY = StageEntry("cp a b", {"a": "1", "gone": None}, {"params.yaml": {"split": {"size": 0.25, "é": [1, None]}}}, {})


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


def test_session_is_read_as_it_was_written(journal: Journal) -> None:
    session = make_session(journal.root, before={"train": None, "data_split": "abc"})
    session.snapshot = Snapshot(
        {"train": "ran"}, {"train": None}, {"a": "é"}, {"f1": 0.5}, {"x": "1"}, ["p"], {"t": "n"}
    )
    journal.write_session(session)
    assert journal.read_session("some") == session


def test_visit_is_read_as_it_was_written(journal: Journal) -> None:
    visit = make_visit(entry=ENTRY, metrics={"f1": 1.0}, tags={"a": "b"}, traceback="Traceback:\n é", models=["m"])
    journal.write_visit("some", visit)
    assert journal.visits("some") == [visit]


def test_files_are_where_git_ignores_them(journal: Journal) -> None:
    journal.write_session(make_session(journal.root))
    assert (journal.root / ".dvc" / "tmp" / "pipeline" / "some" / "session.json").is_file()


def test_journal_that_is_not_there_is_empty(journal: Journal) -> None:
    assert journal.sessions() == []
    assert journal.visits("some") == []
    assert journal.read_session("some") is None
    assert not journal.path.exists()


def test_sessions_come_oldest_first(journal: Journal) -> None:
    for session_id, start_time in (("b", 2), ("c", 3), ("a", 1)):
        journal.write_session(make_session(journal.root, session_id, start_time=start_time))
    assert [session.id for session in journal.sessions()] == ["a", "b", "c"]


def test_visits_come_oldest_first_also_with_times_of_different_lengths(journal: Journal) -> None:
    for start_time in (1000, 999, 10_000):
        journal.write_visit("some", make_visit(start_time=start_time))
    assert [visit.start_time for visit in journal.visits("some")] == [999, 1000, 10_000]


def test_visit_that_is_written_again_replaces_the_former(journal: Journal) -> None:
    visit = make_visit(status="RUNNING")
    journal.write_visit("some", visit)
    visit.status = "FAILED"
    journal.write_visit("some", visit)
    assert [visit.status for visit in journal.visits("some")] == ["FAILED"]


def test_stage_that_runs_twice_in_a_session_has_two_visits(journal: Journal) -> None:
    journal.write_visit("some", make_visit(start_time=1))
    journal.write_visit("some", make_visit(start_time=2))
    assert len(journal.visits("some")) == 2


def test_folder_without_a_session_is_none(journal: Journal) -> None:
    journal.write_visit("some", make_visit())
    assert journal.sessions() == []
    assert journal.read_session("some") is None


def test_failed_write_leaves_the_former_content_and_no_other_file(journal: Journal) -> None:
    session = make_session(journal.root)
    journal.write_session(session)
    with pytest.raises(TypeError):
        journal.write_session(make_session(journal.root, name=object()))
    assert journal.read_session("some") == session
    assert [path.name for path in (journal.path / "some").iterdir()] == ["session.json"]


def test_reader_never_sees_half_a_session(journal: Journal) -> None:
    texts = {"params.yaml": "x" * 100_000}
    session = make_session(journal.root, snapshot=Snapshot(texts=texts))
    journal.write_session(session)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            journal.write_session(session)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(journal.read_session("some") == session for _ in range(100))
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("text", ["", "{", '{"id": "half', "null", "[]", "3", "{}", "\x00\x00\x00"])
def test_damaged_session_does_not_hide_the_others(journal: Journal, text: str) -> None:
    journal.write_session(make_session(journal.root, "good"))
    journal.write_session(make_session(journal.root, "damaged"))
    (journal.path / "damaged" / "session.json").write_text(text)
    assert journal.read_session("damaged") is None
    assert [session.id for session in journal.sessions()] == ["good"]


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "3", "{}", '{"stage": "train"}'])
def test_damaged_visit_does_not_hide_the_others(journal: Journal, text: str) -> None:
    journal.write_visit("some", make_visit("train"))
    journal.write_visit("some", make_visit("evaluate", start_time=3_000))
    next((journal.path / "some").glob("*-evaluate.json")).write_text(text)
    assert [visit.stage for visit in journal.visits("some")] == ["train"]


def test_session_of_a_newer_version_of_this_code_does_not_hide_the_others(journal: Journal) -> None:
    for session_id in ("good", "newer"):
        journal.write_session(make_session(journal.root, session_id))
    path = journal.path / "newer" / "session.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"unheard_of": 1}))
    assert [session.id for session in journal.sessions() if session.id != "newer"] == ["good"]


def test_unknown_files_and_folders_are_left_alone(journal: Journal) -> None:
    journal.write_session(make_session(journal.root))
    (journal.path / "lock").touch()
    (journal.path / "notes.txt").write_text("mine")
    (journal.path / "some" / "notes.json").write_text("mine")
    assert [session.id for session in journal.sessions()] == ["some"]
    assert journal.visits("some") == []


def test_lock_keeps_others_out(journal: Journal) -> None:
    with journal.locked(), pytest.raises(Timeout), FileLock(journal.path / "lock", timeout=0):
        pass
    with FileLock(journal.path / "lock", timeout=0):
        pass


def test_time_is_in_milliseconds_since_the_epoch() -> None:
    assert abs(now() / 1000 - time.time()) < 1
