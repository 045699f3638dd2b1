"""Bring MLflow up to date: `python -m src.utils.sync_runs [--config params.yaml]`."""

import argparse
import logging
import sys
from pathlib import Path

from src.config.load import load_config
from src.tracking.sync import sync
from src.utils.command import command
from src.utils.logs import setup_logging

logger = logging.getLogger(__name__)


@command
def main(arguments: list[str] | None = None) -> int:
    """Complete in MLflow what the journal, git and DVC know; returns 0, or 2 if the store fails."""
    parser = argparse.ArgumentParser(prog="sync_runs", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("params.yaml"), help="the settings")
    options = parser.parse_args(arguments)
    config = load_config(options.config)
    setup_logging(config.base.log_level)
    if not config.tracking.enabled:
        logger.info("tracking.enabled is false in params.yaml: nothing is recorded")
        return 0
    n_completed, n_ended = sync(Path.cwd(), config.tracking.experiment_name)
    logger.info("MLflow is up to date: completed %d of %d sessions", n_completed, n_ended)
    return 0


if __name__ == "__main__":
    sys.exit(main())
