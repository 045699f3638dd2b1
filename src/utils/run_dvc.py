"""Run DVC as a child process, and stop it with all processes that it started."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

import psutil

# A stage records that it was stopped, which takes long if a tracking server is down.
STOP_SECONDS = 15.0
# DVC may be in a library that handles no signal. It is not killed while it may be writing dvc.lock.
DVC_SECONDS = 60.0
WATCH_SECONDS = 0.05
# After Ctrl-C the terminal has signaled the stage, too. A second signal could interrupt its record.
CTRL_C_SECONDS = 1.0
SERVER = "src.warm.server"


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
        self.was_run = False

    def run(self, variables: Mapping[str, str], stage_variables: Callable[[], Mapping[str, str]]) -> ChildResult:
        """Run DVC and wait.

        SIGTERM, SIGHUP, SIGQUIT and Ctrl-C stop the running stage, so that it can record how it ended, and
        then DVC, but not while it writes.

        Args:
            variables: Environment variables to add.
            stage_variables: Called before the first stage begins; returns more variables.
        """
        self.was_run = True
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

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
            # DVC may be waiting for an answer.
            self._connection.close()
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
        dvc = Dvc(process, connection)
        try:
            yield dvc
        finally:
            connection.close()
            if not dvc.was_run:
                # It only reads, which takes minutes if params.yaml is huge.
                process.kill()
            process.wait()


def _stop(process: "subprocess.Popen[bytes]", number: int) -> None:
    """Let DVC end its stage and itself; if they do not end, kill the stage, and much later DVC."""
    if number == signal.SIGINT and _ends(process, CTRL_C_SECONDS):
        return
    family = _list_family(process.pid)
    process.terminate()
    if not _ends(process, STOP_SECONDS, family):
        _kill(family)
        # It may be hashing or writing.
        if not _ends(process, DVC_SECONDS, family):
            process.kill()
            process.wait()
    _kill(psutil.wait_procs(family, timeout=1)[1])


def _ends(process: "subprocess.Popen[bytes]", seconds: float, family: set[psutil.Process] | None = None) -> bool:
    """Wait for DVC, and add to `family` all processes that run for it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if family is not None:
            family |= _list_family(process.pid)
        with suppress(subprocess.TimeoutExpired):
            process.wait(WATCH_SECONDS)
            return True
    return False


def _list_family(pid: int) -> set[psutil.Process]:
    """List the descendants of DVC and of the warm server, which is another child of this process."""
    found: set[psutil.Process] = set()
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if child.pid == pid or SERVER in child.cmdline():
                found.update(child.children(recursive=True))
    return found


def _kill(processes: Collection[psutil.Process]) -> None:
    # All are suspended first: a shell whose child is killed starts the next command.
    for action in (psutil.Process.suspend, psutil.Process.kill):
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                action(process)
    psutil.wait_procs(processes, timeout=5)
