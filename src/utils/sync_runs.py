"""Bring MLflow up to date: `python -m src.utils.sync_runs`."""

import logging
import sys
from pathlib import Path

from src.config.load import load_config
from src.tracking.sync import sync
from src.utils.command import command
from src.utils.logs import setup_logging

logger = logging.getLogger(__name__)


@command
def main() -> None:
    """Bring MLflow up to date with the journal, git and DVC."""
    config = load_config(Path("params.yaml"))
    setup_logging(config.base.log_level)
    if not config.tracking.enabled:
        logger.info("tracking.enabled is false in params.yaml; nothing is recorded")
        return
    n_completed, n_ended = sync(Path.cwd(), config.tracking.experiment_name)
    logger.info("MLflow is up to date: completed %d of %d sessions", n_completed, n_ended)


if __name__ == "__main__":
    sys.exit(main())
