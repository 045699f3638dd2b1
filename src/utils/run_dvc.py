"""Run DVC as a child process, and stop it with all processes that it started."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

import psutil

# A stage records that it was stopped, which takes long if a tracking server is down.
STOP_SECONDS = 15.0
# After Ctrl-C the terminal has signaled the stage, too. A second signal could interrupt its record.
CTRL_C_SECONDS = 1.0
SERVER = "src.warm.server"
SHELLS = {"sh", "dash", "bash", "zsh", "ksh", "fish"}


@dataclass(frozen=True)
class ChildResult:
    """How DVC ended.

    Attributes:
        exit_code: Exit code of DVC, or 128 + signal.
        signal: The signal that interrupted this process, or None.
    """

    exit_code: int
    signal: int | None = None


class _Interrupted(BaseException):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Dvc:
    """A process of `src.utils.dvc_main`, which imports DVC and then waits to be run."""

    def __init__(self, process: "subprocess.Popen[bytes]", connection: socket.socket) -> None:
        self._process, self._connection = process, connection

    def run(self, variables: Mapping[str, str], stage_variables: Callable[[], Mapping[str, str]]) -> ChildResult:
        """Run DVC and wait.

        SIGTERM and Ctrl-C stop the running stage, so that it can record how it ended, and then DVC.
        DVC alone would exit and leave the stage running.

        Args:
            variables: Environment variables to add.
            stage_variables: Called before the first stage begins; returns more variables.
        """
        numbers = (signal.SIGINT, signal.SIGTERM)

        def interrupt(number: int, _: FrameType | None) -> None:
            # A second signal must not arrive before the first is handled.
            for each in numbers:
                signal.signal(each, signal.SIG_IGN)
            raise _Interrupted(number)

        previous = {number: signal.signal(number, interrupt) for number in numbers}
        try:
            # DVC may have ended already.
            with suppress(BrokenPipeError, ConnectionResetError):
                self._send(variables)
                if self._connection.recv(1):
                    self._send(stage_variables())
            code = self._process.wait()
            # A shell, too, reports 128 + signal.
            return ChildResult(code if code >= 0 else 128 - code)
        except _Interrupted as interrupted:
            _stop(self._process, interrupted.number)
            return ChildResult(128 + interrupted.number, interrupted.number)
        finally:
            for number in numbers:
                signal.signal(number, previous[number])

    def _send(self, variables: Mapping[str, str]) -> None:
        self._connection.sendall(json.dumps(dict(variables)).encode() + b"\n")


@contextmanager
def start_dvc(arguments: Sequence[str], environ: Mapping[str, str]) -> Iterator[Dvc]:
    """Start DVC as a child process, and end it if it was never run."""
    connection, other = socket.socketpair()
    with connection:
        with other:
            command = [sys.executable, "-m", "src.utils.dvc_main", str(other.fileno()), *arguments]
            process = subprocess.Popen(command, env=dict(environ), pass_fds=[other.fileno()])
        try:
            yield Dvc(process, connection)
        finally:
            connection.close()
            process.wait()


def _stop(process: "subprocess.Popen[bytes]", number: int) -> None:
    if number == signal.SIGINT and _ends(process, CTRL_C_SECONDS):
        return
    try:
        dvc = psutil.Process(process.pid)
        # While it is suspended, it cannot start another stage.
        dvc.suspend()
        family = _suspend_family(dvc)
        for stage in _stages(dvc):
            with suppress(psutil.NoSuchProcess):
                stage.terminate()
        if not dvc.children():
            dvc.terminate()
        for member in (dvc, *family):
            with suppress(psutil.NoSuchProcess):
                member.resume()
    except psutil.NoSuchProcess:
        return
    if not _ends(process, STOP_SECONDS):
        # With --keep-going, DVC continues with another stage.
        with suppress(psutil.NoSuchProcess):
            dvc.suspend()
        family += [member for member in _family(dvc) if member not in family]
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=1)
    # All are suspended first: a shell whose child is killed starts the next command.
    for end in (psutil.Process.suspend, psutil.Process.kill):
        for left in alive:
            with suppress(psutil.NoSuchProcess):
                end(left)
    psutil.wait_procs(alive, timeout=5)


def _suspend_family(dvc: psutil.Process) -> list[psutil.Process]:
    """Suspend all processes that run for DVC: one that starts after they are listed would be left behind."""
    family: list[psutil.Process] = []
    while new := [member for member in _family(dvc) if member not in family]:
        for member in new:
            with suppress(psutil.NoSuchProcess):
                member.suspend()
        family += new
    return family


def _family(dvc: psutil.Process) -> list[psutil.Process]:
    """List the descendants of DVC and of the warm server, which is another child of this process."""
    servers = [child for child in psutil.Process().children() if SERVER in _command(child)]
    return [member for root in (dvc, *servers) for member in root.children(recursive=True)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _stages(dvc: psutil.Process) -> list[psutil.Process]:
    """List the processes of stages: children of DVC, and of the shells that it started."""
    children = dvc.children()
    return children + [child for shell in children if shell.name() in SHELLS for child in shell.children()]


def _ends(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
