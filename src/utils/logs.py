"""Set up logging to stderr."""

import logging
import sys

from src.text import one_line

# Names of columns may be of any length.
MAX_LENGTH = 2000


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
    """Prefix the level, except for INFO, and escape what a terminal would not show as text."""

    def format(self, record: logging.LogRecord) -> str:
        # A traceback keeps its lines.
        text = "\n".join(one_line(line, MAX_LENGTH) for line in super().format(record).split("\n"))
        return text if record.levelno == logging.INFO else f"{record.levelname}: {text}"
