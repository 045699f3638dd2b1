import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import psutil
import pytest

from src.warm.launch import warm_server
from tests.pipeline.clone import wait_for

ROOT = Path(__file__).parents[2]
# A stage that runs the code it is given, so that a test can compare a warm and a cold one.
PROBE = "import sys\n\nif __name__ == '__main__':\n    exec(sys.argv[1])\n"
SERVER = "src.warm.server"


@pytest.fixture(autouse=True, scope="session")
def _linux_only() -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux has warm stages")


@dataclass
class Workshop:
    """A small project whose stages run any code.

    Attributes:
        path: Its root.
        server: Folder of its warm server, a child of this process.
        environ: Environment of the stages.
    """

    path: Path
    server: str = "0"
    environ: dict[str, str] = field(default_factory=dict)

    def start(self, code: str, *arguments: str, stage: str = "probe", **options: object) -> "subprocess.Popen[str]":
        """Start a stage that runs `code`; with `server="0"` as a process of its own."""
        options = {"cwd": self.path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        environ = self.environ | {"PIPELINE_WARM": str(options.pop("server", self.server))}
        environ |= options.pop("extra", {})  # type: ignore[operator]  # a dict
        command = [sys.executable, "-m", f"src.stages.{stage}", code, *arguments]
        return subprocess.Popen(command, env=environ, **options)  # type: ignore[call-overload]  # as given

    def run(self, code: str, *arguments: str, **options: object) -> tuple[int, str, str]:
        """Run `code` and return its exit code, stdout and stderr, without the frames of runpy."""
        with self.start(code, *arguments, **options) as process:  # type: ignore[arg-type]  # as given
            out, err = process.communicate(timeout=60)
        lines = [line for line in err.splitlines(keepends=True) if '"<frozen runpy>"' not in line]
        return process.returncode, out, "".join(lines)

    def is_warm(self, **options: object) -> bool:
        """Return whether a stage runs as a fork of the server."""
        code = "import os; print(open(f'/proc/{os.getppid()}/cmdline').read())"
        return SERVER in self.run(code, **options)[1]

    @property
    def process(self) -> psutil.Process:
        """The process of the server."""

        def find() -> list[psutil.Process]:
            return [child for child in psutil.Process().children() if self.server in " ".join(child.cmdline())]

        # A process that has just started has no command line yet.
        wait_for(find)
        return find()[0]


def create_project(path: Path, **stages: str) -> None:
    """Create a project with the real `src/warm` and `src/stages/__init__.py`, and with these stages."""
    for package in ("stages", "utils"):
        (path / "src" / package).mkdir(parents=True)
    shutil.copytree(ROOT / "src/warm", path / "src/warm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "src/stages/__init__.py", path / "src/stages")
    (path / "src/stages/probe.py").write_text(PROBE)
    for name, code in stages.items():
        (path / f"src/stages/{name}.py").write_text(code)


def clean_environ(**variables: str) -> dict[str, str]:
    foreign = ("MLFLOW_", "DVC_", "PIPELINE_", "PYTEST_", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | variables


@contextlib.contextmanager
def start_workshop(path: Path, *preload: str, **variables: str) -> Iterator[Workshop]:
    """Start a server in a project, in an environment that no test changes."""
    environ = clean_environ(**variables)
    with contextlib.ExitStack() as stack:
        with mock.patch.dict(os.environ, environ, clear=True), contextlib.chdir(path):
            server = stack.enter_context(warm_server(preload))
        yield Workshop(path, server, environ)


@pytest.fixture(scope="session")
def _session_workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    path = tmp_path_factory.mktemp("workshop")
    create_project(path, numerical="import numpy\n")
    with start_workshop(path) as workshop:
        # The server has imported all there is.
        wait_for(lambda: workshop.run("import sys; print('numpy' in sys.modules)")[1] == "True\n")
        yield workshop


@pytest.fixture
def workshop(_session_workshop: Workshop) -> Workshop:
    """A project whose server several tests share."""
    return _session_workshop


@pytest.fixture
def own_workshop(tmp_path: Path) -> Iterator[Workshop]:
    """A project whose server the test may break."""
    create_project(tmp_path / "project")
    with start_workshop(tmp_path / "project") as workshop:
        yield workshop


@contextlib.contextmanager
def opened(fifo: Path) -> Iterator[None]:
    """Wait until another process waits to read from a named pipe, and let it go on at the end."""
    ends: list[int] = []

    def is_open() -> bool:
        # There is no reader yet.
        with contextlib.suppress(OSError):
            ends.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        return bool(ends)

    wait_for(is_open, 20)
    try:
        yield
    finally:
        os.close(ends[0])


def fork_of(process: "subprocess.Popen[str]") -> psutil.Process:
    """Read which process a stage is that prints its pid."""
    assert process.stdout is not None
    return psutil.Process(int(process.stdout.readline()))


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
