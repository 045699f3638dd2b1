"""Open and complete the parent run of the launcher's session.

python -m src.utils.parent open|complete|check SESSION

A process of its own: a warm fork has MLflow and DVC imported, and an interruption of the launcher
cannot leave either half imported.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path

from src.config.load import load_config
from src.tracking import names
from src.tracking.journal import Journal, Session
from src.tracking.store import explain, open_store, store_uri
from src.utils.command import command
from src.utils.logs import setup_logging

logger = logging.getLogger(__name__)


def record_parent(server: str, action: str, session: Session) -> Session:
    """Open or complete a parent run, in a warm fork if there is one.

    Args:
        server: Folder of the warm server, or `0`.
        action: `open`; `complete` if DVC finished all that it was asked for; `check` to ask it what is stale.
        session: The session, as the journal has it.

    Returns:
        The session as the journal has it now. A store that fails costs a warning only.
    """
    arguments = [action, session.id]
    status = None
    if server != names.COLD:
        from src.warm.client import run_warm

        status = run_warm(server, "src.utils.parent", arguments)
    if status is None or os.WIFSIGNALED(status):
        subprocess.run([sys.executable, "-m", "src.utils.parent", *arguments], check=False)
    return Journal(Path.cwd()).read_session(session.id) or session


@command
def main(arguments: list[str]) -> None:
    """Open or complete the parent run of a session."""
    action, session_id = arguments
    config = load_config(Path("params.yaml"))
    setup_logging(config.base.log_level)
    journal, experiment_name = Journal(Path.cwd()), config.tracking.experiment_name
    session = journal.read_session(session_id)
    try:
        if session is None:
            raise FileNotFoundError(journal.path / session_id)
        if action == "open":
            from src.tracking.runs import ensure_parent

            ensure_parent(open_store(journal.root, experiment_name), journal, session)
        else:
            _complete(journal, session, experiment_name, check=action == "check")
    # A record is never worth a training. MLflow raises errors of SQLAlchemy, requests and
    # alembic, which share no base class.
    except Exception as error:
        logger.warning("%s", explain(error, store_uri(journal.root)))
        logger.debug("tracking failed", exc_info=True)


def _complete(journal: Journal, session: Session, experiment_name: str, *, check: bool) -> None:
    from src.tracking.dvc_repo import open_repo
    from src.tracking.outcomes import end_session
    from src.tracking.sync import complete

    # First the journal: a store that fails must not keep the outcomes from the summary.
    end_session(journal, session, is_newest=True, status=session.status, check=check)
    store = open_store(journal.root, experiment_name)
    with open_repo(journal.root) as repo:
        complete(journal, store, repo, session)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
