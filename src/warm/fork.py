"""A fork of the warm server becomes the process that its client would have been."""

import atexit
import ctypes
import gc
import os
import runpy
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from src.warm import PIPELINE_CLIENT_PID
from src.warm.client import STARTED
from src.warm.imports import forget_changed_code, learn, resize_pools, stamp_code

PR_SET_PDEATHSIG = 1


@dataclass
class Job:
    """A client, and its fork as soon as there is one.

    Attributes:
        client: Connection to the client.
        client_pid: Pid of the client.
        request: What to run; `src.warm.client.run_warm` describes it.
        files: Stdin, stdout and stderr of the client, until there is a fork.
        pid: Pid of the fork.
        ending: A file descriptor that is readable when the fork has ended.
        learn_as: The module for which the fork records its imports.
    """

    client: socket.socket
    client_pid: int
    request: dict[str, Any]
    files: list[int]
    pid: int = 0
    ending: int = -1
    learn_as: str = ""

    @property
    def module(self) -> str:
        """Name of the module to run."""
        return str(self.request["module"])

    def close(self) -> None:
        """Close all that this process holds open for it."""
        self.client.close()
        self.close_files()
        if self.ending >= 0:
            os.close(self.ending)

    def close_files(self) -> None:
        """Close the files of the client in this process."""
        while self.files:
            os.close(self.files.pop())

    def signal_group(self, number: int) -> None:
        """Send a signal to the fork and the processes that it started."""
        # A fork that has just begun has no group yet.
        for send in (os.killpg, os.kill):
            with suppress(ProcessLookupError):
                send(self.pid, number)


class Fork:
    """What a fork of this process does, from its first to its last step.

    Create it before anything else registers an exit handler. Python runs exit handlers in
    reverse order, after it has waited for threads, so this one runs last. It ends the process
    without clearing the memory, which would cost half a second.
    """

    def __init__(self) -> None:
        self._server = os.getpid()
        self._libc = ctypes.CDLL(None)
        self._signal_mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        # Before the imports: code that changes meanwhile is imported again.
        self._stamps = stamp_code()
        self._status = 1
        atexit.register(self._end)

    def become(self, job: Job) -> NoReturn:
        """Run the command of a client as a process of its own would, and end as it would.

        The fork itself reports its start and its status to the client, because the server may
        be busy importing.
        """
        self._job = job
        self._loaded = set(sys.modules)
        self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._server:
            os._exit(1)
        # Ctrl-C reaches the client, which forwards it: the fork must not receive it twice.
        os.setsid()
        for number, file in enumerate(job.files):
            os.dup2(file, number, inheritable=True)
        job.close_files()
        try:
            job.client.send(STARTED)
        except OSError:
            # The client gave up, and may run the command itself.
            os._exit(1)
        # Otherwise the client's end would be noticed only when the fork's children have ended, too.
        os.register_at_fork(after_in_child=job.client.close)
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._signal_mask)
            self._take_over(job)
            runpy.run_module(job.module, run_name="__main__", alter_sys=True)
            self._status = 0
        except SystemExit as end:
            self._status = _exit_code(end)
        except BaseException as error:
            error.__traceback__ = _without_own_frames(error.__traceback__)
            sys.excepthook(type(error), error, error.__traceback__)
            if isinstance(error, KeyboardInterrupt):
                self._status = -signal.SIGINT
        sys.exit()

    def _take_over(self, job: Job) -> None:
        request = job.request
        resize_pools()
        os.chdir(request["cwd"])
        os.umask(request["umask"])
        os.environ.clear()
        os.environ.update(request["environ"] | {PIPELINE_CLIENT_PID: str(job.client_pid)})
        sys.path[0] = request["cwd"]
        sys.argv = [job.module, *request["arguments"]]
        sys.executable = request["executable"]
        sys.orig_argv = [sys.executable, "-m", *sys.argv]
        if sys.stdout is not None and not sys.stdout.write_through:  # type: ignore[union-attr]  # a TextIOWrapper
            sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]  # as above
        tempfile.tempdir = None
        # Temporary folders that imports made belong to the server, which other forks share.
        atexit.unregister(shutil.rmtree)
        sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
        gc.enable()
        forget_changed_code(self._stamps, Path(request["cwd"]))
        # It runs as `__main__`; runpy warns about a second copy.
        sys.modules.pop(job.module, None)
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()

    def _end(self) -> None:
        try:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
        except OSError:
            # Python itself reports it, and sets the exit code.
            return
        learn(self._job.learn_as, self._loaded)
        if self._status < 0:
            signal.signal(-self._status, signal.SIG_DFL)
            os.kill(os.getpid(), -self._status)
        with suppress(OSError):
            self._job.client.send(str(self._status << 8).encode())
        os._exit(self._status)


def _exit_code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    sys.stderr.write(f"{end.code}\n")
    return 1


def _without_own_frames(traceback: TracebackType | None) -> TracebackType | None:
    own = (__file__, runpy.run_module.__code__.co_filename)
    while traceback and traceback.tb_frame.f_code.co_filename in own:
        traceback = traceback.tb_next
    return traceback
