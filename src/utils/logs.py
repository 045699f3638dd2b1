"""Logs: to stderr, one line an effect."""

import logging
import sys


def setup_logging(level: str) -> None:
    """Send the log lines of this project to stderr.

    Args:
        level: Name of the lowest level that is shown.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    # A module that is run by `python -m` logs under the name __main__.
    for name in ("src", "__main__"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)


class _Formatter(logging.Formatter):
    """Plain lines; only what needs attention is marked."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno == logging.INFO else f"{record.levelname}: {text}"
