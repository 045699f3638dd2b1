"""The warm server: it imports, waits, and forks. One thread, no pool, no store, no file of the user open."""

import contextlib
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from src.warm.client import GO, HEARD, HELLO, NO, STATUS, receive_request
from src.warm.fork import start_fork
from src.warm.jobs import Call, Job
from src.warm.preload import Code, is_threaded, is_tracked, load, needed_by, preloading, steps
from src.warm.processes import ancestors, peer_of
from src.warm.settings import process_settings

# A client that has been greeted has its request at hand.
REQUEST_SECONDS = 5.0


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
        self._calls: list[Call] = []
        self._jobs: list[Job] = []
        self._with_tracking = is_tracked(Path("params.yaml"))
        # What is still to be imported.
        self._left = steps(with_tracking=self._with_tracking)

    def serve(self) -> None:
        """Import, and serve meanwhile and then."""
        while self._left and not self._is_over:
            if not self._step(0):
                name = next((name for call in self._calls for name in self._wanted_by(call)), self._left[0])
                self._left.remove(name)
                with preloading():
                    load(name)
        while not self._is_over or (self._outlives and self._jobs):
            self._step(None)

    def end(self) -> None:
        """Take along what the forks have started; they themselves die with this process."""
        for job in self._jobs:
            with contextlib.suppress(ProcessLookupError):
                job.signal(signal.SIGKILL)

    def _step(self, milliseconds: int | None) -> bool:
        """Wait for one thing to happen, and do what it asks for; gives False if nothing did."""
        self._answer_calls()
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
        with contextlib.suppress(OSError, ValueError, KeyError), contextlib.ExitStack() as stack:
            # The client may be gone, or none of ours: it goes on by itself.
            client = stack.enter_context(self._listener.accept()[0])
            pid, user = peer_of(client)
            # A thread that some library has started would be missing in the fork.
            if user != os.getuid() or self._owner not in ancestors(pid) or is_threaded():
                return
            client.settimeout(REQUEST_SECONDS)
            client.sendall(HELLO)
            call = Call(client, pid, *receive_request(client))
            stack.callback(call.close)
            if call.request["settings"] == self._settings and len(call.files) == 3 and client.recv(1) == GO:
                client.settimeout(None)
                self._calls.append(call)
                stack.pop_all()
            else:
                client.sendall(NO)

    def _answer_calls(self) -> None:
        """Fork for each stage whose modules are imported: a fork that did it by itself would take longer."""
        for call in self._calls[:]:
            if not self._wanted_by(call):
                self._calls.remove(call)
                try:
                    self._jobs.append(self._fork(call))
                except OSError:
                    call.client.close()
                finally:
                    call.close()

    def _wanted_by(self, call: Call) -> list[str]:
        """List what a stage still waits for."""
        needed = needed_by(call.request["module"], with_tracking=self._with_tracking)
        return [name for name in self._left if name in needed]

    def _fork(self, call: Call) -> Job:
        if is_threaded() or select.select([call.client], [], [], 0)[0]:
            # A signal came meanwhile, or the client is gone: it does with it what it would do.
            raise ConnectionError("not to be served")
        return start_fork(call, self._code, forget=self._forget)

    def _forget(self) -> None:
        """Close what a fork has no business with."""
        for job in self._jobs:
            os.close(job.ending)
            job.client.close()
        for call in self._calls:
            call.client.close()
            call.close()
        self._listener.close()

    def _hear(self, job: Job) -> None:
        """Pass on a signal; a client that is gone takes its fork with it."""
        try:
            heard = job.client.recv(1)
        except OSError:
            heard = b""
        if not heard:
            job.signal(signal.SIGKILL)
            self._finish(job)
        elif heard == HEARD:
            # What it has left running goes on, as it would without a server.
            self._finish(job)
        elif heard[0] in (signal.SIGTSTP, signal.SIGCONT):
            # In a session of their own no terminal stops them.
            job.signal(signal.SIGSTOP if heard[0] == signal.SIGTSTP else signal.SIGCONT)
        else:
            os.kill(job.pid, heard[0])

    def _finish(self, job: Job) -> None:
        self._jobs.remove(job)
        _, status = os.waitpid(job.pid, 0)
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
    # What a library makes when it is imported, as matplotlib does without a home, goes with this process.
    tempfile.tempdir = folder
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    code, server = 1, None
    try:
        server = Server(socket.socket(fileno=int(listener)), int(owner), outlives="outlives" in switches)
        server.serve()
        code = 0
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if server:
            server.end()
        shutil.rmtree(folder, ignore_errors=True)
        # Whatever the imports have registered is for the forks; they end with this process.
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
