"""A fork of the warm server becomes the process that its client would have been."""

import atexit
import ctypes
import gc
import os
import random
import runpy
import shutil
import signal
import socket
import sys
import tempfile
import threading
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from src.warm.client import STATUS, YES
from src.warm.jobs import Call, Job
from src.warm.preload import Code, set_pools

PR_SET_PDEATHSIG = 1
# Loaded in the server already: a fork should not have to look for a library.
_libc = ctypes.CDLL(None)


def start_fork(call: Call, code: Code, *, forget: Callable[[], None]) -> Job:
    """Run a command in a fork of this process, as a process of its own would, and end as it would.

    Args:
        call: The command, for which the fork stands. It hears by its connection that the fork
            begins, and its exit code: the server may be busy importing.
        code: The code of this project when the server imported it.
        forget: Closes what only the server needs.

    Raises:
        OSError: There is no room for a process.
    """
    server = os.getpid()
    # What comes meanwhile is for the command, and not for what is not yet that.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    try:
        pid = os.fork()
        if pid == 0:
            # Whatever happens, it must not go on as a server.
            try:
                if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                forget()
                _become(call, code, server=server, mask=mask)
            finally:
                os._exit(1)
        try:
            return Job(pid, os.pidfd_open(pid), call.client)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _become(call: Call, code: Code, *, server: int, mask: set[int | signal.Signals]) -> NoReturn:
    connection = call.client
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)
    # Ctrl-C reaches the client, which passes it on: once, also in a terminal.
    os.setsid()
    for number, file in enumerate(call.files):
        os.dup2(file, number, inheritable=True)
        os.close(file)
    try:
        connection.sendall(YES)
    except OSError:
        # The client is gone, and may run by itself.
        os._exit(1)
    # Else whoever waits for the end of this process would wait for those that it forks.
    os.register_at_fork(after_in_child=connection.close)
    status: int | None = 0
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _take_over(call.request, call.pid, code)
        runpy._run_module_as_main(call.request["module"])  # type: ignore[attr-defined]  # what `python -m` calls
    except SystemExit as end:
        status = _exit_code(end)
    except BaseException as error:
        status = _fail(error)
    _end(status, connection)


def _take_over(request: dict[str, Any], client: int, code: Code) -> None:
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environ"])
    module, arguments = request["module"], request["arguments"]
    sys.path[0] = request["cwd"]
    sys.argv = [module, *arguments]
    sys.executable = request["executable"]
    sys.orig_argv = [sys.executable, "-m", module, *arguments]
    if sys.stdout is not None and not sys.stdout.write_through:  # type: ignore[union-attr]  # a TextIOWrapper
        sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]  # as above
    tempfile.tempdir = None
    # It was made for the server, which other forks come from.
    atexit.unregister(shutil.rmtree)
    sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
    gc.enable()
    set_pools()
    code.forget_if_changed()
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    main.__annotations__ = {}
    # It runs under the name __main__, as ever.
    sys.modules.pop(module, None)
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    from src.tracking.process import stand_for

    stand_for(client)


def _exit_code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    sys.stderr.write(f"{end.code}\n")
    return 1


def _fail(error: BaseException) -> int | None:
    """Report as Python does what nobody caught; the traceback begins where that of `python -m` does."""
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
    sys.excepthook(type(error), error, error.__traceback__)
    return None if isinstance(error, KeyboardInterrupt) else 1


def _end(status: int | None, connection: socket.socket) -> NoReturn:
    """Do what Python does at its end, but for tidying up memory, which takes it the half of a second.

    Args:
        status: The exit code; None to end as Python does after Ctrl-C.
        connection: Hears the exit code.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, and joblib hooks into it
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 120 if status == 0 else status
    if status is None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    status = 1 if status is None else status
    with suppress(OSError):
        connection.sendall(STATUS.pack(status << 8))
    os._exit(status)
