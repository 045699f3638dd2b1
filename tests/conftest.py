import logging
import os
import signal
from collections.abc import Iterator

import pytest

from src.utils.logs import OWN

# Two test processes have two threads each on two cores. A thread of OpenMP that waits by spinning keeps the others from
# the cores: two small fits of histogram boosting at once took 13 s of CPU each, and take 0.3 s. Results are the same.
# OpenMP reads this when it is loaded, and child processes inherit it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

FOREIGN = ("MLFLOW_", "DVC_", "PIPELINE_", "GIT_", "MAKE", "MFLAGS")


@pytest.fixture(autouse=True, scope="session")
def _deaf_to_nothing() -> None:
    """Hear Ctrl-C as in a terminal: what a shell starts in the background ignores it, and so would its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """Undo what a command that runs in this process sets up: its handler writes to a stream that is closed later."""
    loggers = [logging.getLogger(name) for name in OWN]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the developer's own store, session and repository out of every test."""
    for name in list(os.environ):
        # `PIPELINE_WARM=0 make test` runs all stages cold.
        if name.startswith(FOREIGN) and (name, os.environ[name]) != ("PIPELINE_WARM", "0"):
            monkeypatch.delenv(name)
    yield
    # What src sets by itself, as patience with a server, must not reach the next test.
    for name in list(os.environ):
        if name.startswith(FOREIGN) and name != "PIPELINE_WARM":
            del os.environ[name]
