"""What the kernel knows about processes."""

import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

# The folder that `src` was imported from.
CODE_DIR = Path(__file__).resolve().parents[1]
# These variables differ between stages, and no library reads them when it is imported. An active
# virtual environment exports PS1, and bash, in which DVC runs a stage, removes it.
FREE_VARIABLES = {"MLFLOW_RUN_ID", "_", "OLDPWD", "PS1", "PS2", "PWD", "SHLVL"}
FREE_PREFIXES = ("DVC_", "PIPELINE_")


def process_settings() -> dict[str, Any]:
    """Describe what a fork inherits from the server and cannot change to what its client has.

    A client with other settings than the server must run as a process of its own.
    """
    import resource

    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    environ = os.environ.items()
    return {
        "python": [sys.prefix, os.path.realpath(sys.executable)],
        "code": str(CODE_DIR),
        "user": [os.getresuid(), os.getresgid(), os.getgroups()],
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in limits},
        "cpus": sorted(os.sched_getaffinity(0)),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "ignored": sorted(n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "environ": {n: value for n, value in environ if n not in FREE_VARIABLES and not n.startswith(FREE_PREFIXES)},
    }


def inherits_files() -> bool:
    """Return whether this process inherited other open files than stdin, stdout and stderr."""
    inherited = set()
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - names only
        # The listing's own file is closed by now.
        with suppress(OSError):
            if os.get_inheritable(number):
                inherited.add(number)
    return inherited != {0, 1, 2}


def is_threaded() -> bool:
    """Return whether this process has more than one thread."""
    return len(os.listdir("/proc/self/task")) > 1  # noqa: PTH208 - their number only


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return the pid and the user id of the process at the other end."""
    credentials = struct.Struct("3i")
    pid, user, _ = credentials.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return pid, user


def ancestors(pid: int) -> list[int]:
    """List a process and its ancestors, up to one that this user may not read."""
    found: list[int] = []
    with suppress(OSError):
        while pid and pid not in found:
            found.append(pid)
            pid = int(_stat(pid)[1])
    return found


def started_at(pid: int) -> int:
    """Return when a process started, in clock ticks since boot: with the pid, this identifies it.

    Raises:
        OSError: There is no such process.
    """
    return int(_stat(pid)[19])


def _stat(pid: int) -> list[str]:
    # The name of the process, in parentheses, can contain anything.
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
