"""Find the session, and so the parent run, that a stage belongs to."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from src.config.yaml_file import read_text, read_yaml
from src.tracking import names
from src.tracking.git import read_file, read_git
from src.tracking.journal import Journal, Session, Snapshot
from src.tracking.lock import LockEntry, digests, parse_lock, read_lock
from src.tracking.process import Driver, ProcessKey, began_at, is_queue_worker, own_key, process_key
from src.tracking.repair import keep_lock

# Files that a parent run shows as they were.
TEXTS = ("dvc.yaml", "dvc.lock", "params.yaml")
# While an experiment runs, this ref has the workspace that it started from.
EXPERIMENT_START = "refs/exps/exec/EXEC_MERGE"


@dataclass(frozen=True)
class Place:
    """Where a stage runs.

    Attributes:
        main_root: Root of the repository with the store, the journal and the cache.
        work_root: Root that the stage reads and writes; a temporary folder for some experiments.
    """

    main_root: Path
    work_root: Path

    @classmethod
    def of_this_process(cls, environ: Mapping[str, str] = os.environ) -> "Place":
        """Find both from the working folder and DVC's variables."""
        work_root = Path.cwd()
        return cls(Path(environ.get(names.DVC_ROOT) or work_root).resolve(), work_root)


def find_session(
    journal: Journal, place: Place, driver: Driver | None, environ: Mapping[str, str] = os.environ
) -> Session:
    """Find or begin the session of the stage that runs in this process.

    It is, in this order, the session of the launcher, of the run that `MLFLOW_RUN_ID` names, of the
    DVC process that runs the stage, or of this process. In a worker of DVC's queue the first two
    are ignored, because they may belong to another session.
    """
    if driver and place.work_root == place.main_root:
        # DVC has read the file, and writes it when the stage has ended.
        keep_lock(place.main_root)
    owner = (process_key(driver.process.pid) if driver else None) or own_key()
    if not is_queue_worker(driver):
        launched = journal.read_session(environ.get(names.PIPELINE_SESSION) or "-")
        if launched and launched.status == "RUNNING" and launched.owner.is_alive():
            return launched
        run_id = environ.get(names.MLFLOW_RUN_ID)
        if run_id and run_id.isalnum():
            return _find_or_begin(journal, place, f"run-{run_id}", owner, environ, run_id)
    kind = "dvc" if driver else "stage"
    return _find_or_begin(journal, place, f"{kind}-{owner.digest}", owner, environ)


def begin_session(
    place: Place,
    session_id: str,
    owner: ProcessKey,
    *,
    name: str | None = None,
    launched: bool,
    run_id: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Session:
    """Create a session, without writing it.

    Args:
        owner: The process with which the session ends.
        name: Name of the parent run; by default the name of the DVC experiment, or the time.
        launched: Whether the owner is the launcher.
        run_id: An existing parent run.
    """
    exp_name = environ.get(names.DVC_EXP_NAME, "")
    lock = read_lock(place.work_root)
    before = _entries_before_experiment(place.work_root, environ) if exp_name else None
    # DVC deletes the outputs of a stage before it runs it, which is not a change by the user.
    outputs = ["dvc.lock", *(path for entry in lock.values() for path in entry.outs)]
    return Session(
        id=session_id,
        name=name or exp_name or time.strftime("repro-%Y%m%d-%H%M%S"),
        work_root=str(place.work_root),
        owner=owner,
        launched=launched,
        before=_entries_before(place.work_root, lock, owner) if before is None else before,
        git=read_git(place.work_root, outputs),
        exp_name=exp_name,
        exp_baseline=environ.get(names.DVC_EXP_BASELINE_REV, ""),
        run_id=run_id,
        snapshot=read_settings(place.work_root),
    )


def read_settings(root: Path) -> Snapshot:
    """Read what is known before a session has ended: its settings."""
    return Snapshot(
        params=flatten(read_yaml(root / "params.yaml")),
        texts={name: read_text(root / name) for name in TEXTS if (root / name).exists()},
    )


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten settings to dotted keys; values that are not text become JSON.

    >>> flatten({"train": {"cv": 5, "estimator": ["knn", "svm"], "param_grid": {}}})
    {'train.cv': '5', 'train.estimator': '["knn", "svm"]', 'train.param_grid': '{}'}
    """
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Flatten nested numbers to dotted keys, and leave out everything else.

    >>> numbers({"f1": 1, "f1_class": {"setosa": 0.5}, "note": "x"})
    {'f1': 1.0, 'f1_class.setosa': 0.5}
    """
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{name}": number for name, number in numbers(value).items()}
        elif isinstance(value, Real):
            found[str(key)] = float(value)
    return found


def _find_or_begin(
    journal: Journal,
    place: Place,
    session_id: str,
    owner: ProcessKey,
    environ: Mapping[str, str],
    run_id: str | None = None,
) -> Session:
    with journal.locked():
        session = journal.read_session(session_id)
        if session is None:
            session = begin_session(place, session_id, owner, launched=False, run_id=run_id, environ=environ)
        elif session.owner != owner:
            # A run that was opened by hand: this DVC process continues it, perhaps with other settings.
            session.before = dict(_entries_before(place.work_root, read_lock(place.work_root), owner))
            session.snapshot = read_settings(place.work_root)
        session.owner, session.status, session.end_time, session.complete = owner, "RUNNING", None, False
        journal.write_session(session)
    return session


def _entries_before_experiment(work_root: Path, environ: Mapping[str, str]) -> dict[str, str | None] | None:
    """Return the digests of the entries of `dvc.lock` at the start of an experiment; None if there are none.

    They are read from git: DVC has just created the experiment's folder, so the times of files in it
    have no meaning.
    """
    for revision in (EXPERIMENT_START, environ.get(names.DVC_EXP_BASELINE_REV, "HEAD")):
        text = read_file(work_root, revision, "dvc.lock")
        if text and (lock := parse_lock(text)):
            return dict(digests(lock))
    return None


def _entries_before(work_root: Path, lock: Mapping[str, LockEntry], owner: ProcessKey) -> dict[str, str | None]:
    """Return the digests of the entries of `dvc.lock` before the owner began; None if an entry changed since.

    A session of bare DVC begins with the first stage that runs. DVC may have restored earlier stages
    by then, which shows in the times of their files.
    """
    began = began_at(owner)
    lock_is_old = not _changed_since(work_root / "dvc.lock", began)
    return {
        name: entry.digest
        if lock_is_old or not any(_changed_since(work_root / path, began) for path in entry.outs)
        else None
        for name, entry in lock.items()
    }


def _changed_since(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_ctime >= moment
    except OSError:
        return False
