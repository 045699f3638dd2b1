"""Set up logging to stderr."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from src.text import one_line

# Names of columns may be of any length.
MAX_LENGTH = 2000
# A module that `python -m` runs logs as __main__.
OWN = ("src", "__main__")


def setup_logging(level: str) -> None:
    """Send log records of this project at `level` or above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    for name in OWN:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Collect the warnings and errors that this project logs, each once."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if (text := record.getMessage()) not in found:
                found.append(text)

    handler = Collector(logging.WARNING)
    for name in OWN:
        logging.getLogger(name).addHandler(handler)
    try:
        yield found
    finally:
        for name in OWN:
            logging.getLogger(name).removeHandler(handler)


class _Formatter(logging.Formatter):
    """Prefix the level, except for INFO, and escape what a terminal would not show as text."""

    def format(self, record: logging.LogRecord) -> str:
        # A traceback keeps its lines.
        text = "\n".join(one_line(line, MAX_LENGTH) for line in super().format(record).split("\n"))
        return text if record.levelno == logging.INFO else f"{record.levelname}: {text}"
