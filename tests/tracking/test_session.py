import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.tracking import session as session_module
from src.tracking.journal import Journal
from src.tracking.lineage import read_lock
from src.tracking.process import own_key, process_key
from src.tracking.session import Place, begin_session, find_session
from tests.tracking.workspace import dead_key, foreign_key, git, make_session

ROOT = Path(__file__).parents[2]
FIND = """
import json, os, sys
from pathlib import Path
from src.tracking.journal import Journal
from src.tracking.session import Place, find_session

root = Path(sys.argv[1])
(root / ".dvc" / "tmp").mkdir(exist_ok=True)
(root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": {"out": {"pid": os.getppid()}}}))
print(find_session(Journal(root), Place(root, root)).id)
"""
DRIVE = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[2]]).returncode)"


@pytest.fixture
def journal(repository: Path) -> Journal:
    return Journal(repository)


@pytest.fixture
def here(repository: Path) -> Place:
    return Place(repository, repository)


def drive_by(root: Path, pid: int) -> None:
    """Say, as DVC does while a stage runs, which process drives it."""
    (root / ".dvc" / "tmp").mkdir(exist_ok=True)
    (root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": {"out": {"pid": pid}}}))


# --- where a stage runs ---


def test_stage_runs_in_the_working_folder(repository: Path) -> None:
    assert Place.of_this_process({}) == Place(repository, repository)
    assert Place.of_this_process({"DVC_ROOT": ""}) == Place(repository, repository)


def test_main_repository_is_the_one_that_dvc_names(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    (tmp_path / "link").symlink_to("main")
    assert Place.of_this_process({"DVC_ROOT": str(tmp_path / "link")}) == Place(tmp_path / "main", repository)


# --- which session ---


def test_stage_started_by_hand_is_a_session_of_its_own(journal: Journal, here: Place) -> None:
    session = find_session(journal, here, {})
    assert session.id == f"alone-{own_key().digest}"
    assert (session.owner, session.closed_by_owner, session.status) == (own_key(), False, "RUNNING")
    assert journal.read_session(session.id) == session


def test_stages_of_one_dvc_process_meet(journal: Journal, here: Place) -> None:
    drive_by(journal.root, os.getppid())
    driver = process_key(os.getppid())
    assert driver is not None
    first = find_session(journal, here, {})
    assert (first.id, first.owner) == (f"dvc-{driver.digest}", driver)
    assert find_session(journal, here, {}).start_time == first.start_time
    assert len(journal.sessions()) == 1


def test_stage_under_the_launcher_joins_its_session(journal: Journal, here: Place) -> None:
    drive_by(journal.root, os.getppid())
    launched = make_session(journal.root, "launch-1")
    journal.write_session(launched)
    assert find_session(journal, here, {"PIPELINE_SESSION": "launch-1", "MLFLOW_RUN_ID": "abc"}) == launched


@pytest.mark.parametrize("change", ["ended", "dead", "of another host", "gone", "damaged"])
def test_session_of_a_launcher_that_is_gone_is_not_joined(journal: Journal, here: Place, change: str) -> None:
    launched = make_session(journal.root, "launch-1")
    if change == "ended":
        launched.status = "FINISHED"
    elif change != "gone":
        launched.owner = {"dead": dead_key(), "of another host": foreign_key()}.get(change, launched.owner)
    if change != "gone":
        journal.write_session(launched)
    if change == "damaged":
        (journal.path / "launch-1" / "session.json").write_text("{")
    assert find_session(journal, here, {"PIPELINE_SESSION": "launch-1"}).id == f"alone-{own_key().digest}"


def test_run_that_the_environment_names_becomes_the_parent(journal: Journal, here: Place) -> None:
    session = find_session(journal, here, {"MLFLOW_RUN_ID": "0a1b"})
    assert (session.id, session.run_id, session.closed_by_owner) == ("run-0a1b", "0a1b", False)


@pytest.mark.parametrize("run_id", ["", "../../x", "a b", "a/b", "a;b"])
def test_what_can_be_no_run_is_ignored(journal: Journal, here: Place, run_id: str) -> None:
    assert find_session(journal, here, {"MLFLOW_RUN_ID": run_id}).id.startswith("alone-")


def test_run_opened_by_hand_is_carried_on_by_the_next_dvc_process(journal: Journal, here: Place) -> None:
    former = make_session(journal.root, "run-0a1b", owner=dead_key(), status="FINISHED", end_time=5, complete=True)
    journal.write_session(former)
    session = find_session(journal, here, {"MLFLOW_RUN_ID": "0a1b"})
    assert (session.id, session.start_time) == ("run-0a1b", former.start_time)
    assert (session.owner, session.status, session.end_time, session.complete) == (own_key(), "RUNNING", None, False)
    assert journal.read_session("run-0a1b") == session


@pytest.mark.parametrize(("command", "expected"), [("exec-run", "dvc-"), ("repro", "run-0a1b")])
def test_worker_of_the_queue_ignores_a_run_that_it_inherited(repository: Path, command: str, expected: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", DRIVE, FIND, str(repository), command],
        cwd=ROOT, env=os.environ | {"MLFLOW_RUN_ID": "0a1b"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.stdout.startswith(expected), result.stderr


# --- how a session begins ---


def test_session_knows_git_and_its_place(here: Place) -> None:
    session = begin_session(here, "some", own_key(), name="mine", closed_by_owner=True, environ={})
    assert session.git.commit == git(here.work_root, "rev-parse", "HEAD")
    assert (session.name, session.work_root, session.run_id) == ("mine", str(here.work_root), None)
    assert (session.exp_name, session.exp_baseline) == ("", "")


def test_session_of_an_experiment_has_its_name(here: Place) -> None:
    baseline = git(here.work_root, "rev-parse", "HEAD")
    environ = {"DVC_EXP_NAME": "brave-fox", "DVC_EXP_BASELINE_REV": baseline}
    session = begin_session(here, "some", own_key(), closed_by_owner=False, environ=environ)
    assert (session.name, session.exp_name, session.exp_baseline) == ("brave-fox", "brave-fox", baseline)


def test_session_without_a_name_is_named_after_the_time(here: Place) -> None:
    assert begin_session(here, "some", own_key(), closed_by_owner=True, environ={}).name.startswith("repro-2")


def test_entries_of_an_untouched_workspace_are_known_from_before(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "began_at", lambda _: (here.work_root / "dvc.lock").stat().st_ctime + 1)
    session = begin_session(here, "some", own_key(), closed_by_owner=False, environ={})
    assert session.before == {name: entry.digest for name, entry in read_lock(here.work_root).items()}
    assert None not in session.before.values()


def test_entry_of_a_stage_that_dvc_may_have_restored_meanwhile_is_not_known(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here.work_root / "data" / "train.parquet"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    lock = here.work_root / "dvc.lock"
    lock.write_bytes(lock.read_bytes())
    # DVC began after the other outputs were written, and before this one was.
    monkeypatch.setattr(session_module, "began_at", lambda _: path.stat().st_ctime - 0.0001)
    os.link(here.work_root / "models" / "model.joblib", here.work_root / "models" / "copy")
    session = begin_session(here, "some", own_key(), closed_by_owner=False, environ={})
    assert session.before["data_split"] is None


def test_workspace_without_a_lock_had_no_entries(here: Place) -> None:
    (here.work_root / "dvc.lock").unlink()
    assert begin_session(here, "some", own_key(), closed_by_owner=True, environ={}).before == {}
