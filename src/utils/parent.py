"""Open and complete the parent run of the launcher's session.

python -m src.utils.parent open|complete|check SESSION

This is a separate process, so that a warm fork can do it, which has imported MLflow and DVC, and so
that interrupting the launcher cannot leave them half imported.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from src.config.load import load_config
from src.config.schema import Config
from src.text import message_of
from src.tracking import names
from src.tracking.dvc_repo import DvcRepo, open_repo
from src.tracking.journal import Execution, Journal, Review, Session
from src.tracking.outcomes import end_session
from src.tracking.runs import ensure_parent
from src.tracking.store import explain, log_traceback, open_store, store_uri
from src.tracking.sync import complete
from src.utils.command import command
from src.utils.logs import collect_warnings, setup_logging

logger = logging.getLogger(__name__)


def record_parent(server: str, action: str, session: Session) -> Session:
    """Open or complete a parent run, in a warm fork if possible, and return the session from the journal.

    If the store fails, a warning is logged.

    Args:
        server: Folder of the warm server, or `0`.
        action: `open`, `complete` if all stages are up to date, or `check` to ask DVC which are stale.
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
    journal = Journal(Path.cwd())
    with collect_warnings() as warnings:
        try:
            session = journal.read_session(session_id)
            if session is None:
                raise FileNotFoundError(journal.path / session_id)
            if action == "open":
                ensure_parent(open_store(journal.root, config.tracking.experiment_name), journal, session)
            else:
                _complete(config, journal, session, check=action == "check")
        # An error of the store must not fail the pipeline. MLflow raises errors of SQLAlchemy, requests
        # and alembic, which share no base class.
        except Exception as error:
            logger.warning("%s", explain(error, store_uri(journal.root)))
            log_traceback(error, store_uri(journal.root))
    session = journal.read_session(session_id)
    if session and session.review:
        session.review.warnings = list(dict.fromkeys([*session.review.warnings, *warnings]))
        journal.write_session(session)


def _complete(config: Config, journal: Journal, session: Session, *, check: bool) -> None:
    # The summary needs the outcomes and the review, even if the store fails.
    end_session(journal, session, is_newest=True, status=session.status, check=check)
    with open_repo(journal.root) as repo:
        if repo:
            session.review = _review(config, session, journal.executions(session.id), repo)
            journal.write_session(session)
        complete(journal, open_store(journal.root, config.tracking.experiment_name), repo, session)


def _review(config: Config, session: Session, executions: Sequence[Execution], repo: DvcRepo) -> Review:
    # The launcher, which imports this module, needs no pandas.
    from src.utils.review import review_results

    try:
        return review_results(config, session, executions, repo)
    # The user's own stages may write anything, which must not stop the record.
    except Exception as error:
        logger.warning("the summary is incomplete: %s: %s", type(error).__name__, message_of(error))
        logger.debug("the review failed", exc_info=True)
        return Review()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
