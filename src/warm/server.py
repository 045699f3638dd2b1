"""The warm server: it imports, waits, and forks. One thread, no pool, no store, no file of the user open."""

import contextlib
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

from src.warm.client import GO, HELLO, NO, STATUS, receive_request
from src.warm.fork import become
from src.warm.preload import Code, is_threaded, is_tracked, load, preloading, steps
from src.warm.processes import ancestors, peer_of
from src.warm.settings import process_settings

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
    """Serve forks to the processes below one process, until that ends and what outlives it.

    Args:
        listener: Where clients connect.
        owner: The process.
        outlives: Whether a fork goes on to its end when the owner is gone.
    """

    def __init__(self, listener: socket.socket, owner: int, *, outlives: bool) -> None:
        self._listener = listener
        self._owner = owner
        self._outlives = outlives
        self._ending = os.pidfd_open(owner)
        self._is_over = False
        # Before anything is imported: what changes meanwhile is imported anew.
        self._code = Code()
        self._settings = process_settings()
        self._jobs: list[Job] = []
        # What is still to be imported, and how much of it may be left when a module is asked for.
        self._left: list[str] = []
        self._n_left_for: dict[str, int] = {}

    def serve(self) -> None:
        """Import, and serve meanwhile and then."""
        groups = steps(with_tracking=is_tracked(Path("params.yaml")))
        self._left = [name for group in groups for name in group]
        n_left = len(self._left)
        for group in groups:
            n_left -= len(group)
            self._n_left_for |= dict.fromkeys(group, n_left)
        while self._left and not self._is_over:
            if not self._step(0):
                self._load_next()
        while not self._is_over or (self._outlives and self._jobs):
            self._step(None)

    def _load_next(self) -> None:
        with preloading():
            load(self._left.pop(0))

    def _step(self, milliseconds: int | None) -> bool:
        """Wait for one thing to happen, and do what it asks for; gives False if nothing did."""
        waiting: dict[int, Callable[[], None]] = {}
        if not self._is_over:
            waiting |= {self._ending: self._stop, self._listener.fileno(): self._accept}
        for job in self._jobs:
            waiting[job.ending] = partial(self._finish, job)
            waiting[job.client.fileno()] = partial(self._hear, job)
        poller = select.poll()
        for number in waiting:
            poller.register(number, select.POLLIN)
        for number, _ in poller.poll(milliseconds)[:1]:
            waiting[number]()
            return not self._is_over
        return False

    def _stop(self) -> None:
        self._is_over = True

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        files: list[int] = []
        try:
            pid, user = peer_of(client)
            # A thread that some library has started would be missing in the fork.
            if user == os.getuid() and self._owner in ancestors(pid) and not is_threaded():
                client.settimeout(REQUEST_SECONDS)
                client.sendall(HELLO)
                request, files = receive_request(client)
                if request["settings"] == self._settings and len(files) == 3 and client.recv(1) == GO:
                    self._jobs.append(self._fork(client, pid, request, files))
                    client.settimeout(None)
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

    def _fork(self, client: socket.socket, client_pid: int, request: dict[str, Any], files: list[int]) -> Job:
        # A fork that imports by itself what comes next here takes longer than to wait for it.
        while len(self._left) > self._n_left_for.get(request["module"], 0):
            self._load_next()
        if is_threaded() or select.select([client], [], [], 0)[0]:
            # A signal came meanwhile, or the client is gone: it does with it what it would do.
            raise ConnectionError("not to be served")
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            # Whatever happens, it must not go on as a server.
            try:
                for job in self._jobs:
                    os.close(job.ending)
                    job.client.close()
                self._listener.close()
                become(request, files, server=server, client=client_pid, connection=client, code=self._code)
            finally:
                os._exit(1)
        return Job(pid, os.pidfd_open(pid), client)

    def _hear(self, job: Job) -> None:
        """Pass on a signal; a client that is gone takes its fork with it."""
        try:
            heard = job.client.recv(1)
        except OSError:
            heard = b""
        number = heard[0] if heard else signal.SIGKILL
        # In a session of its own no terminal would stop it.
        os.kill(job.pid, signal.SIGSTOP if number == signal.SIGTSTP else number)
        if not heard:
            self._finish(job)

    def _finish(self, job: Job) -> None:
        _, status = os.waitpid(job.pid, 0)
        self._jobs.remove(job)
        with contextlib.suppress(OSError):
            job.client.sendall(STATUS.pack(status))
        os.close(job.ending)
        job.client.close()


def main(arguments: list[str]) -> NoReturn:
    """Serve; the arguments are the listening socket, the owner, the folder to delete at the end, and switches."""
    listener, owner, folder, *switches = arguments
    if "outlives" in switches:
        # DVC deletes the folder of an experiment while this process still imports from it.
        sys.dont_write_bytecode = True
    code = 1
    try:
        server = Server(socket.socket(fileno=int(listener)), int(owner), outlives="outlives" in switches)
        server.serve()
        code = 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        # Whatever the imports have registered is for the forks; they end with this process.
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
