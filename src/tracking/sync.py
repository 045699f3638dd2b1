"""Bring MLflow up to the truth: what the journal, git and DVC know and the store does not."""

import hashlib
import json
import logging
from pathlib import Path

from filelock import FileLock

from src.errors import TrackingError
from src.tracking import names
from src.tracking.content import attach_metrics
from src.tracking.experiments import match_experiments
from src.tracking.journal import Journal, Session
from src.tracking.lineage import read_lock
from src.tracking.parent_run import ensure_parent, log_parent
from src.tracking.process import own_key
from src.tracking.session import Place, begin_session
from src.tracking.settle import settle
from src.tracking.stage_run import close_stage_run, open_stage_run
from src.tracking.store import Store, explain, open_store

logger = logging.getLogger(__name__)


def sync(root: Path, experiment_name: str) -> tuple[int, int]:
    """Complete, in MLflow, every session of this repository that has ended. Idempotent.

    Args:
        root: Root of the main repository.
        experiment_name: The MLflow experiment.

    Returns:
        Number of sessions brought up to the truth, and of sessions that have ended.

    Raises:
        TrackingError: The store cannot be used; what is missing stays in the journal.
    """
    journal = Journal(root)
    journal.path.mkdir(parents=True, exist_ok=True)
    with FileLock(journal.path / "sync.lock", timeout=600):
        store = open_store(root, experiment_name)
        try:
            return _sync(journal, store)
        # As in the recorder: MLflow's errors share no base.
        except Exception as error:
            raise TrackingError(explain(error, store.uri)) from error


def _sync(journal: Journal, store: Store) -> tuple[int, int]:
    sessions = journal.sessions()
    newest = {session.work_root: session.id for session in sessions}
    going_on = {session.id for session in sessions if not _has_ended(session)}
    sessions += match_experiments(journal.root, sessions)
    ended = [session for session in sessions if session.id not in going_on]
    for session in ended:
        if not session.complete:
            settle(journal, session, is_newest=newest.get(session.work_root) == session.id)
    if _is_new_state(journal.root, sessions, going_on):
        ended.append(_workspace_session(journal))
    known = _known_runs(store)
    missing = [session for session in ended if not session.complete or not _is_known(journal, session, known)]
    for session in missing:
        project(journal, store, session, known)
    return len(missing), len(ended)


def project(journal: Journal, store: Store, session: Session, known: set[str] | None = None) -> None:
    """Write a session that has ended to MLflow: what is missing there, and the whole parent.

    Args:
        journal: The journal.
        store: The store.
        session: The session.
        known: Runs of the store, if looked up: those that are not there are made again.
    """
    place = Place(journal.root, Path(session.work_root))
    if known is not None and session.run_id not in known:
        session.run_id = None
        journal.write_session(session)
    session = ensure_parent(store, journal, session)
    for visit in journal.visits(session.id):
        if known is not None and visit.run_id not in known:
            visit.run_id, visit.complete = None, False
        if visit.run_id is None:
            open_stage_run(store, session, visit)
            journal.write_visit(session.id, visit)
        if not visit.complete:
            close_stage_run(store, place, visit)
            journal.write_visit(session.id, visit)
    log_parent(store, place, session)
    _attach_known_scores(store, journal, session)
    session.complete = True
    journal.write_session(session)


def _attach_known_scores(store: Store, journal: Journal, session: Session) -> None:
    """Give a model that was logged anew the scores of a stage that DVC skipped, since it had scored the same file."""
    visits = journal.visits(session.id)
    ran = {visit.stage for visit in visits}
    entries = session.snapshot.entries if session.snapshot else {}
    written = [
        (path, visit.entry.outs[path])
        for visit in visits
        if visit.entry and visit.status == "FINISHED"
        for path in visit.models
        if visit.entry.outs.get(path)
    ]
    for path, md5 in written:
        query = f"tags.`{names.KIND}` = 'stage' and tags.`{names.MD5}{path}` = '{md5}' and status = 'FINISHED'"
        for run in store.client.search_runs([store.experiment_id], query, order_by=["start_time ASC"]):
            stage = run.data.tags.get(names.STAGE, "")
            if md5 and stage not in ran and run.data.tags.get(names.ENTRY) == entries.get(stage):
                attach_metrics(store, run.info.run_id, md5, run.data.metrics)


def _has_ended(session: Session) -> bool:
    # Of another host's process nothing is known: its own sync closes it.
    return session.owner.is_alive() is False


def _is_known(journal: Journal, session: Session, known: set[str]) -> bool:
    return {session.run_id, *(visit.run_id for visit in journal.visits(session.id))} <= known


def _known_runs(store: Store) -> set[str]:
    """List the runs of the experiment; deleted ones too, for they shall stay deleted."""
    from mlflow.entities import ViewType

    found: set[str] = set()
    token = None
    while True:
        page = store.client.search_runs(
            [store.experiment_id], f"tags.`{names.KIND}` != ''", ViewType.ALL, max_results=1000, page_token=token
        )
        found |= {run.info.run_id for run in page}
        token = page.token
        if not token:
            return found


def _is_new_state(root: Path, sessions: list[Session], going_on: set[str]) -> bool:
    """Tell whether the workspace holds results of which no session knows, as after `git checkout`."""
    entries = {name: entry.digest for name, entry in read_lock(root).items()}
    if not entries or any(session.work_root == str(root) and session.id in going_on for session in sessions):
        return False
    return not any(session.snapshot and session.snapshot.entries == entries for session in sessions)


def _workspace_session(journal: Journal) -> Session:
    """Describe results that came by git and DVC without a run on this machine."""
    place = Place(journal.root, journal.root)
    lock = {name: entry.digest for name, entry in read_lock(journal.root).items()}
    digest = hashlib.sha256(json.dumps(lock, sort_keys=True).encode()).hexdigest()[:16]
    session = begin_session(place, f"workspace-{digest}", own_key(), name="workspace", closed_by_owner=True, environ={})
    session.before = lock
    session.status, session.end_time = "FINISHED", session.start_time
    settle(journal, session, is_newest=True)
    return session
