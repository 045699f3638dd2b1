import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import psutil
import pytest

from src.warm.launch import warm_server
from tests.pipeline.clone import wait_for

ROOT = Path(__file__).parents[2]
# Runs what it is told: the tests say what a stage does, and compare a warm and a cold one.
PROBE = "import sys\n\nexec(sys.argv[1])\n"


@pytest.fixture(autouse=True, scope="session")
def _linux_only() -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux has warm stages")


@dataclass
class Workshop:
    """A copy of the code with one more stage, and a warm server that belongs to this process.

    Attributes:
        path: Root of the copy.
        server: Folder of the server.
        environ: Environment of the server and of the stages.
    """

    path: Path
    server: str
    environ: dict[str, str]

    def start(
        self, code: str, *arguments: str, server: str | None = None, **options: object
    ) -> "subprocess.Popen[str]":
        """Start the stage that runs `code`; with `server="0"` as a process of its own."""
        options = {"cwd": self.path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        environ = self.environ | {"PIPELINE_WARM": self.server if server is None else server}
        environ |= options.pop("extra", {})  # type: ignore[arg-type] - a dict
        command = [sys.executable, "-m", "src.stages.probe", code, *arguments]
        return subprocess.Popen(command, env=environ, **options)  # type: ignore[call-overload] - as given

    def run(self, code: str, *arguments: str, **options: object) -> tuple[int, str, str]:
        """Run `code` and give its exit code, stdout and stderr."""
        with self.start(code, *arguments, **options) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def is_warm(self, **options: object) -> bool:
        """Tell whether a stage runs as a fork of the server."""
        code = "import os; from pathlib import Path; print(Path(f'/proc/{os.getppid()}/cmdline').read_text())"
        return "src.warm.server" in self.run(code, **options)[1]

    @property
    def process(self) -> psutil.Process:
        """Give the process of the server."""

        def find() -> list[psutil.Process]:
            return [child for child in psutil.Process().children() if self.server in child.cmdline()]

        # A process that has just begun has no command yet.
        wait_for(find)
        return find()[0]


def copy_code(path: Path) -> None:
    shutil.copytree(ROOT / "src", path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (path / "src" / "stages" / "probe.py").write_text(PROBE)
    # The server need not import MLflow.
    (path / "params.yaml").write_text("tracking: {enabled: false}\n")


@contextlib.contextmanager
def start_workshop(path: Path, **variables: str) -> Iterator[Workshop]:
    """Start a server in a copy of the code, in an environment that no test changes."""
    foreign = ("MLFLOW_", "DVC_", "PIPELINE_", "PYTEST_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | variables
    with contextlib.ExitStack() as stack:
        with mock.patch.dict(os.environ, environ, clear=True), contextlib.chdir(path):
            server = stack.enter_context(warm_server())
        yield Workshop(path, server, environ)


@pytest.fixture(scope="session")
def _session_workshop(tmp_path_factory: pytest.TempPathFactory, _deaf_to_nothing: None) -> Iterator[Workshop]:
    path = tmp_path_factory.mktemp("workshop")
    copy_code(path)
    with start_workshop(path) as workshop:
        assert workshop.is_warm()
        yield workshop


@pytest.fixture
def workshop(_session_workshop: Workshop) -> Workshop:
    """Give a server that several tests share."""
    return _session_workshop


@pytest.fixture
def own_workshop(tmp_path: Path) -> Iterator[Workshop]:
    """Give a server that the test may spoil."""
    copy_code(tmp_path)
    with start_workshop(tmp_path) as workshop:
        yield workshop
