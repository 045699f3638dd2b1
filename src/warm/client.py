"""Run a command in a fork of the warm server, and end as it ends.

Imports little: a stage's command begins with it.
"""

import json
import os
import resource
import signal
import socket
import stat
import struct
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from src.warm.settings import process_settings, umask

SOCKET = "socket"
HELLO, YES, NO = b"?", b"+", b"-"
LENGTH, STATUS = struct.Struct("!I"), struct.Struct("!i")
# The server says hello when it has imported everything, which takes 4 s, and longer on a busy machine.
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
            if connection.recv(1) != YES:
                return None
            connection.settimeout(None)
            return _attend(connection) if forward else _receive_status(connection)
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


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Ask the kernel for the pid and the user of the other end."""
    credentials = struct.Struct("3i")
    pid, user, _ = credentials.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return pid, user


def _attend(connection: socket.socket) -> int:
    """Pass on signals until the fork has ended."""

    def forward(number: int, _: FrameType | None) -> None:
        stops = number == signal.SIGTSTP
        # A server that is gone has taken the fork with it.
        with suppress(OSError):
            connection.send(bytes([signal.SIGSTOP if stops else number]))
        if stops:
            os.kill(os.getpid(), signal.SIGSTOP)

    previous = {
        number: signal.signal(number, forward) for number in FORWARDED if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        return _receive_status(connection)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _receive_status(connection: socket.socket) -> int:
    with suppress(ConnectionError):
        received = connection.recv(STATUS.size, socket.MSG_WAITALL)
        if len(received) == STATUS.size:
            return int(STATUS.unpack(received)[0])
    return int(signal.SIGKILL)


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
