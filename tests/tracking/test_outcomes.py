import shutil
from pathlib import Path
from typing import Any

import pytest

from src.tracking.dvc_repo import DvcRepo, Stage
from src.tracking.journal import Execution, Journal, Session, Snapshot
from src.tracking.lock import digests, read_lock
from src.tracking.names import Outcome, Status
from src.tracking.outcomes import assign_stages, decide_outcome, end_session, take_snapshot, worst_status
from tests.tracking.support import (
    PARAMS,
    ended_session,
    make_execution,
    make_session,
    run_by_dvc,
)

OLD, NEW = {"a": "1", "b": "1"}, {"a": "2", "b": "2"}
FINISHED, FAILED, KILLED = ("b", "FINISHED"), ("b", "FAILED"), ("b", "KILLED")


def executions(*stages: tuple[str, Status]) -> list[Execution]:
    return [make_execution(stage, status=status, start_time=time) for time, (stage, status) in enumerate(stages)]


def replace(root: Path, name: str, old: str, new: str) -> None:
    path = root / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


# --- one stage ---


@pytest.mark.parametrize(
    ("outcome", "ran", "dvc", "before", "after", "stale"),
    [
        # It ran.
        ("ran", [FINISHED], None, OLD, NEW, set()),
        ("ran", [FINISHED], "ran", OLD, OLD, set()),
        ("ran", [FAILED, FINISHED], None, OLD, NEW, set()),
        ("ran", [FINISHED], None, OLD, NEW, None),
        ("ran", [], "ran", OLD, NEW, set()),
        # It failed.
        ("failed", [FAILED], None, OLD, OLD, set()),
        ("failed", [KILLED], "ran", OLD, OLD, {"b"}),
        ("failed", [FINISHED, FAILED], None, OLD, OLD, set()),
        ("failed", [], "ran", OLD, OLD, {"b"}),
        # It did not run.
        ("unchanged", [], None, OLD, OLD, set()),
        ("unchanged", [("a", "FINISHED")], None, OLD, OLD, set()),
        ("unchanged", [], "unchanged", OLD, OLD, set()),
        ("unchanged", [], None, OLD, OLD, None),
        ("restored", [], None, OLD, NEW, set()),
        ("restored", [], None, {}, NEW, set()),
        ("restored", [], None, {"b": None}, NEW, set()),
        ("restored", [], "restored", OLD, OLD, set()),
        # It needs to run.
        ("stale", [], None, OLD, OLD, {"b"}),
        ("stale", [], "unchanged", OLD, OLD, {"b"}),
        ("stale", [("a", "FAILED")], None, OLD, OLD, {"b"}),
        ("ran", [FINISHED], None, OLD, NEW, {"b"}),
        ("failed", [FINISHED], "ran", OLD, NEW, {"b"}),
        ("stale", [], None, OLD, {}, set()),
        ("stale", [], None, {"b": None}, {"b": None}, None),
        # Another DVC is at work.
        ("unknown", [], None, OLD, NEW, None),
    ],
)
def test_outcome_of_a_stage_follows_from_what_ran_and_what_dvc_says(
    outcome: str,
    ran: list[tuple[str, Status]],
    dvc: Outcome | None,
    before: dict[str, str | None],
    after: dict[str, str | None],
    stale: set[str] | None,
) -> None:
    dvc_outcomes: dict[str, Outcome] = {"b": dvc} if dvc else {}
    assert decide_outcome("b", before, after, executions(*ran), dvc_outcomes, stale=stale) == outcome


@pytest.mark.parametrize(
    ("status", "ran"),
    [
        ("FINISHED", []),
        ("FAILED", [("a", "FAILED"), FINISHED]),
        ("KILLED", [("a", "FAILED"), KILLED]),
        ("FINISHED", [FAILED, FINISHED]),
        ("FAILED", [KILLED, FAILED]),
    ],
)
def test_session_ends_as_the_worst_of_what_each_stage_did_last(status: Status, ran: list[tuple[str, Status]]) -> None:
    assert worst_status(executions(*ran)) == status


