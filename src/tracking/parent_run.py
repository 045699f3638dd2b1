"""The parent run of a session: opened once, and made to tell the whole story."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from src.tracking import names
from src.tracking.journal import Journal, Session, Snapshot, now
from src.tracking.links import make_page
from src.tracking.runs import create_run, fit_key, log_file, log_values
from src.tracking.session import Place
from src.tracking.snapshot import UP_TO_DATE
from src.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

logger = logging.getLogger(__name__)


def ensure_parent(store: Store, journal: Journal, session: Session) -> Session:
    """Open the parent run of a session if it has none that can be used.

    Returns:
        The session as it is on disk now, with its run.
    """
    with journal.locked():
        session = journal.read_session(session.id) or session
        if session.run_id is not None and not _is_usable(store, session.run_id):
            logger.warning(
                "MLflow run %s does not exist in %s or was deleted; going on under a fresh parent run",
                session.run_id, store.label,
            )  # fmt: skip
            session.run_id = None
        if session.run_id is None:
            session.run_id = create_run(store, session, session.name, session.start_time, {names.KIND: "parent"})
        elif not session.closed_by_owner:
            store.client.update_run(session.run_id, status="RUNNING")
        journal.write_session(session)
    return session


def log_parent(store: Store, place: Place, session: Session) -> None:
    """Log a session's snapshot to its parent run, and end the run unless the session goes on."""
    snapshot, run_id = session.snapshot or Snapshot(), session.run_id
    assert run_id is not None, "the parent run was opened"  # noqa: S101 - callers ensure it first
    producers = {name: _find_producer(store, session, snapshot, name) for name in snapshot.outcomes}
    tags = {
        names.KIND: "parent",
        "mlflow.note.content": _describe(store, snapshot, producers),
        **{names.MD5 + path: md5 for path, md5 in snapshot.md5s.items()},
    }
    for stage, outcome in snapshot.outcomes.items():
        producer = producers[stage]
        tags[names.STAGE_OUTCOME + stage] = outcome
        tags[f"{names.STAGE_OUTCOME}{stage}.run_id"] = producer.info.run_id if producer else names.UNKNOWN
    # A run opened by hand may live through several sessions of DVC; MLflow refuses
    # to change a param, so the first value stands and params.yaml tells the rest.
    known = store.client.get_run(run_id).data.params
    params = {key: value for key, value in snapshot.params.items() if fit_key(key) not in known}
    log_values(store, run_id, params=params, metrics=snapshot.metrics, tags=tags)
    for name, text in snapshot.texts.items():
        store.client.log_text(run_id, text, name)
    for path in snapshot.plots:
        log_file(store, place, run_id, path, snapshot.md5s.get(path))
    if session.status != "RUNNING":
        store.client.set_terminated(run_id, session.status, session.end_time)


def _is_usable(store: Store, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

    try:
        return bool(store.client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return False
        raise


def _find_producer(store: Store, session: Session, snapshot: Snapshot, stage: str) -> "Run | None":
    """Find the run that produced what a session left of a stage, or that failed to."""
    wanted = f"tags.`{names.KIND}` = 'stage' and tags.`{names.STAGE}` = '{stage}' and "
    outcome, entry = snapshot.outcomes[stage], snapshot.entries.get(stage)
    if outcome in ("ran", "failed"):
        # Not by what it produced: another clone may produce the same at the same time.
        wanted += f"tags.`{names.SESSION}` = '{session.id}'"
    elif outcome in UP_TO_DATE and entry:
        # A session that is recorded late must not claim what ran after it.
        wanted += f"tags.`{names.ENTRY}` = '{entry}' and attributes.start_time <= {session.end_time or now()}"
    else:
        return None
    runs = store.client.search_runs([store.experiment_id], wanted, order_by=["start_time DESC"], max_results=1)
    return runs[0] if runs else None


def _describe(store: Store, snapshot: Snapshot, producers: Mapping[str, "Run | None"]) -> str:
    """Tell the story as a Markdown table with links."""
    rows = ["| stage | outcome | duration | run |", "| --- | --- | --- | --- |"]
    for stage, outcome in snapshot.outcomes.items():
        duration, link = "", names.UNKNOWN
        if producer := producers[stage]:
            info = producer.info
            if info.end_time:
                duration = f"{(info.end_time - info.start_time) / 1000:.1f} s"
            link = f"[{info.run_id[:8]}]({make_page(f'experiments/{store.experiment_id}/runs/{info.run_id}')})"
        rows.append(f"| {stage} | {outcome} | {duration} | {link} |")
    return "\n".join(rows)
