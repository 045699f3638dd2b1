import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from src.errors import ConfigError
from src.tracking.journal import Journal
from src.tracking.lock import digests, read_lock
from src.tracking.process import ProcessKey, find_driver, own_key, process_key
from src.tracking.session import Place, begin_session, find_session, flatten, numbers, read_settings
from tests.tracking.support import PARAMS, commit, dead_key, foreign_key, git, make_session

ROOT = Path(__file__).parents[2]
FIND = """
import json, os, sys
from pathlib import Path
from src.tracking.journal import Journal
from src.tracking.process import find_driver
from src.tracking.session import Place, find_session

root = Path(sys.argv[1])
(root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": {"out": {"pid": os.getppid()}}}))
session = find_session(Journal(root), Place(root, root), find_driver(root))
print(session.id, session.owner.pid == os.getppid())
"""
DRIVE = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[2]]).returncode)"


@pytest.fixture
def driver_key(repository: Path) -> ProcessKey:
    """Let the parent of this process drive the stages, as DVC does."""
    (repository / ".dvc" / "tmp").mkdir(exist_ok=True)
    (repository / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": {"out": {"pid": os.getppid()}}}))
    key = process_key(os.getppid())
    assert key is not None
    return key


# --- where a stage runs ---


def test_stage_runs_in_the_working_folder_and_records_in_the_repository_that_dvc_names(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "main").mkdir()
    (tmp_path / "link").symlink_to("main")
    assert Place.of_this_process({}) == Place.of_this_process({"DVC_ROOT": ""}) == Place(repository, repository)
    assert Place.of_this_process({"DVC_ROOT": str(tmp_path / "link")}) == Place(tmp_path / "main", repository)


# --- which session ---


def test_stage_by_hand_has_a_session_of_its_own(journal: Journal, place: Place) -> None:
    session = find_session(journal, place, None, {})
    assert session.id == f"stage-{own_key().digest}"
    assert (session.owner, session.launched, session.status) == (own_key(), False, "RUNNING")
    assert journal.sessions() == [session]


def test_stages_of_one_dvc_process_share_a_session(journal: Journal, place: Place, driver_key: ProcessKey) -> None:
    first = find_session(journal, place, find_driver(place.work_root), {})
    second = find_session(journal, place, find_driver(place.work_root), {})
    assert (first.id, first.owner) == (f"dvc-{driver_key.digest}", driver_key)
    assert (second.id, second.start_time) == (first.id, first.start_time)
    assert journal.sessions() == [second]


@pytest.mark.usefixtures("driver_key")
def test_stage_joins_the_session_of_the_launcher(journal: Journal, place: Place) -> None:
    launched = make_session(journal.root, "launch-1")
    journal.write_session(launched)
    environ = {"PIPELINE_SESSION": "launch-1", "MLFLOW_RUN_ID": "abc"}
    assert find_session(journal, place, find_driver(place.work_root), environ) == launched


@pytest.mark.parametrize(
    "change", [{"status": "FINISHED"}, {"owner": dead_key()}, {"owner": foreign_key()}, None],
    ids=["ended", "dead", "of another host", "gone"],
)  # fmt: skip
def test_session_of_a_launcher_that_is_gone_is_not_joined(
    journal: Journal, place: Place, change: dict[str, object] | None
) -> None:
    if change:
        journal.write_session(make_session(journal.root, "launch-1", **change))
    assert find_session(journal, place, None, {"PIPELINE_SESSION": "launch-1"}).id == f"stage-{own_key().digest}"


def test_run_that_the_environment_names_becomes_the_parent(journal: Journal, place: Place) -> None:
    for run_id in ("", "../../x", "a b", "a;b"):
        assert find_session(journal, place, None, {"MLFLOW_RUN_ID": run_id}).id.startswith("stage-")
    session = find_session(journal, place, None, {"MLFLOW_RUN_ID": "0a1b"})
    assert (session.id, session.run_id, session.launched) == ("run-0a1b", "0a1b", False)


def test_run_opened_by_hand_is_continued_by_the_next_process(journal: Journal, place: Place) -> None:
    former = make_session(journal.root, "run-0a1b", owner=dead_key(), status="FINISHED", end_time=5, complete=True)
    journal.write_session(former)
    session = find_session(journal, place, None, {"MLFLOW_RUN_ID": "0a1b"})
    assert (session.id, session.start_time) == ("run-0a1b", former.start_time)
    assert (session.owner, session.status, session.end_time, session.complete) == (own_key(), "RUNNING", None, False)
    assert journal.sessions() == [session]


@pytest.mark.parametrize(("command", "expected"), [("exec-run", "dvc-"), ("repro", "run-0a1b")])
def test_worker_of_the_queue_ignores_variables_that_it_inherited(journal: Journal, command: str, expected: str) -> None:
    journal.write_session(make_session(journal.root, "launch-1", owner=foreign_key()))
    result = subprocess.run(
        [sys.executable, "-c", DRIVE, FIND, str(journal.root), command], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"MLFLOW_RUN_ID": "0a1b", "PIPELINE_SESSION": "launch-1"}, check=False,
    )  # fmt: skip
    assert result.stdout.startswith(expected), result.stderr
    assert result.stdout.endswith(" True\n")


