"""Run a command in a fork of the warm server, and end as it ends.

Imports little: a stage's command begins with it.
"""

import json
import os
import resource
import select
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from src.warm.processes import peer_of
from src.warm.settings import process_settings, umask

SOCKET = "socket"
HELLO, GO, YES, NO = b"?", b"!", b"+", b"-"
# No signal: the command knows how its fork has ended.
HEARD = b"\0"
LENGTH, STATUS = struct.Struct("!I"), struct.Struct("!i")
# The server says hello between two imports, and yes when what the stage needs is there: 4 s, more on a busy machine.
PATIENCE_SECONDS = 60.0
# What others send to a process. The rest a process sends to itself.
FORWARDED = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
FORWARDED |= {signal.SIGCONT, signal.SIGTSTP, signal.SIGWINCH, signal.SIGALRM}


def run_warm(folder: str, module: str, arguments: list[str], *, forward: bool = False) -> int | None:
    """Run `python -m MODULE ARGUMENTS` in a warm fork and wait for it.

    If this process dies, or leaves by an exception, so does the fork.

    Args:
        folder: Folder of the server.
        module: Name of the module.
        arguments: Arguments of the command.
        forward: Whether signals that reach this process are for the fork, and not for this process.

    Returns:
        The wait status of the fork, that of a kill if the server died with it, or None
        if nothing was run.
    """
    request = {
        "settings": process_settings(),
        "executable": sys.executable,
        "module": module,
        "arguments": arguments,
        "environ": dict(os.environ),
        "cwd": str(Path.cwd()),
        "umask": umask(),
    }
    try:
        with _connect(folder) as connection:
            connection.settimeout(PATIENCE_SECONDS)
            if connection.recv(1) != HELLO:
                return None
            content = json.dumps(request).encode()
            socket.send_fds(connection, [LENGTH.pack(len(content))], [0, 1, 2])
            connection.sendall(content)
            with _forwarding(connection) if forward else nullcontext(list[int]()) as heard:
                status = None
                # A server that will not serve resets the connection, if a signal is on its way.
                with suppress(OSError):
                    connection.sendall(GO)
                    if _receive(connection, 1, PATIENCE_SECONDS) == YES:
                        # From here on the command has begun: it is not to be run again.
                        status = _receive_status(connection)
            if status is None:
                # Nobody else got them.
                for number in heard:
                    os.kill(os.getpid(), number)
            return status
    except OSError:
        # No server, not ours, or it ended before it began.
        return None


def _connect(folder: str) -> socket.socket:
    """Connect to a server of this user in a folder that nobody else can enter.

    Raises:
        OSError: There is none.
    """
    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX)
    try:
        facts = os.fstat(directory)
        if facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) & 0o077:
            raise PermissionError(folder)
        # The address of a socket has room for 107 characters; temporary folders may be longer.
        connection.connect(f"/proc/self/fd/{directory}/{SOCKET}")
        if peer_of(connection)[1] != os.getuid():
            raise PermissionError(folder)
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection


def receive_request(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive what a client wants, and its stdin, stdout and stderr; for the server.

    Raises:
        OSError: The client is gone.
        ValueError: It is not a request.
    """
    head, files, _, _ = socket.recv_fds(client, LENGTH.size, 3)
    try:
        left = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
        parts = []
        while left:
            part = client.recv(left)
            if not part:
                raise ConnectionError("the client is gone")
            parts.append(part)
            left -= len(part)
        request = json.loads(b"".join(parts))
        if not isinstance(request, dict):
            raise ValueError("not a request")
    except (OSError, ValueError):
        for file in files:
            os.close(file)
        raise
    return request, files


@contextmanager
def _forwarding(connection: socket.socket) -> Iterator[list[int]]:
    """Send the number of each signal to the server, as it comes.

    Python writes it by itself: a handler would wait for the call that this process waits in.

    Yields:
        The numbers so far.
    """
    heard: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        heard.append(number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    wanted = [number for number in FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
    connection.setblocking(False)
    signal.set_wakeup_fd(connection.fileno())
    previous = {number: signal.signal(number, note) for number in wanted}
    try:
        yield heard
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _receive_status(connection: socket.socket) -> int:
    with suppress(OSError):
        status = _receive(connection, STATUS.size, None)
        if len(status) == STATUS.size:
            with suppress(OSError):
                connection.sendall(HEARD)
            return int(STATUS.unpack(status)[0])
    return int(signal.SIGKILL)


def _receive(connection: socket.socket, size: int, patience: float | None) -> bytes:
    """Receive so many bytes, or fewer if the other end is gone or the patience is."""
    end = None if patience is None else time.monotonic() + patience
    received = b""
    while len(received) < size and (end is None or time.monotonic() < end):
        # Not for ever: a handler of Python waits for the call to return.
        if select.select([connection], [], [], 1)[0]:
            part = connection.recv(size - len(received))
            if not part:
                break
            received += part
    return received


def end_as(status: int) -> NoReturn:
    """End this process as another has ended: with its exit code, or by its signal."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        # One core is enough.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
