"""The command lines: settings in, exit code out, errors in one line."""

import argparse
import functools
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from src.config.load import load_config
from src.errors import PipelineError
from src.utils.logs import setup_logging
from src.utils.mlflow_run_decorator import StageFunction, Terminated

logger = logging.getLogger(__name__)

EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 2, 130, 143

P = ParamSpec("P")


def command(main: Callable[P, int | None]) -> Callable[P, int]:
    """Give a function the exit codes of a command: 2 with one line for what a user can fix, 130 after Ctrl-C.

    Any other exception is a bug and keeps its traceback.

    Args:
        main: Returns its exit code, None for 0.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        setup_logging("INFO")
        try:
            return main(*args, **kwargs) or 0
        except (PipelineError, OSError) as error:
            # An OSError is the machine's: a full disk, a file without permission.
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            return EXIT_USER_ERROR
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED

    return run


def run_stage(stage: StageFunction) -> None:
    """Run a stage as a command and exit.

    Exit codes: 0, 2 for a PipelineError (one line on stderr), 130 after Ctrl-C, 143
    after SIGTERM. Any other exception is a bug and keeps its traceback.

    Args:
        stage: The decorated function of the stage.
    """
    parser = argparse.ArgumentParser(prog=f"python -m src.stages.{stage.__name__}", description=stage.__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the settings, usually params.yaml")
    sys.exit(_run(stage, parser.parse_args().config))


@command
def _run(stage: StageFunction, config_path: Path) -> int:
    try:
        config = load_config(config_path)
        setup_logging(config.base.log_level)
        started = time.perf_counter()
        stage(config)
        logger.info("%s: done in %.1f s", stage.__name__, time.perf_counter() - started)
    except Terminated:
        return EXIT_TERMINATED
    return 0