# --- how a session begins ---


def test_session_records_git_and_settings_but_not_the_pipelines_own_outputs_as_changes(place: Place) -> None:
    (place.work_root / "reports" / "metrics.json").unlink()
    (place.work_root / "dvc.lock").write_text((place.work_root / "dvc.lock").read_text() + "# touched\n")
    session = begin_session(place, "some", own_key(), name="mine", launched=True, environ={})
    assert session.git.commit == git(place.work_root, "rev-parse", "HEAD")
    assert session.git.dirty == "false"
    assert (session.name, session.work_root, session.run_id) == ("mine", str(place.work_root), None)
    assert session.snapshot is not None
    assert session.snapshot.params["data_split.size"] == "0.25"
    assert session.snapshot.texts["params.yaml"] == PARAMS
    assert set(session.snapshot.texts) == {"dvc.yaml", "dvc.lock", "params.yaml"}
    (place.work_root / "dvc.lock").unlink()
    session = begin_session(place, "some", own_key(), launched=True, environ={})
    assert (session.name[:7], session.before) == ("repro-2", {})


def test_session_of_an_experiment_has_its_name_and_the_entries_that_it_started_from(place: Place) -> None:
    root = place.work_root
    baseline, before = git(root, "rev-parse", "HEAD"), digests(read_lock(root))
    environ = {"DVC_EXP_NAME": "brave-fox", "DVC_EXP_BASELINE_REV": baseline}
    lock = (root / "dvc.lock").read_text()
    (root / "dvc.lock").write_text(lock.replace("cp table", "cp  table"))
    session = begin_session(place, "some", own_key(), launched=False, environ=environ)
    assert (session.name, session.exp_name, session.exp_baseline) == ("brave-fox", "brave-fox", baseline)
    assert session.before == before
    # The workspace that DVC stashed counts more than the baseline.
    git(root, "update-ref", "refs/exps/exec/EXEC_MERGE", commit(root))
    (root / "dvc.lock").write_text(lock)
    session = begin_session(place, "some", own_key(), launched=False, environ=environ)
    assert session.before["train"] == before["train"]
    assert session.before["data_split"] not in (None, before["data_split"])


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes())


@pytest.mark.parametrize(
    ("change", "unknown"),
    [
        (lambda _: None, set()),
        # DVC wrote the lock for another stage.
        (lambda root: rewrite(root / "dvc.lock"), set()),
        # Somebody touched an output.
        (lambda root: rewrite(root / "data" / "train.parquet"), set()),
        # DVC restored a stage.
        (lambda root: (rewrite(root / "dvc.lock"), rewrite(root / "data" / "train.parquet")), {"data_split"}),
    ],
)
def test_entry_of_a_stage_that_dvc_may_have_restored_before_anyone_looked_is_unknown(
    place: Place, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object], unknown: set[str]
) -> None:
    root, known = place.work_root, digests(read_lock(place.work_root))
    newest = max(path.stat().st_ctime for path in root.rglob("*"))
    # DVC began after all files were written, and before the change.
    monkeypatch.setattr("src.tracking.session.began_at", lambda _: newest + 0.000001)
    change(root)
    session = begin_session(place, "some", own_key(), launched=False, environ={})
    assert {name for name, digest in session.before.items() if digest is None} == unknown
    assert {name: digest for name, digest in session.before.items() if digest} == {
        name: digest for name, digest in known.items() if name not in unknown
    }


# --- values ---


def test_settings_become_text_and_numbers_of_any_type_metrics_by_dotted_keys() -> None:
    import numpy as np

    settings = {"a": {"b": {"c": 1}, "d": [2, "x"]}, "e": {}, "f": None, "g": True, "h": 1e-05, 1: {2: "text"}}
    assert flatten(settings) == {
        "a.b.c": "1", "a.d": '[2, "x"]', "e": "{}", "f": "null", "g": "true", "h": "1e-05", "1.2": "text",
    }  # fmt: skip
    values = {"f1": 0.5, "n": {"rows": 3, "deep": {"x": 1}}, "note": "x", "none": None, "list": [1], "ok": True}
    assert numbers(values) == {"f1": 0.5, "n.rows": 3.0, "n.deep.x": 1.0, "ok": 1.0}
    found = numbers({"a": np.int64(3), "b": np.float32(0.5), "c": np.float64(0.25)})
    assert found == {"a": 3.0, "b": 0.5, "c": 0.25}
    assert {type(value) for value in found.values()} == {float}


def test_pipeline_in_another_encoding_is_refused(repository: Path) -> None:
    (repository / "dvc.yaml").write_bytes("stages: {}\n".encode("utf-16"))
    with pytest.raises(ConfigError, match=r"dvc\.yaml cannot be read as UTF-8 text: "):
        read_settings(repository)
