"""The launcher: open a parent run, run `dvc repro`, and print a summary.

`python -m src.utils.start_pipeline [--name NAME] [arguments of dvc repro]`, or
`MLFLOW_RUN_ID=$(python -m src.utils.start_pipeline --open) dvc repro`.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from src.config.load import load_config
from src.config.schema import Config
from src.errors import ConfigError, DataError, TrackingError
from src.tracking import names
from src.tracking.journal import Journal, now
from src.tracking.process import own_key
from src.tracking.repair import keep_lock, repair
from src.tracking.runs import ensure_parent
from src.tracking.session import Place, begin_session
from src.tracking.store import QUIET, open_store
from src.utils.command import command
from src.utils.dvc_main import OUTCOMES_PATH
from src.utils.exclusive import exclusive
from src.utils.logs import collect_warnings, setup_logging
from src.utils.outputs import check_outputs
from src.utils.parent import record_parent
from src.utils.run_dvc import Dvc, start_dvc
from src.utils.summary import summarize

logger = logging.getLogger(__name__)

PARAMS = Path("params.yaml")
# With these arguments the summary shows everything.
VERBOSE = {"-v", "--verbose"}
# With only these arguments, `dvc repro` brings all stages up to date.
WHOLE = {"-f", "--force", "-q", "--quiet", *VERBOSE}
# Variables of an outer run, or of a stage of another repository.
OUTER = (names.MLFLOW_RUN_ID, names.DVC_ROOT, names.DVC_STAGE, names.DVC_EXP_NAME, names.DVC_EXP_BASELINE_REV)
# Modules that complete the parent run. The warm server imports them while the stages run.
PRELOAD = ("src.utils.parent", "src.tracking.sync", "dvc.repo")


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the pipeline, or only open a parent run."""
    parser = argparse.ArgumentParser(prog="start_pipeline", description=__doc__, allow_abbrev=False)
    parser.add_argument("--name", help="name of the parent run; by default the time")
    parser.add_argument("--open", action="store_true", help="only open a parent run and print its id")
    options, dvc_arguments = parser.parse_known_args(arguments)
    os.environ |= {**QUIET, "DVC_NO_ANALYTICS": "true"}
    if options.open:
        config = load_config(PARAMS)
        setup_logging(config.base.log_level)
        sys.stdout.write(f"{open_by_hand(config, options.name)}\n")
        return 0
    if options.name and not options.name.isprintable():
        raise ConfigError(f"the name of a run must be printable text in UTF-8, not {options.name!a}.")
    for name in OUTER:
        os.environ.pop(name, None)
    environ = dict(os.environ)
    with warm_server() as server, start_dvc(["repro", *dvc_arguments], environ) as dvc:
        # Both import modules meanwhile.
        config = load_config(PARAMS)
        setup_logging(config.base.log_level)
        with exclusive(Path.cwd(), "pipeline"), collect_warnings() as warnings:
            repair(Path.cwd())
            check_outputs(config)
            return run_pipeline(config, dvc, server, options.name, dvc_arguments, warnings)


def warm_server() -> AbstractContextManager[str]:
    """Start the warm server. Users may delete src/warm, and then stages run without it."""
    try:
        from src.warm import launch
    except ModuleNotFoundError:
        return nullcontext(names.COLD)
    return launch.warm_server(PRELOAD)


def run_pipeline(
    config: Config, dvc: Dvc, server: str, name: str | None, dvc_arguments: Sequence[str], warnings: Sequence[str]
) -> int:
    """Open the parent run, run `dvc repro`, complete the parent run, and print the summary.

    Args:
        config: The settings. If tracking is disabled, only DVC is run.
        dvc: `dvc repro`, waiting to be run.
        server: Folder of the warm server, or `0`.
        name: Name of the parent run.
        warnings: Warnings logged so far, which the summary repeats.

    Returns:
        The exit code of DVC, or 128 + signal after an interruption.
    """
    variables = {names.PIPELINE_WARM: server}
    if not config.tracking.enabled:
        code = dvc.run(variables, dict).exit_code
        _explain_failure(config, code)
        _keep_or_repair(code)
        return code
    place = Place(Path.cwd(), Path.cwd())
    journal = Journal(place.main_root)
    session = begin_session(place, f"launch-{own_key().digest}-{now()}", own_key(), name=name, launched=True)
    journal.write_session(session)
    variables |= {
        names.PIPELINE_SESSION: session.id,
        OUTCOMES_PATH: str(journal.dvc_outcomes_path(session.id)),
    }

    def open_parent() -> dict[str, str]:
        run_id = record_parent(server, "open", session).run_id
        return {names.MLFLOW_RUN_ID: run_id} if run_id else {}

    result = dvc.run(variables, open_parent)
    _explain_failure(config, result.exit_code)
    _keep_or_repair(result.exit_code)
    session = journal.read_session(session.id) or session
    session.status = "KILLED" if result.signal else "FAILED" if result.exit_code else "FINISHED"
    session.end_time = now()
    journal.write_session(session)
    is_whole = result.exit_code == 0 and set(dvc_arguments) <= WHOLE
    session = record_parent(server, "complete" if is_whole else "check", session)
    is_long = bool(VERBOSE & set(dvc_arguments))
    sys.stdout.write(summarize(config, session, journal.executions(session.id), warnings, is_long=is_long))
    return result.exit_code


def _keep_or_repair(exit_code: int) -> None:
    """Keep the `dvc.lock` of a DVC that succeeded; restore it if DVC was killed while it wrote it."""
    if exit_code == 0:
        keep_lock(Path.cwd())
    else:
        repair(Path.cwd())


def _explain_failure(config: Config, exit_code: int) -> None:
    """Explain what to do about a missing table, which DVC reports before any stage begins."""
    source = config.data_load.source
    if exit_code and source.kind in ("file", "url"):
        from src.data_load.sources import check_exists

        try:
            check_exists(source, config.data_load.external_path)
        except DataError as error:
            logger.error("%s", error)


def open_by_hand(config: Config, name: str | None) -> str:
    """Open a parent run for `MLFLOW_RUN_ID`, and return its id.

    Raises:
        TrackingError: The store cannot be used.
    """
    if not config.tracking.enabled:
        raise TrackingError("tracking.enabled is false in params.yaml; no parent run can be opened.")
    place = Place(Path.cwd(), Path.cwd())
    journal = Journal(place.main_root)
    store = open_store(place.main_root, config.tracking.experiment_name)
    session = begin_session(place, f"open-{own_key().digest}-{now()}", own_key(), name=name, launched=False)
    session = ensure_parent(store, journal, session)
    assert session.run_id is not None, "the parent run is open"  # noqa: S101 - opened above
    # Stages find the session by the id of its run.
    journal.rename(session, f"run-{session.run_id}")
    return session.run_id


if __name__ == "__main__":
    sys.exit(main())