def test_execution_gets_the_name_of_the_stage_whose_outputs_it_holds() -> None:
    stages = {
        "train": Stage("train", outs=["m"]),
        "fit@a": Stage("fit@a", outs=["a"]),
        "fit@b": Stage("fit@b", outs=["b"]),
    }
    ran = [make_execution(name, sizes=sizes) for name, sizes in
           (("train", {"b": 1}), ("fit", {"b": 1, "x": 2}), ("fit", {"x": 1}), ("fit", {}))]  # fmt: skip
    assert [execution.stage for execution in assign_stages(stages, ran)] == ["fit@b", "fit@b", "fit", "fit"]


# --- what a session left ---


def snapshot_of(
    root: Path,
    session: Session,
    ran: list[Execution],
    *,
    check: bool = True,
    revision: str | None = None,
    **dvc: Outcome,
) -> Snapshot:
    with DvcRepo(root, revision) as repo:
        return take_snapshot(repo, session, ran, dvc_outcomes=dvc, check=check)


def test_missing_data_is_noted_and_changes_no_outcome(repository: Path) -> None:
    for path in ("data", "models", "reports/plots", ".dvc/cache"):
        shutil.rmtree(repository / path)
    session = make_session(repository)
    snapshot = snapshot_of(repository, session, [], data_split="unchanged")
    assert snapshot.outcomes == {"data_split": "unchanged", "train": "unchanged"}
    assert snapshot.missing == ["data/train.parquet", "models/model.joblib", "reports/plots"]
    assert snapshot.metrics == {"test_f1_macro": 0.5, "rows.train": 4.0}
    # DVC deleted the outputs of a command that failed.
    snapshot = snapshot_of(repository, session, [], data_split="unchanged", train="ran")
    assert snapshot.outcomes == {"data_split": "unchanged", "train": "failed"}


def test_snapshot_shows_everything_of_a_pipeline_that_is_up_to_date(repository: Path) -> None:
    snapshot = snapshot_of(repository, make_session(repository), [])
    assert snapshot.outcomes == {"data_split": "unchanged", "train": "unchanged"}
    lock = read_lock(repository)
    assert snapshot.entries == digests(lock)
    assert snapshot.metrics == {"test_f1_macro": 0.5, "rows.train": 4.0}
    assert snapshot.params == {"base.target_column": "target", "data_split.size": "0.25", "train.estimator": "logreg"}
    assert (snapshot.reports, snapshot.models) == (["reports/plots"], ["models/model.joblib"])
    assert snapshot.md5s == {**lock["data_split"].outs, **lock["train"].outs}
    assert snapshot.texts == {
        "params.yaml": PARAMS,
        "dvc.yaml": (repository / "dvc.yaml").read_text(),
        "dvc.lock": (repository / "dvc.lock").read_text(),
    }


def test_snapshot_shows_neither_metrics_nor_files_of_a_stale_stage(repository: Path) -> None:
    replace(repository, "params.yaml", "logreg", "knn")
    snapshot = snapshot_of(repository, make_session(repository), [])
    assert snapshot.outcomes == {"data_split": "unchanged", "train": "stale"}
    assert (snapshot.metrics, snapshot.reports, snapshot.models) == ({}, [], [])
    assert set(snapshot.md5s) == {"data/train.parquet"}
    # After a complete run DVC is not asked again.
    assert snapshot_of(repository, make_session(repository), [], check=False).outcomes["train"] == "unchanged"


@pytest.mark.parametrize("first", ["failed", "stale"])
def test_stages_after_one_that_failed_or_is_stale_are_stale(repository: Path, first: Outcome) -> None:
    replace(repository, "params.yaml", "0.25", "0.5")
    ran = [make_execution("data_split", status="FAILED")] if first == "failed" else []
    snapshot = snapshot_of(repository, make_session(repository), ran)
    assert snapshot.outcomes == {"data_split": first, "train": "stale"}
    assert snapshot.metrics == {}


