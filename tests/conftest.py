import os
import signal
from collections.abc import Iterator

import pytest

FOREIGN = ("MLFLOW_", "DVC_", "PIPELINE_", "GIT_", "MAKE", "MFLAGS")


@pytest.fixture(autouse=True, scope="session")
def _deaf_to_nothing() -> None:
    """Hear Ctrl-C as in a terminal: what a shell starts in the background ignores it, and so would its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the developer's own store, session and repository out of every test."""
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    yield
    # What src sets by itself, as patience with a server, must not reach the next test.
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            del os.environ[name]
