import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tracking.conftest import (  # noqa: F401 - fixtures of both folders
    empty_database,
    experiment,
    repository,
    repository_template,
    root,
    shared_database,
    store,
)
from tests.tracking.support import commit, init_repository

FakeDvc = Callable[[str], None]
REAL_PYTHON = sys.executable
ROOT = Path(__file__).parents[2]

DVC_YAML = """\
stages:
  data_load: {cmd: sh data_load.sh, deps: [data_load.sh, own.csv], outs: [raw.csv]}
  train:
    cmd: sh train.sh
    deps: [raw.csv, train.sh]
    params: [train.cv]
    outs: [model.txt]
    metrics:
    - metrics.json: {cache: false}
"""
SCRIPTS = {
    "data_load.sh": "cp own.csv raw.csv",
    "train.sh": "cp raw.csv model.txt; echo '{\"f1\": 0.5}' > metrics.json",
}

# As src.utils.dvc_main does: wait for the launcher, ask it for the variables of the stages, and run.
FAKE = """
import json, os, socket, sys
script, number, *arguments = sys.argv[1:]
with socket.socket(fileno=int(number)).makefile("rw") as launcher:
    first = launcher.readline()
    if not first:
        sys.exit(1)
    launcher.write("?")
    launcher.flush()
    answer = launcher.readline()
    if not answer:
        sys.exit(1)
    variables = json.loads(first) | json.loads(answer)
os.execve("/bin/sh", ["sh", script, *arguments], os.environ | variables)
"""


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Undo what the commands set up, so that other tests can catch log lines."""
    loggers = [logging.getLogger(name) for name in ("src", "__main__")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture
def params(experiment: str) -> str:  # noqa: F811 - a fixture
    """Return settings of a pipeline, with the experiment of the test."""
    text = (Path(__file__).parent / "params.yaml").read_text(encoding="utf-8")
    return text.replace("experiment_name: pipeline", f"experiment_name: {experiment}")


@pytest.fixture
def workspace(tmp_path: Path, params: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a repository with two stages in shell, which has not run yet."""
    path = tmp_path / "workspace"
    init_repository(path)
    (path / "src").symlink_to(ROOT / "src")
    files = {"params.yaml": params, "dvc.yaml": DVC_YAML, "own.csv": "a\n", **SCRIPTS}
    for name, text in {**files, ".gitignore": "/raw.csv\n/model.txt\n/src\n/mlruns\n"}.items():
        (path / name).write_text(text)
    commit(path)
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def fake_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDvc:
    """Run a shell script, with the arguments of DVC, where the launcher would run DVC."""
    monkeypatch.setenv("PIPELINE_WARM", "0")

    def install(script: str) -> None:
        python, wait, run = tmp_path / "fake-python", tmp_path / "wait.py", tmp_path / "fake-dvc"
        wait.write_text(FAKE)
        run.write_text(script)
        python.write_text(
            f'#!/bin/sh\nif [ "$2" != src.utils.dvc_main ]; then exec {REAL_PYTHON} "$@"; fi\n'
            f'shift 2\nexec {REAL_PYTHON} -S "{wait}" "{run}" "$@"\n'
        )
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))

    return install
