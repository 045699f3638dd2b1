"""How a session ended, told from what it left: in git, in the workspace, or in the journal."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from src.tracking.experiments import experiment_files
from src.tracking.journal import Journal, Session, Snapshot, Visit, now
from src.tracking.lineage import read_lock
from src.tracking.names import Status
from src.tracking.snapshot import read_settings, take_snapshot, worst_status


def settle(
    journal: Journal, session: Session, *, is_newest: bool, status: Status | None = None, check: bool = True
) -> None:
    """Decide how a session ended, and write it to the journal.

    Args:
        journal: The journal.
        session: A session whose owner has ended, or that its owner is about to close.
        is_newest: Whether no other session came after it in its folder.
        status: How it ended, if the owner knows; a stage that was killed shows as a failure of DVC.
        check: Whether to ask which stages are stale.
    """
    for visit in journal.visits(session.id):
        if visit.status == "RUNNING" and visit.process.is_alive() is False:
            # Killed so hard that it could not say so.
            visit.status, visit.end_time, visit.complete = "KILLED", now(), False
            journal.write_visit(session.id, visit)
    visits = journal.visits(session.id)
    with _find_remains(journal.root, session, visits, is_newest=is_newest) as root:
        if root is not None:
            session.snapshot = take_snapshot(root, session, visits, finished=True, check=check)
        else:
            _note_failures(session.snapshot or Snapshot(), visits)
    if status == "FAILED" and worst_status(visits) == "KILLED":
        status = "KILLED"
    if session.status == "RUNNING" or status:
        session.status = status or ("KILLED" if session.closed_by_owner else worst_status(visits))
    session.end_time = session.end_time or now()
    journal.write_session(session)


@contextmanager
def _find_remains(
    main_root: Path, session: Session, visits: Sequence[Visit], *, is_newest: bool
) -> Iterator[Path | None]:
    """Find a folder that holds what the session left; None if the journal alone remembers."""
    work_root = Path(session.work_root)
    if session.exp_commit:
        with experiment_files(main_root, session.exp_commit) as folder:
            yield folder if (folder / "dvc.yaml").exists() else None
    elif is_newest and (work_root / "dvc.yaml").exists() and _is_as_left(work_root, session, visits):
        yield work_root
    else:
        yield None


def _is_as_left(work_root: Path, session: Session, visits: Sequence[Visit]) -> bool:
    """Tell whether nobody changed the settings or checked out other results since."""
    texts = session.snapshot.texts if session.snapshot else {}
    here = read_settings(work_root).texts
    if any(texts.get(name) not in (None, here.get(name)) for name in ("dvc.yaml", "params.yaml")):
        return False
    lock, last = read_lock(work_root), {visit.stage: visit for visit in visits}
    written = {name: visit.entry for name, visit in last.items() if visit.status == "FINISHED" and visit.entry}
    return all(name in lock and lock[name].digest == entry.digest for name, entry in written.items())


def _note_failures(snapshot: Snapshot, visits: Sequence[Visit]) -> None:
    for name, visit in {visit.stage: visit for visit in visits}.items():
        if visit.status in ("FAILED", "KILLED"):
            snapshot.outcomes[name] = "failed"
