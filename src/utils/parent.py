"""Open and close the parent run of a session for the launcher, which imports no MLflow itself.

python -m src.utils.parent LEVEL open SESSION EXPERIMENT
python -m src.utils.parent LEVEL close SESSION EXPERIMENT
"""

import logging
import os
import signal
import sys
from pathlib import Path

from src.tracking.journal import Journal, Session
from src.tracking.names import COLD
from src.tracking.parent_run import ensure_parent
from src.tracking.store import explain, open_store, store_uri
from src.tracking.sync import project
from src.utils.command import command
from src.utils.logs import setup_logging

logger = logging.getLogger(__name__)


def record_parent(server: str, action: str, session: Session, experiment_name: str) -> Session:
    """Open or close a parent run: in a warm fork, which has MLflow imported, or else here.

    Args:
        server: Folder of the warm server, or `0`.
        action: `open` or `close`.
        session: The session, as the journal has it.
        experiment_name: The MLflow experiment.

    Returns:
        The session as the journal has it now. A store that fails costs a warning only.
    """
    arguments = [action, session.id, experiment_name]
    status = None
    if server != COLD:
        from src.warm.client import run_warm

        level = logging.getLevelName(logging.getLogger("src").level)
        status = run_warm(server, "src.utils.parent", [level, *arguments])
    if status is None or os.WIFSIGNALED(status):
        # Not as a command, which would set up the logs anew, without the user's level.
        open_or_close(*arguments)
    elif os.waitstatus_to_exitcode(status) == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    return Journal(Path.cwd()).read_session(session.id) or session


@command
def main(arguments: list[str]) -> None:
    """Open or close a parent run, with the logs as the launcher has them."""
    level, *rest = arguments
    setup_logging(level)
    open_or_close(*rest)


def open_or_close(action: str, session_id: str, experiment_name: str) -> None:
    """Open or close a parent run; whatever goes wrong with a record is a warning."""
    journal = Journal(Path.cwd())
    session = journal.read_session(session_id)
    try:
        if session is None:
            raise FileNotFoundError(journal.path / session_id)
        store = open_store(journal.root, experiment_name)
        if action == "open":
            ensure_parent(store, journal, session)
        else:
            project(journal, store, session)
    # No record is worth a training: MLflow passes on errors of SQLAlchemy, requests and
    # alembic, which share no base.
    except Exception as error:
        logger.warning("%s", explain(error, store_uri(journal.root)))
        logger.debug("tracking failed", exc_info=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
