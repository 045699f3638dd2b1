"""One run of the pipeline under one parent run."""

import logging
import sys
from pathlib import Path

from src.config.data_load import FileSource, UrlSource
from src.config.schema import Config
from src.errors import DataError, TrackingError
from src.tracking import names
from src.tracking.journal import Journal, now
from src.tracking.names import Status
from src.tracking.process import own_key
from src.tracking.runs import create_run
from src.tracking.session import Place, begin_session
from src.tracking.settle import settle
from src.tracking.store import explain, open_store, store_uri
from src.utils.child import RunDvc
from src.utils.parent import record_parent
from src.utils.summary import summarize

logger = logging.getLogger(__name__)

# Arguments of `dvc repro` that leave no stage out.
WHOLE = {"-f", "--force", "-q", "--quiet", "-v", "--verbose"}


def run_pipeline(config: Config, run_dvc: RunDvc, server: str, name: str | None, dvc_arguments: list[str]) -> int:
    """Open the parent, run `dvc repro`, complete the parent, print the summary; with tracking off only run it.

    Args:
        config: The settings.
        run_dvc: What runs `dvc repro`, which waits already.
        server: Folder of the warm server, or `0`.
        name: Name of the parent run.
        dvc_arguments: What `dvc repro` was given.

    Returns:
        The exit code of DVC, or 128 + signal after an interruption.
    """
    if not config.tracking.enabled:
        code = run_dvc({names.PIPELINE_WARM: server}).exit_code
        _explain_failure(config, code)
        return code
    place = Place(Path.cwd(), Path.cwd())
    journal = Journal(place.main_root)
    session = begin_session(place, f"launch-{own_key().digest}-{now()}", own_key(), name=name, closed_by_owner=True)
    journal.write_session(session)
    session = record_parent(server, "open", session, config.tracking.experiment_name)
    variables = {names.PIPELINE_SESSION: session.id, names.PIPELINE_WARM: server}
    result = run_dvc(variables | ({names.MLFLOW_RUN_ID: session.run_id} if session.run_id else {}))
    _explain_failure(config, result.exit_code)
    session = journal.read_session(session.id) or session
    status: Status = "KILLED" if result.signal else "FAILED" if result.exit_code else "FINISHED"
    # DVC knows at once that all is well, unless it failed or was asked for a part.
    check = bool(result.exit_code or set(dvc_arguments) - WHOLE)
    try:
        settle(journal, session, is_newest=True, status=status, check=check)
        session = record_parent(server, "close", session, config.tracking.experiment_name)
    # Whatever goes wrong with the record, DVC's exit code stands.
    except Exception as error:
        logger.warning("%s", explain(error, store_uri(place.main_root)))
        logger.debug("tracking failed", exc_info=True)
    sys.stdout.write(summarize(config, session, journal.visits(session.id)))
    return result.exit_code


def _explain_failure(config: Config, exit_code: int) -> None:
    """Say what to do about a table that is missing, which DVC looks for before any stage begins."""
    source = config.data_load.source
    if exit_code and isinstance(source, FileSource | UrlSource):
        # It imports pandas, and only a failed run needs it.
        from src.data_load.sources import check_exists

        try:
            check_exists(source, config.data_load.external_path)
        except DataError as error:
            logger.error("%s", error)


def open_parent(config: Config, name: str | None) -> str:
    """Open a parent run for `MLFLOW_RUN_ID`; the stages close it.

    Raises:
        TrackingError: The store cannot be used.
    """
    if not config.tracking.enabled:
        raise TrackingError("tracking.enabled is false in params.yaml; no parent run can be opened.")
    place = Place(Path.cwd(), Path.cwd())
    journal = Journal(place.main_root)
    store = open_store(place.main_root, config.tracking.experiment_name)
    session = begin_session(place, "open", own_key(), name=name, closed_by_owner=False)
    run_id = create_run(store, session, session.name, session.start_time, {names.KIND: "parent"})
    session.id, session.run_id = f"run-{run_id}", run_id
    journal.write_session(session)
    return run_id
