"""Run a command in a fork of the warm server, and end as the fork ends.

Every command of a stage imports this module first, so it imports little.
"""

import json
import os
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from src.warm import COLD, PIPELINE_WARM, SOCKET

# A client sends its request and then one byte a signal; the fork answers STARTED and its wait status.
STARTED = b"+"
# A byte that is no signal: the client has the status, and may close the connection.
RECEIVED = b"\0"
# The server first imports what the stage needs: 4 s, more on a busy machine.
START_SECONDS = 60.0


def hand_over(finish_with: str = "") -> None:
    """Run the command of this process in a warm fork, if possible, and exit as the fork did.

    `PIPELINE_WARM` names the folder of the server. If it is not set, the stages of one DVC
    process share a server, which the first of them starts. Returns if there is no server, if
    this is not `python -m MODULE` without options of Python, or if the server refuses.

    Args:
        finish_with: Module and arguments that a server of this DVC process runs once, after DVC has ended.
    """
    folder = os.environ.get(PIPELINE_WARM)
    # While runpy imports the parent packages of a module, sys.argv[0] is "-m".
    if folder == COLD or sys.argv[:1] != ["-m"] or sys.orig_argv[1:2] != ["-m"] or sys.platform != "linux":
        return
    from src.warm.launch import server_of_dvc
    from src.warm.processes import inherits_files

    if inherits_files():
        return
    folder = folder or server_of_dvc(finish_with)
    if folder != COLD:
        status = run_warm(folder, sys.orig_argv[2], sys.orig_argv[3:], forward=True)
        if status is not None:
            _end_as(status)


def run_warm(folder: str, module: str, arguments: Sequence[str], *, forward: bool = False) -> int | None:
    """Run `python -m MODULE ARGUMENTS` in a warm fork and wait for it.

    The fork is killed if this process dies or leaves this function by an exception.

    Args:
        folder: Folder of the server.
        module: Name of the module.
        arguments: Arguments of the command.
        forward: Whether to forward signals to the fork instead of handling them here.

    Returns:
        The wait status of the fork (that of SIGKILL if the server died), or None if nothing was run.
    """
    from src.warm.processes import process_settings

    umask = os.umask(0)
    os.umask(umask)
    request = {
        "settings": process_settings(),
        "executable": sys.executable,
        "module": module,
        "arguments": list(arguments),
        "environ": dict(os.environ),
        "cwd": str(Path.cwd()),
        "umask": umask,
    }
    try:
        with _connect(folder) as connection:
            socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
            connection.setblocking(False)
            with _forwarding(connection) if forward else nullcontext(list[int]()) as signals:
                status = None
                if _receive(connection, START_SECONDS) == STARTED:
                    # From here on the command must not run a second time.
                    status = int(_receive(connection) or signal.SIGKILL)
                    with suppress(OSError):
                        connection.send(RECEIVED)
            if status is None:
                for number in signals:
                    os.kill(os.getpid(), number)
            return status
    except OSError:
        # There is no server that this user may use, it ended first, or the request is too long.
        return None


def _connect(folder: str) -> socket.socket:
    """Connect to a server of this user, in a folder that no other user can enter.

    Raises:
        OSError: There is none.
    """
    from src.warm.processes import peer_of

    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        facts = os.fstat(directory)
        if facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) & 0o077:
            raise PermissionError(folder)
        connection.settimeout(START_SECONDS)
        # The address of a socket is limited to 107 characters; the path of a folder is not.
        connection.connect(f"/proc/self/fd/{directory}/{SOCKET}")
        if peer_of(connection)[1] != os.getuid():
            raise PermissionError(folder)
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection


@contextmanager
def _forwarding(connection: socket.socket) -> Iterator[list[int]]:
    """Send the number of each signal to the server, which sends the signal to the fork.

    Python's wakeup file descriptor does it as the signal arrives, also in the middle of a call.

    Yields:
        The signals received so far.
    """
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    # The signals that other processes send. A process sends the rest to itself.
    numbers = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
    numbers |= {signal.SIGCONT, signal.SIGTSTP, signal.SIGWINCH, signal.SIGALRM}
    signal.set_wakeup_fd(connection.fileno())
    previous = {n: signal.signal(n, handle) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    try:
        yield received
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _receive(connection: socket.socket, seconds: float = float("inf")) -> bytes:
    """Receive a message; nothing if the other end is gone or the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # Wake up each second: Python runs a signal's handler only between two calls.
        if select.select([connection], [], [], 1)[0]:
            # A server that refuses while a signal is on its way resets the connection.
            with suppress(ConnectionResetError):
                return connection.recv(16)
            break
    return b""


def _end_as(status: int) -> NoReturn:
    """End this process like one with this wait status: with its exit code, or by its signal."""
    import resource

    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        # The fork wrote a core file already.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
