"""The command line of a stage: settings in, exit code out."""

import argparse
import logging
import sys
import time
from pathlib import Path

from src.config.load import load_config
from src.tracking.lineage import read_stages
from src.utils.command import command
from src.utils.logs import setup_logging
from src.utils.mlflow_run_decorator import StageFunction, Terminated

logger = logging.getLogger(__name__)

EXIT_TERMINATED = 143


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
        names = list(read_stages(Path()))
        number = names.index(stage.__name__) + 1 if stage.__name__ in names else "-"
        place = f"[{number}/{len(names)}] {stage.__name__}"
        logger.info("%s", place)
        started = time.perf_counter()
        stage(config)
        logger.info("%s: done in %.1f s", place, time.perf_counter() - started)
    except Terminated:
        return EXIT_TERMINATED
    return 0
