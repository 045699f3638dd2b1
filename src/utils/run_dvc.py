"""Run DVC as a child process, and leave no process behind."""

import functools
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

# A stage that is stopped records it, which takes long with a tracking server that is down.
STOP_SECONDS = 15.0
# After Ctrl-C the terminal has signalled the stage already; a second signal could interrupt its record.
CTRL_C_SECONDS = 1.0
SERVER = "src.warm.server"
SHELLS = {"sh", "dash", "bash", "zsh", "ksh", "fish"}


@dataclass(frozen=True)
class ChildResult:
    """How a child ended.

    Attributes:
        exit_code: Its own, or 128 + signal if this process was stopped.
        signal: The signal that stopped this process, or None.
    """

    exit_code: int
    signal: int | None = None


class _Interrupted(BaseException):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Dvc:
    """A DVC that imports what it needs, and then waits to be run.

    Args:
        process: The process of `src.utils.dvc_main`.
        connection: The socket to it.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", connection: socket.socket) -> None:
        self._process, self._connection = process, connection

    def run(self, variables: Mapping[str, str], stage_variables: Callable[[], Mapping[str, str]]) -> ChildResult:
        """Run it and wait.

        SIGTERM and Ctrl-C stop the running stage, so that it can record how it ended, and then
        DVC; DVC by itself would die and leave the stage running.

        Args:
            variables: Added to its environment.
            stage_variables: Called once, when the first stage is about to begin: returns
                variables to add for the stages.
        """
        numbers = (signal.SIGINT, signal.SIGTERM)

        def interrupt(number: int, _: FrameType | None) -> None:
            # Once: a second signal must not arrive before the first is caught.
            for each in numbers:
                signal.signal(each, signal.SIG_IGN)
            raise _Interrupted(number)

        previous = {number: signal.signal(number, interrupt) for number in numbers}
        try:
            # If it is gone already, its exit code says so.
            with suppress(BrokenPipeError, ConnectionResetError):
                self._send(variables)
                if self._connection.recv(1):
                    self._send(stage_variables())
            return ChildResult(_shell_code(self._process.wait()))
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
    """Start DVC in a child, and end it if it was never run.

    Args:
        arguments: Command and arguments of DVC.
        environ: Its environment.
    """
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
        # Suspended, it cannot start a stage between the lookup and the signal.
        dvc.suspend()
        family = _family(dvc)
        for stage in _stages(dvc):
            _quietly(stage.terminate)
        if not dvc.children():
            dvc.terminate()
        dvc.resume()
    except psutil.NoSuchProcess:
        return
    if not _ends(process, STOP_SECONDS):
        # It continued with another stage, as with --keep-going.
        _quietly(dvc.suspend)
        family += [member for member in _family(dvc) if member not in family]
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=1)
    # All are suspended before the first is killed: a shell whose child dies starts the next command.
    for end in (psutil.Process.suspend, psutil.Process.kill):
        for left in alive:
            _quietly(functools.partial(end, left))
    psutil.wait_procs(alive, timeout=5)


def _family(dvc: psutil.Process) -> list[psutil.Process]:
    """List all processes that run for DVC: below it, and below the warm server, another child of this process."""
    servers = [child for child in psutil.Process().children() if SERVER in _command(child)]
    return [member for root in (dvc, *servers) for member in root.children(recursive=True)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _stages(dvc: psutil.Process) -> list[psutil.Process]:
    """List the processes of stages: children of DVC, and of shells that DVC started."""
    children = dvc.children()
    return children + [child for shell in children if shell.name() in SHELLS for child in shell.children()]


def _ends(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _quietly(action: Callable[[], None]) -> None:
    try:
        action()
    except psutil.NoSuchProcess:
        return


def _shell_code(code: int) -> int:
    """Return the exit code that a shell reports: 128 + signal for a killed process."""
    return code if code >= 0 else 128 - code
