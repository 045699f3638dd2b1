"""Bring MLflow up to date: `python -m src.utils.sync_runs [--only-unfinished]`."""

import argparse
import logging
import sys
import time
from contextlib import suppress
from pathlib import Path

from src.config.load import load_config
from src.errors import TrackingError
from src.tracking.sync import sync
from src.utils.command import command
from src.utils.logs import setup_logging

logger = logging.getLogger(__name__)

RETRIES = 2


@command
def main(arguments: list[str] | None = None) -> None:
    """Bring MLflow up to date with the journal, git and DVC."""
    parser = argparse.ArgumentParser(prog="sync_runs", description=__doc__)
    parser.add_argument("--only-unfinished", action="store_true", help="leave out sessions that were completed earlier")
    options = parser.parse_args(arguments)
    config = load_config(Path("params.yaml"))
    setup_logging(config.base.log_level)
    if not config.tracking.enabled:
        logger.info("tracking.enabled is false in params.yaml; nothing is recorded")
        return
    name = config.tracking.experiment_name
    n_completed, n_ended = _sync(name, only_unfinished=options.only_unfinished)
    logger.info("MLflow is up to date: completed %d of %d sessions", n_completed, n_ended)


def _sync(name: str, *, only_unfinished: bool) -> tuple[int, int]:
    """Run `sync`, and repeat it if no user is there to do so."""
    for _ in range(RETRIES if only_unfinished else 0):
        # For example, another DVC process has locked the repository, or another run the store.
        with suppress(TrackingError):
            return sync(Path.cwd(), name, only_unfinished=True)
        time.sleep(1)
    return sync(Path.cwd(), name, only_unfinished=only_unfinished)


if __name__ == "__main__":
    sys.exit(main())
