"""Bring MLflow up to date with the journal, git and DVC. Idempotent."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from src.errors import PipelineError, TrackingError
from src.tracking import names
from src.tracking.dvc_repo import DvcRepo, open_repo
from src.tracking.git import Experiment, GitState, list_experiments, read_file
from src.tracking.journal import Journal, Session
from src.tracking.lock import digests, parse_lock, read_lock
from src.tracking.outcomes import end_session
from src.tracking.process import own_key
from src.tracking.repair import repair
from src.tracking.runs import end_lost_runs, ensure_parent, identify, write_execution, write_parent
from src.tracking.session import Place, begin_session
from src.tracking.store import Store, explain, log_traceback, open_store

if TYPE_CHECKING:
    from mlflow.entities import Run

logger = logging.getLogger(__name__)


def sync(root: Path, experiment_name: str, *, only_unfinished: bool = False) -> tuple[int, int]:
    """Complete in MLflow every session of this repository that has ended.

    Args:
        only_unfinished: Leave out sessions that were completed earlier, perhaps in another store,
            and results that came by git.

    Returns:
        Number of sessions that were completed, and number of sessions that have ended.

    Raises:
        TrackingError: The store cannot be used. The journal keeps what is missing.
        BusyError, ConfigError: `dvc.lock` is damaged and cannot be restored, see `repair`.
    """
    journal = Journal(root)
    journal.path.mkdir(parents=True, exist_ok=True)
    with FileLock(journal.path / "sync.lock", timeout=600):
        repair(root)
        store = open_store(root, experiment_name)
        try:
            return _sync(journal, store, only_unfinished=only_unfinished)
        except PipelineError:
            raise
        # MLflow's errors share no base class.
        except Exception as error:
            raise TrackingError(explain(error, store.uri)) from error


def _sync(journal: Journal, store: Store, *, only_unfinished: bool) -> tuple[int, int]:
    sessions = journal.sessions()
    newest = {session.work_root: session.id for session in sessions}
    alive = {session.id: session.owner.is_alive() for session in sessions}
    # Sessions of another host are ended there. A process may continue after its session is complete:
    # `make ui` becomes the server.
    running = {
        session.id for session in sessions if alive[session.id] is None or (alive[session.id] and not session.complete)
    }
    sessions += match_experiments(journal.root, sessions)
    ended = [session for session in sessions if session.id not in running]
    for session in ended:
        if not session.complete:
            end_session(journal, session, is_newest=newest.get(session.work_root) == session.id)
    known: set[str] | None = None
    missing = [session for session in ended if not session.complete]
    if not only_unfinished:
        if _is_new_state(journal.root, sessions, running):
            ended.append(_workspace_session(journal))
        runs = _known_runs(store)
        known = {run.info.run_id for run in runs}
        _adopt_runs(journal, ended, runs)
        missing = [session for session in ended if not session.complete or not _run_ids(journal, session) <= known]
    failures: list[str] = []
    if missing:
        with open_repo(journal.root) as repo:
            for session in missing:
                try:
                    complete(journal, store, repo, session, known)
                # MLflow's errors share no base class.
                except Exception as error:
                    # If the store fails, it fails for the others, too; else only this session is at fault.
                    store.client.get_experiment(store.experiment_id)
                    failures.append(f"{journal.path / session.id}: {explain(error, store.uri)}")
                    log_traceback(error, store.uri)
    journal.prune()
    if failures:
        raise TrackingError(f"{len(failures)} of {len(missing)} sessions could not be completed, such as {failures[0]}")
    return len(missing), len(ended)


def complete(
    journal: Journal, store: Store, repo: DvcRepo | None, session: Session, known: set[str] | None = None
) -> None:
    """Write a session that has ended to MLflow: missing parts of nested runs, and the parent run.

    Args:
        repo: The main repository; None if DVC cannot read it.
        session: A session, after `end_session`.
        known: Ids of the runs in the store; others are created again. None if all runs exist.
    """
    place = Place(journal.root, Path(session.work_root))
    if known is not None and session.run_id not in known:
        session.run_id = None
        journal.write_session(session)
    session = ensure_parent(store, journal, session)
    for execution in journal.executions(session.id):
        if known is not None and execution.run_id not in known:
            execution.run_id = execution.model_id = None
            execution.logged = execution.complete = False
        try:
            write_execution(store, place, session, execution, repo)
        finally:
            journal.write_execution(session.id, execution)
    write_parent(store, repo, session)
    end_lost_runs(store, session)
    session.complete = True
    journal.write_session(session)


def match_experiments(root: Path, sessions: Sequence[Session]) -> list[Session]:
    """Set the commit with the results on the session of each experiment.

    Args:
        sessions: All sessions, oldest first.

    Returns:
        New sessions for experiments that have none, because all stages were restored or because the
        experiment was pulled.
    """
    known = {session.exp_commit for session in sessions}
    added = []
    for experiment in list_experiments(root):
        if experiment.commit in known:
            continue
        mine = [
            session
            for session in sessions
            if (session.exp_name, session.exp_baseline) == (experiment.name, experiment.baseline)
            and not session.exp_commit
        ]
        session = mine[-1] if mine else _experiment_session(root, experiment)
        if not mine:
            added.append(session)
        session.exp_commit, session.complete = experiment.commit, False
    return added


def _experiment_session(root: Path, experiment: Experiment) -> Session:
    text = read_file(root, experiment.baseline, "dvc.lock")
    return Session(
        id=f"exp-{experiment.commit[:16]}",
        name=experiment.name,
        work_root=str(root),
        owner=own_key(),
        launched=True,
        before=dict(digests(parse_lock(text))) if text else {},
        git=GitState(commit=experiment.baseline),
        exp_name=experiment.name,
        exp_baseline=experiment.baseline,
        status="FINISHED",
        start_time=experiment.finished,
        end_time=experiment.finished,
    )


def _run_ids(journal: Journal, session: Session) -> set[str | None]:
    return {session.run_id, *(execution.run_id for execution in journal.executions(session.id))}


def _known_runs(store: Store) -> "list[Run]":
    """Return the runs of the experiment, including deleted ones, which are not created again."""
    import mlflow
    from mlflow.entities import ViewType

    query = f"tags.`{names.KIND}` != ''"
    return list(mlflow.search_runs([store.experiment_id], query, ViewType.ALL, output_format="list"))


def _adopt_runs(journal: Journal, sessions: Sequence[Session], runs: "Sequence[Run]") -> None:
    """Note the ids of runs that another way brought into this store, such as `make server-import`."""
    known = {run.info.run_id for run in runs}
    found = {identify(run): run for run in runs}
    for session in sessions:
        parent = found.get((session.id, "parent", "", "", ""))
        if session.run_id not in known and parent:
            session.run_id = parent.info.run_id
            journal.write_session(session)
        for execution in journal.executions(session.id):
            stage = execution.stage.partition("@")[0]
            run = found.get((session.id, "stage", stage, "", str(execution.start_time)))
            if execution.run_id not in known and run:
                models = run.outputs.model_outputs if run.outputs else []
                execution.run_id, execution.model_id = run.info.run_id, models[0].model_id if models else None
                journal.write_execution(session.id, execution)


def _is_new_state(root: Path, sessions: Sequence[Session], running: set[str]) -> bool:
    """Return whether the results in the workspace come from no session, as after `git checkout`."""
    entries = digests(read_lock(root))
    if not entries or any(session.work_root == str(root) and session.id in running for session in sessions):
        return False
    recorded = [session.snapshot.entries for session in sessions if session.snapshot and session.snapshot.entries]
    # dvc.lock may also have stages that were removed from dvc.yaml. Names with a colon are in the
    # dvc.lock of a subfolder.
    return not any(
        all(entries.get(name) == digest for name, digest in known.items() if ":" not in name) for known in recorded
    )


def _workspace_session(journal: Journal) -> Session:
    """Create a session for results that came from git and DVC, without a run on this machine."""
    lock = digests(read_lock(journal.root))
    digest = hashlib.sha256(json.dumps(lock, sort_keys=True).encode()).hexdigest()[:16]
    place = Place(journal.root, journal.root)
    session = begin_session(place, f"workspace-{digest}", own_key(), name="workspace", launched=True, environ={})
    session.before = dict(lock)
    session.status, session.end_time = "FINISHED", session.start_time
    end_session(journal, session, is_newest=True)
    return session
