import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tracking.conftest import repository, root, store, templates  # noqa: F401 - fixtures of both folders

FakeDvc = Callable[[str], None]
REAL_PYTHON = sys.executable


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Take back what the commands set up, so that other tests can catch log lines."""
    loggers = [logging.getLogger(name) for name in ("src", "__main__")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


# As src.utils.dvc_main does: wait for the word, and go on as DVC.
WAIT = """
import json, os, sys
script, number, *arguments = sys.argv[1:]
with open(int(number)) as pipe:
    word = pipe.read()
if word:
    os.execve("/bin/sh", ["sh", script, "-m", "dvc", *arguments], os.environ | json.loads(word))
"""


@pytest.fixture
def fake_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDvc:
    """Run a shell script where `python -m dvc` would run; its arguments begin with `-m dvc`."""

    def install(script: str) -> None:
        path, wait = tmp_path / "fake-python", tmp_path / "wait.py"
        wait.write_text(WAIT)
        waiting = f'exec {REAL_PYTHON} "{wait}" "$0" "$@"'
        path.write_text(f'#!/bin/sh\nif [ "$2" = src.utils.dvc_main ]; then shift 2; {waiting}; fi\n{script}\n')
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        # Else it would also run where the warm server would.
        monkeypatch.setenv("PIPELINE_WARM", "0")

    return install


@pytest.fixture(scope="session")
def params() -> str:
    """Give settings of the tests' own."""
    return (Path(__file__).parent / "params.yaml").read_text(encoding="utf-8")