# --- ending a session ---


def end(root: Path, session: Session, *ran: Execution, is_newest: bool = True, **options: Any) -> Session:
    journal = Journal(root)
    journal.write_session(session)
    for execution in ran:
        journal.write_execution(session.id, execution)
    end_session(journal, session, is_newest=is_newest, **options)
    written = journal.read_session(session.id)
    assert written == session
    return session


def test_executions_that_dvc_recorded_get_their_entry(repository: Path, journal: Journal) -> None:
    session = end(
        repository,
        ended_session(repository),
        run_by_dvc(repository, "data_split", entry=None, start_time=1),
        run_by_dvc(repository, "data_split", entry=None, status="FAILED", start_time=0),
        # By hand: DVC held no files for it, and its lock is about an earlier execution.
        make_execution("train", start_time=2),
    )
    assert session.snapshot is not None
    assert session.snapshot.outcomes == {"data_split": "ran", "train": "ran"}
    lock = read_lock(repository)
    entries = [execution.entry for execution in journal.executions("some")]
    assert entries == [None, lock["data_split"], None]


@pytest.mark.parametrize(
    ("launched", "given", "ran", "status"),
    [
        (False, None, "FINISHED", "FINISHED"),
        (False, None, "FAILED", "FAILED"),
        (False, None, "RUNNING", "KILLED"),
        # The launcher itself was killed.
        (True, None, "FINISHED", "KILLED"),
        (True, "FINISHED", "FINISHED", "FINISHED"),
        (True, "FAILED", "FAILED", "FAILED"),
        # To DVC, a stage that was killed is one that failed.
        (True, "FAILED", "KILLED", "KILLED"),
    ],
)
def test_session_gets_the_status_of_its_owner_or_its_stages(
    repository: Path, journal: Journal, launched: bool, given: Status | None, ran: Status, status: Status
) -> None:
    session = ended_session(repository, status="RUNNING", end_time=None, launched=launched)
    execution = make_execution(status=ran, end_time=None if ran == "RUNNING" else 5_500)
    session = end(repository, session, execution, status=given)
    (execution,) = journal.executions("some")
    assert session.status == status
    assert execution.status == ("KILLED" if ran == "RUNNING" else ran)
    assert execution.end_time is not None
    if not launched:
        assert session.end_time == execution.end_time
    else:
        assert session.end_time is not None
        assert session.end_time > 5_500


def settings_of(root: Path) -> Snapshot:
    return Snapshot(texts={name: (root / name).read_text() for name in ("params.yaml", "dvc.yaml")})


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (None, True),
        (("params.yaml", "logreg", "knn"), False),
        (("dvc.yaml", "mkdir -p data", "mkdir  -p data"), False),
        (("dvc.lock", "size:", "size: 1"), False),
    ],
)
def test_workspace_that_changed_since_the_session_says_nothing_about_it(
    repository: Path, change: tuple[str, str, str] | None, seen: bool
) -> None:
    session = ended_session(repository, snapshot=settings_of(repository))
    ran = [run_by_dvc(repository, entry=None), make_execution("data_split", status="FAILED", start_time=1)]
    if change:
        replace(repository, *change)
    session = end(repository, session, *ran)
    assert session.snapshot is not None
    # What failed is known from the journal.
    expected = {"data_split": "failed", "train": "ran"} if seen else {"data_split": "failed"}
    assert session.snapshot.outcomes == expected
    assert session.snapshot.texts["params.yaml"] == PARAMS


@pytest.mark.parametrize("why", ["newer session", "folder is gone"])
def test_session_whose_results_are_gone_keeps_what_the_journal_has(repository: Path, why: str) -> None:
    root = repository / "gone" if why == "folder is gone" else repository
    session = ended_session(repository, snapshot=settings_of(repository), work_root=str(root))
    session = end(repository, session, make_execution(status="KILLED"), is_newest=why != "newer session")
    assert session.snapshot is not None
    assert session.snapshot.outcomes == {"train": "failed"}
