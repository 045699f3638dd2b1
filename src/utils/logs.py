"""Set up logging to stderr."""

import logging
import sys


def setup_logging(level: str) -> None:
    """Send log records of this project at `level` or above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    # A module that `python -m` runs logs as __main__.
    for name in ("src", "__main__"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)


class _Formatter(logging.Formatter):
    """Prefix the level, except for INFO."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno == logging.INFO else f"{record.levelname}: {text}"
