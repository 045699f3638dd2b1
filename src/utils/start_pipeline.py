"""The launcher: one parent run, `dvc repro` under it, and a summary at the end.

python -m src.utils.start_pipeline [--name NAME] [arguments of dvc repro]
MLFLOW_RUN_ID=$(python -m src.utils.start_pipeline --open) dvc repro
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from src.config.load import load_config
from src.config.schema import Config
from src.errors import TrackingError
from src.tracking import names
from src.tracking.journal import Journal, now
from src.tracking.names import Status
from src.tracking.process import own_key
from src.tracking.runs import create_run
from src.tracking.session import Place, begin_session
from src.tracking.settle import settle
from src.tracking.store import QUIET, explain, open_store, store_uri
from src.utils.child import prepared_dvc
from src.utils.command import command
from src.utils.logs import setup_logging
from src.utils.parent import record_parent
from src.utils.summary import summarize
from src.warm.launch import warm_server

logger = logging.getLogger(__name__)

# Arguments of `dvc repro` that leave no stage out.
WHOLE = {"-f", "--force", "-q", "--quiet", "-v", "--verbose"}


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the launcher; gives the exit code of DVC, or 128 + signal after an interruption."""
    parser = argparse.ArgumentParser(prog="start_pipeline", description=__doc__, allow_abbrev=False)
    parser.add_argument("--name", help="name of the parent run; by default its time")
    parser.add_argument("--open", action="store_true", help="only open the parent run and print its id")
    parser.add_argument("--config", type=Path, default=Path("params.yaml"), help="the settings")
    options, dvc_arguments = parser.parse_known_args(arguments)
    config = load_config(options.config)
    setup_logging(config.base.log_level)
    os.environ |= {**QUIET, "DVC_NO_ANALYTICS": "true"}
    if options.open:
        sys.stdout.write(f"{open_parent(config, options.name)}\n")
        return 0
    repro = ["repro", *dvc_arguments]
    if not config.tracking.enabled:
        with warm_server(with_tracking=False) as server, prepared_dvc(repro, os.environ) as run_dvc:
            return run_dvc({names.PIPELINE_WARM: server}).exit_code
    return run_pipeline(config, options.name, dvc_arguments)


def run_pipeline(config: Config, name: str | None, dvc_arguments: list[str]) -> int:
    """Open the parent, run `dvc repro`, complete the parent, print the summary.

    Args:
        config: The settings.
        name: Name of the parent run.
        dvc_arguments: Further arguments of `dvc repro`.

    Returns:
        The exit code of DVC, or 128 + signal after an interruption.
    """
    with warm_server(with_tracking=True) as server, prepared_dvc(["repro", *dvc_arguments], _without_run()) as run_dvc:
        place = Place(Path.cwd(), Path.cwd())
        journal = Journal(place.main_root)
        session = begin_session(place, f"launch-{own_key().digest}-{now()}", own_key(), name=name, closed_by_owner=True)
        journal.write_session(session)
        session = record_parent(server, "open", session, config.tracking.experiment_name)
        variables = {names.PIPELINE_SESSION: session.id, names.PIPELINE_WARM: server}
        result = run_dvc(variables | ({names.MLFLOW_RUN_ID: session.run_id} if session.run_id else {}))
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


def _without_run() -> dict[str, str]:
    """Give the environment without the run of somebody else."""
    return {name: value for name, value in os.environ.items() if name != names.MLFLOW_RUN_ID}


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


if __name__ == "__main__":
    sys.exit(main())
