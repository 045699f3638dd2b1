"""Which session a stage belongs to, and so which parent run."""

import logging
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from src.tracking import names
from src.tracking.git import copy_files, read_git
from src.tracking.journal import Journal, Session
from src.tracking.lineage import StageDefinition, read_lock, read_stages
from src.tracking.process import ProcessKey, began_at, find_dvc_driver, is_queue_worker, own_key, process_key
from src.tracking.snapshot import read_settings

logger = logging.getLogger(__name__)

# While an experiment runs, DVC keeps there the workspace that it started from.
EXPERIMENT_START = "refs/exps/exec/EXEC_MERGE"


@dataclass(frozen=True)
class Place:
    """Where a stage runs.

    Attributes:
        main_root: Root of the repository that owns the store, the journal and the cache.
        work_root: Root that the stage reads and writes; differs in some experiments.
    """

    main_root: Path
    work_root: Path

    @classmethod
    def of_this_process(cls, environ: Mapping[str, str] = os.environ) -> "Place":
        """Find both from the working folder and from what DVC says."""
        work_root = Path.cwd()
        return cls(Path(environ.get(names.DVC_ROOT) or work_root).resolve(), work_root)


def find_session(journal: Journal, place: Place, environ: Mapping[str, str] = os.environ) -> Session:
    """Find the session of the stage that runs in this process, or begin it.

    In this order: the launcher's own; the run that `MLFLOW_RUN_ID` names; the DVC
    process that drives the stage; else this process alone. What the environment says
    is ignored in a worker of DVC's queue, which inherits it from somebody else.
    """
    driver = find_dvc_driver(place.work_root)
    if not is_queue_worker(driver):
        launched = journal.read_session(environ.get(names.PIPELINE_SESSION) or "-")
        if launched and launched.status == "RUNNING" and launched.owner.is_alive():
            return launched
        run_id = environ.get(names.MLFLOW_RUN_ID)
        if run_id and run_id.isalnum():
            owner = (process_key(driver.pid) if driver else None) or own_key()
            return _find_or_begin(journal, place, f"run-{run_id}", owner, environ, run_id)
    if driver and (key := process_key(driver.pid)):
        return _find_or_begin(journal, place, f"dvc-{key.digest}", key, environ)
    key = own_key()
    return _find_or_begin(journal, place, f"alone-{key.digest}", key, environ)


def begin_session(
    place: Place,
    session_id: str,
    owner: ProcessKey,
    *,
    name: str | None = None,
    closed_by_owner: bool,
    run_id: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Session:
    """Describe a new session; the caller writes it.

    Args:
        place: Where the stages run.
        session_id: Its key.
        owner: The process whose end ends it.
        name: Name of the parent run; by default DVC's name of the experiment, or the time.
        closed_by_owner: Whether the owner closes the parent run.
        run_id: An existing parent run.
        environ: Environment variables.
    """
    exp_name = environ.get(names.DVC_EXP_NAME, "")
    stages = read_stages(place.work_root)
    before = _entries_before_experiment(place.work_root, environ) if exp_name else None
    return Session(
        id=session_id,
        name=name or exp_name or time.strftime("repro-%Y%m%d-%H%M%S"),
        work_root=str(place.work_root),
        owner=owner,
        closed_by_owner=closed_by_owner,
        before=_entries_before(place.work_root, stages, owner) if before is None else before,
        # What the pipeline itself writes does not count: DVC has deleted a stage's
        # outputs when the stage asks.
        git=read_git(place.work_root, ["dvc.lock", *(path for stage in stages.values() for path in stage.outs)]),
        exp_name=exp_name,
        exp_baseline=environ.get(names.DVC_EXP_BASELINE_REV, ""),
        run_id=run_id,
        snapshot=read_settings(place.work_root),
    )


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
            session = begin_session(place, session_id, owner, closed_by_owner=False, run_id=run_id, environ=environ)
        # Another DVC process may carry on a run opened by hand.
        session.owner, session.status, session.end_time, session.complete = owner, "RUNNING", None, False
        journal.write_session(session)
    return session


def _entries_before_experiment(work_root: Path, environ: Mapping[str, str]) -> dict[str, str | None] | None:
    """Hash the entries of `dvc.lock` as the experiment found them; None if nobody knows.

    DVC makes the folder of an experiment from the stashed workspace, or from the
    baseline: files there are all new, and their times tell nothing.
    """
    for revision in (EXPERIMENT_START, environ.get(names.DVC_EXP_BASELINE_REV, "HEAD")):
        with tempfile.TemporaryDirectory() as folder:
            copy_files(work_root, revision, ["dvc.lock"], Path(folder))
            if lock := read_lock(Path(folder)):
                return {name: entry.digest for name, entry in lock.items()}
    return None


def _entries_before(work_root: Path, stages: Mapping[str, StageDefinition], owner: ProcessKey) -> dict[str, str | None]:
    """Hash the entries of `dvc.lock` as they were before the owner began.

    The launcher asks before DVC starts. A stage under bare DVC asks late: DVC may have
    restored earlier stages already, which shows in the time of their files.
    """
    began = began_at(owner)
    lock = read_lock(work_root)
    lock_is_old = not _changed_since(work_root / "dvc.lock", began)
    return {
        name: entry.digest if lock_is_old or not _outs_changed_since(work_root, stages.get(name), began) else None
        for name, entry in lock.items()
    }


def _outs_changed_since(work_root: Path, stage: StageDefinition | None, began: float) -> bool:
    return any(_changed_since(work_root / path, began) for path in (stage.outs if stage else []))


def _changed_since(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_ctime >= moment
    except OSError:
        return False
