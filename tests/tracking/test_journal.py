import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.tracking.journal import KEPT_SESSIONS, Journal, Snapshot
from src.tracking.lock import LockEntry
from tests.tracking.support import make_execution, make_session

ENTRY = LockEntry(
    "cp a b", {"a": "1", "gone": None}, {"params.yaml": {"split": {"é": [1, None]}}}, {"b": "2"}, {"b": 3}
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_session_and_executions_are_read_as_they_were_written(journal: Journal) -> None:
    session = make_session(journal.root, before={"train": None, "data_split": "abc"}, run_id="0a1b", end_time=5)
    session.snapshot = Snapshot({"train": "ran"}, {"train": None}, {"a": "é"}, {"f1": 0.5}, {"x": "1"}, ["p"], ["m"])
    journal.write_session(session)
    execution = make_execution(entry=ENTRY, metrics={"f1": 1.0}, traceback="Traceback:\n é", sizes={"b": 3})
    journal.write_execution("some", execution)
    assert journal.sessions() == [session] == [journal.read_session("some")]
    assert journal.executions("some") == [execution]
    # Where git ignores it.
    assert (journal.root / ".dvc" / "tmp" / "pipeline" / "some" / "session.json").is_file()


def test_absent_journal_is_empty_and_reading_creates_nothing(journal: Journal) -> None:
    assert (journal.sessions(), journal.executions("some"), journal.dvc_outcomes("some")) == ([], [], {})
    assert journal.read_session("some") is None
    journal.prune()
    assert not journal.path.exists()


def test_sessions_and_executions_come_oldest_first_and_are_replaced(journal: Journal) -> None:
    for _ in range(2):
        for session_id, start_time in (("b", 1_000), ("c", 10_000), ("a", 999)):
            journal.write_session(make_session(journal.root, session_id, start_time=start_time))
            journal.write_execution("some", make_execution(start_time=start_time))
    assert [session.id for session in journal.sessions()] == ["a", "b", "c"]
    assert [execution.start_time for execution in journal.executions("some")] == [999, 1_000, 10_000]
    journal.rename(journal.sessions()[0], "new")
    assert [session.id for session in journal.sessions()] == ["new", "b", "c"]


def test_failed_write_leaves_the_former_content_and_no_other_file(journal: Journal) -> None:
    session = make_session(journal.root)
    journal.write_session(session)
    with pytest.raises(TypeError):
        journal.write_session(make_session(journal.root, name=object()))
    assert journal.read_session("some") == session
    assert [path.name for path in (journal.path / "some").iterdir()] == ["session.json"]


@pytest.mark.parametrize("text", ["", "{", '{"id": "half', "null", "[]", "3", "{}", "\x00", '{"owner": 3, "entry": 3}'])
def test_damaged_file_is_set_aside_with_one_line(journal: Journal, text: str, caplog: pytest.LogCaptureFixture) -> None:
    for session_id in ("good", "damaged"):
        journal.write_session(make_session(journal.root, session_id))
    for start_time in (2_000, 3_000):
        journal.write_execution("good", make_execution(start_time=start_time))
    (journal.path / "damaged" / "session.json").write_text(text)
    (journal.path / "good" / f"execution-3000-{make_execution().process.pid}.json").write_text(text)
    journal.dvc_outcomes_path("good").write_text(text)
    (journal.path / "empty").mkdir()
    assert journal.read_session("damaged") is None
    assert [session.id for session in journal.sessions()] == ["good"]
    assert [execution.start_time for execution in journal.executions("good")] == [2_000]
    assert journal.dvc_outcomes("good") == {}
    warnings = [record.getMessage() for record in caplog.records]
    # The outcomes may be empty.
    assert len(warnings) == (2 if text == "{}" else 3)
    assert warnings[0].startswith(f"{journal.path}/damaged/session.json is set aside as session.json.damaged: ")
    assert not [line for line in warnings if "\n" in line]
    assert len(list(journal.path.rglob("*.damaged"))) == len(warnings)
    assert [session.id for session in journal.sessions()] == ["good"]
    assert len(caplog.records) == len(warnings)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("start_time", "yesterday", "start_time: Input should be a valid integer"),
        ("end_time", 10**30, "end_time: "),
        ("end_time", -1, "end_time: "),
        ("status", "DONE", "status: Input should be 'RUNNING'"),
        ("run_id", "../../../../evil", "run_id: String should match"),
        ("id", "../../../../evil", "id: String should match"),
        ("id", "/evil", "id: String should match"),
        ("id", "..", "id: String should match"),
        ("id", "another", "its id is 'another'"),
    ],
)
def test_session_with_a_wrong_value_is_set_aside(
    journal: Journal, field: str, value: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    for session_id in ("bad", "good"):
        journal.write_session(make_session(journal.root, session_id))
    edit(journal.path / "bad" / "session.json", lambda content: content.update({field: value}))
    assert [session.id for session in journal.sessions()] == ["good"]
    (record,) = caplog.records
    assert f"/bad/session.json is set aside as session.json.damaged: {reason}" in record.getMessage()


@pytest.mark.parametrize("kind", ["folder", "link", "pipe", "link as the folder"])
def test_what_is_no_plain_file_is_set_aside_and_nothing_outside_is_touched(
    journal: Journal, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    outside = Journal(tmp_path / "outside")
    outside.write_session(make_session(outside.root, "bad"))
    before = {path: path.read_bytes() for path in outside.path.rglob("*.json")}
    journal.write_session(make_session(journal.root, "good"))
    path = journal.path / "bad" / "session.json"
    if kind == "link as the folder":
        path.parent.symlink_to(outside.path / "bad")
    else:
        path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(outside.path / "bad" / "session.json")
    elif kind == "pipe":
        os.mkfifo(path)
    for _ in range(2):
        assert [session.id for session in journal.sessions()] == ["good"]
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "it is a link" if kind == "link as the folder" else "it is not a plain file"
    ]
    journal.write_session(make_session(journal.root, "bad"))
    assert [session.id for session in journal.sessions()] == ["bad", "good"]
    assert {path: path.read_bytes() for path in outside.path.rglob("*") if path.is_file()} == before


def test_id_that_leads_out_of_the_journal_is_not_read(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    outside = Journal(journal.root / "outside")
    outside.write_session(make_session(outside.root))
    for session_id in ("../../../outside/.dvc/tmp/pipeline/some", str(outside.path / "some"), "..", ""):
        assert journal.read_session(session_id) is None
    assert caplog.records == []
    assert outside.read_session("some")


def test_sessions_move_with_their_repository(journal: Journal, tmp_path: Path) -> None:
    experiment = journal.root / ".dvc" / "tmp" / "exps" / "1"
    journal.write_session(make_session(journal.root, "a"))
    journal.write_session(make_session(experiment, "b", start_time=2_000))
    moved = Journal(tmp_path / "moved")
    moved.path.parent.mkdir(parents=True)
    journal.path.rename(moved.path)
    roots = [Path(session.work_root) for session in moved.sessions()]
    assert roots == [moved.root, moved.root / experiment.relative_to(journal.root)]


def test_fields_of_another_version_are_ignored_and_missing_ones_get_their_default(journal: Journal) -> None:
    session = make_session(journal.root, snapshot=Snapshot())
    execution = make_execution(entry=ENTRY, candidates=[{"estimator": "knn"}])
    journal.write_session(session)
    journal.write_execution("some", execution)
    for path in journal.path.glob("some/*.json"):
        edit(path, lambda content: content.update(new_field=1))
        for part in ("owner", "git", "snapshot", "process", "entry"):
            edit(path, lambda content, part=part: part in content and content[part].update(new_field=1))  # type: ignore[misc]  # a lambda has no types
    assert (journal.read_session("some"), journal.executions("some")) == (session, [execution])
    edit(next(journal.path.glob("some/execution-*")), lambda content: content.pop("candidates"))
    assert journal.executions("some") == [make_execution(entry=ENTRY)]


def test_pruning_keeps_the_last_complete_sessions_and_everything_incomplete(journal: Journal) -> None:
    assert KEPT_SESSIONS == 100
    for number in range(103):
        session = make_session(journal.root, f"s{number}", start_time=number, complete=number != 1)
        journal.write_session(session)
    journal.prune()
    assert [session.id for session in journal.sessions()] == ["s1", *(f"s{number}" for number in range(3, 103))]
