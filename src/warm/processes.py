"""What the kernel says of processes: which is above which, and who is at the other end of a socket."""

import os
import socket
import struct
from contextlib import suppress


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Ask for the pid and the user of the other end."""
    credentials = struct.Struct("3i")
    pid, user, _ = credentials.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return pid, user


def ancestors(pid: int) -> list[int]:
    """List the processes above a process, itself first, up to one that this user may not look at."""
    found: list[int] = []
    with suppress(OSError):
        while pid and pid not in found:
            found.append(pid)
            pid = int(_stat(pid)[1])
    return found


def started_at(pid: int) -> int:
    """Tell when a process began, in ticks since the boot: two may have one number, one after the other.

    Raises:
        OSError: There is none.
    """
    return int(_stat(pid)[19])


def _stat(pid: int) -> list[str]:
    """Read `/proc/PID/stat` behind the name, which may hold anything."""
    with open(os.path.join("/proc", str(pid), "stat"), encoding="utf-8", errors="replace") as file:  # noqa: PTH118, PTH123 - pathlib is slower
        return file.read().rpartition(")")[2].split()
