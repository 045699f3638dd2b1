"""The warm server: it imports, waits, and forks. One thread, no pool, no store, no file of the user open."""

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from src.warm.client import HELLO, LENGTH, NO, STATUS, YES, peer_of, process_settings
from src.warm.fork import become
from src.warm.preload import Imported, preload

# A client that has been greeted has its request at hand.
REQUEST_SECONDS = 5.0


@dataclass(frozen=True)
class Job:
    """A fork at work.

    Attributes:
        pid: Its number.
        ending: Becomes readable when it ends.
        client: The connection to its client.
    """

    pid: int
    ending: int
    client: socket.socket


class Server:
    """Serve forks to the processes below one process, until that ends.

    Args:
        listener: Where clients connect.
        owner: The process.
    """

    def __init__(self, listener: socket.socket, owner: int) -> None:
        self._listener = listener
        self._owner = owner
        self._settings = process_settings()
        self._jobs: list[Job] = []

    def serve(self, *, with_tracking: bool) -> None:
        """Import, then serve, until the owner ends."""
        ending = os.pidfd_open(self._owner)
        imported = preload(with_tracking=with_tracking, go_on=lambda: not _readable(ending))
        if len(list(Path("/proc/self/task").iterdir())) > 1:
            # Some library began a thread, which no fork would have: the stages run by themselves.
            return
        # What is here stays: a collection in a fork would copy every page that it looks at.
        gc.collect()
        gc.freeze()
        while not _readable(ending):
            waiting: dict[int, Callable[[], None]] = {ending: lambda: None}
            waiting[self._listener.fileno()] = partial(self._accept, imported)
            for job in self._jobs:
                waiting[job.ending] = partial(self._finish, job)
                waiting[job.client.fileno()] = partial(self._hear, job)
            poller = select.poll()
            for number in waiting:
                poller.register(number, select.POLLIN)
            (number, _), *_ = poller.poll()
            waiting[number]()

    def _accept(self, imported: Imported) -> None:
        client, _ = self._listener.accept()
        files: list[int] = []
        try:
            pid, user = peer_of(client)
            if user == os.getuid() and self._owner in ancestors(pid):
                client.settimeout(REQUEST_SECONDS)
                client.sendall(HELLO)
                request, files = _receive(client)
                if request["settings"] == self._settings and len(files) == 3:
                    self._jobs.append(self._fork(client, pid, request, files, imported))
                    client.settimeout(None)
                    client.sendall(YES)
                    return
                client.sendall(NO)
        except (OSError, ValueError, KeyError):
            # The client is gone, or is none of ours: it goes on by itself.
            pass
        finally:
            for file in files:
                os.close(file)
        if all(job.client is not client for job in self._jobs):
            client.close()

    def _fork(
        self, client: socket.socket, client_pid: int, request: dict[str, Any], files: list[int], imported: Imported
    ) -> Job:
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            for job in self._jobs:
                os.close(job.ending)
                job.client.close()
            client.close()
            self._listener.close()
            become(request, files, server=server, client=client_pid, imported=imported)
        return Job(pid, os.pidfd_open(pid), client)

    def _hear(self, job: Job) -> None:
        """Pass on a signal; a client that is gone takes its fork with it."""
        try:
            heard = job.client.recv(1)
        except OSError:
            heard = b""
        os.kill(job.pid, heard[0] if heard else signal.SIGKILL)
        if not heard:
            self._finish(job)

    def _finish(self, job: Job) -> None:
        _, status = os.waitpid(job.pid, 0)
        self._jobs.remove(job)
        with contextlib.suppress(OSError):
            job.client.sendall(STATUS.pack(status))
        os.close(job.ending)
        job.client.close()


def ancestors(pid: int) -> set[int]:
    """Find the processes above a process, itself included."""
    found: set[int] = set()
    while pid and pid not in found:
        found.add(pid)
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - pathlib is slower
            pid = int(file.read().rpartition(")")[2].split()[1])
    return found


def _receive(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
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
        request: dict[str, Any] = json.loads(b"".join(parts))
    except (OSError, ValueError):
        for file in files:
            os.close(file)
        raise
    return request, files


def _readable(number: int) -> bool:
    poller = select.poll()
    poller.register(number, select.POLLIN)
    return bool(poller.poll(0))


def main(arguments: list[str]) -> NoReturn:
    """Serve; the arguments are the listening socket, the owner, the folder to delete at the end, and what to import."""
    listener, owner, folder, tracking = arguments
    code = 1
    try:
        Server(socket.socket(fileno=int(listener)), int(owner)).serve(with_tracking=tracking == "tracking")
        code = 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        # Whatever the imports have registered is for the forks; they end with this process.
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
