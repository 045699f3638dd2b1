"""The warm server: it imports, waits and forks. It has one thread, and no file of the user open."""

import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from src.warm.client import RECEIVED
from src.warm.fork import Fork, Job
from src.warm.imports import LATER, load, plan_imports, preloading, read_learned
from src.warm.processes import ancestors, is_threaded, peer_of, process_settings

# A client sends its request as soon as it is connected.
REQUEST_SECONDS = 5.0
REQUEST_SIZE = 1 << 20
FINISH_SECONDS = 60


class Server:
    """Serve forks to the descendants of one process, until that process ends.

    Args:
        listener: Socket to which clients connect.
        owner: Pid of the process.
        preload: Modules to import after those of the stages, and functions `module:function` to call.
        outlives: Whether forks go on when the owner has ended; the server then ends with the last.
        finish_with: Module and arguments to run once at the end, if any stage was run.
    """

    def __init__(
        self, listener: socket.socket, owner: int, preload: Sequence[str] = (), *, outlives: bool, finish_with: str
    ) -> None:
        # DVC deletes the folder of an experiment while this process still imports from it.
        sys.dont_write_bytecode = outlives or sys.dont_write_bytecode
        self._listener = listener
        self._owner = owner
        self._outlives = outlives
        self._finish_with = finish_with
        self._ending = os.pidfd_open(owner)
        self._is_over = False
        # As a client's settings arrive: JSON has no tuples.
        self._settings = json.loads(json.dumps(process_settings()))
        self._jobs: list[Job] = []
        self._served: list[Job] = []
        # What is still to be imported, by the module that needs it.
        self._missing = plan_imports(preload, finish_with.partition(" ")[0])

    def serve(self) -> Job | None:
        """Import modules and start forks until the owner ends.

        Returns:
            In the server None, at its end. In a fork, what to run.
        """
        while True:
            if self._is_over and not (self._outlives and self._jobs) and not self._finish():
                return None
            for job in [job for job in self._jobs if not job.pid and job.module not in self._missing]:
                if self._start_fork(job):
                    return job
            if not self._wait(0 if self._missing else None):
                self._import_next()

    def end(self) -> None:
        """Kill what the forks started; the forks themselves die with this process."""
        for job in self._jobs:
            if job.pid:
                job.signal_group(signal.SIGKILL)

    def _import_next(self) -> None:
        # Clients wait for it: each fork would need longer to import it itself.
        wanted = [job.module for job in self._jobs if not job.pid]
        module = next(module for module in [*wanted, *self._missing] if module in self._missing)
        names = self._missing[module] = [name for name in self._missing[module] if name not in sys.modules]
        if names:
            with preloading():
                load(names.pop(0))
        else:
            del self._missing[module]

    def _wait(self, milliseconds: int | None) -> bool:
        """Wait for one event and handle it; return False if there was none."""
        handlers: dict[int, Callable[[], None]] = {}
        if not self._is_over:
            handlers |= {self._ending: self._stop, self._listener.fileno(): self._accept}
        for job in self._jobs:
            if job.pid:
                handlers |= {job.ending: partial(self._reap, job), job.client.fileno(): partial(self._hear, job)}
        poller = select.poll()
        for number in handlers:
            poller.register(number, select.POLLIN)
        events = poller.poll(milliseconds)
        for number, _ in events[:1]:
            handlers[number]()
        return bool(events)

    def _stop(self) -> None:
        self._is_over = True
        self._missing.clear()
        for job in [job for job in self._jobs if not job.pid]:
            self._drop(job)

    def _drop(self, job: Job) -> None:
        self._jobs.remove(job)
        job.close()

    def _finish(self) -> bool:
        """Run the last module as if the last stage's client had asked for it; return whether there is one."""
        if not self._finish_with or not self._served:
            return False
        last = self._served[-1].request
        cwd = last["environ"].get("DVC_ROOT") or last["cwd"]
        module, *arguments = self._finish_with.split()
        request = last | {"module": module, "arguments": arguments, "cwd": cwd}
        self._finish_with = ""
        client, self._own_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._jobs.append(Job(client, os.getpid(), request, [os.dup(number) for number in range(3)]))
        signal.signal(signal.SIGALRM, lambda *_: sys.exit())
        signal.alarm(FINISH_SECONDS)
        return True

    def _accept(self) -> None:
        with suppress(OSError, ValueError, LookupError, TypeError), ExitStack() as stack:
            client = stack.enter_context(self._listener.accept()[0])
            pid, user = peer_of(client)
            # A fork would lack the threads of a server that has any.
            if user != os.getuid() or self._owner not in ancestors(pid) or is_threaded():
                return
            client.settimeout(REQUEST_SECONDS)
            content, files, _, _ = socket.recv_fds(client, REQUEST_SIZE, 3)
            job = Job(client, pid, {}, files)
            stack.callback(job.close_files)
            job.request = json.loads(content)
            if job.request["settings"] == self._settings and len(files) == 3:
                client.settimeout(None)
                self._jobs.append(job)
                stack.pop_all()

    def _start_fork(self, job: Job) -> bool:
        """Start a fork; return whether this is the fork."""
        if is_threaded() or select.select([job.client], [], [], 0)[0]:
            # A client that is gone, or that received a signal, does itself what there is to do.
            self._drop(job)
            return False
        is_first = all(job.module != served.module for served in self._served)
        job.learn_as = job.module if is_first else LATER
        # Signals that arrive before the command starts are for the command.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
        try:
            job.pid = os.fork()
            if not job.pid:
                self._forget_all_but(job)
                return True
            job.ending = os.pidfd_open(job.pid)
            job.close_files()
            self._served.append(job)
        except OSError:
            # There is no space for a process or a file descriptor.
            if job.pid:
                os.kill(job.pid, signal.SIGKILL)
                os.waitpid(job.pid, 0)
            self._drop(job)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return False

    def _forget_all_but(self, job: Job) -> None:
        """Close and reset in a fork what belongs to the server."""
        for number in (signal.SIGTERM, signal.SIGALRM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        for other in self._jobs:
            if other is not job:
                other.close()
        self._listener.close()
        os.close(self._ending)

    def _hear(self, job: Job) -> None:
        """Pass on a signal; kill the fork of a client that is gone."""
        try:
            received = job.client.recv(1)
        except OSError:
            received = b""
        if not received:
            job.signal_group(signal.SIGKILL)
            self._reap(job)
        elif received == RECEIVED:
            # Processes that the fork left running go on, as they would without a server.
            self._reap(job)
        elif received[0] in (signal.SIGTSTP, signal.SIGCONT):
            # No terminal stops a session of its own.
            job.signal_group(signal.SIGSTOP if received[0] == signal.SIGTSTP else signal.SIGCONT)
        else:
            os.kill(job.pid, received[0])

    def _reap(self, job: Job) -> None:
        _, status = os.waitpid(job.pid, 0)
        with suppress(OSError):
            job.client.send(str(status).encode())
        self._drop(job)
        if not self._is_over:
            # The other stages may need it, too.
            self._missing.setdefault(LATER, []).extend(read_learned().get(job.learn_as, []))


def main(listener: int, folder: str, **options: Any) -> None:
    """Serve, delete the folder and exit.

    Args:
        listener: File descriptor of the listening socket.
        folder: Folder of the server.
        options: The other arguments of `Server`.
    """
    pid, code, server = os.getpid(), 1, None
    # What a library creates on import, like matplotlib without a home folder, is deleted at the end.
    tempfile.tempdir = folder
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    fork = Fork()
    try:
        server = Server(socket.socket(fileno=listener), **options)
        job = server.serve()
        code = 0
    finally:
        if os.getpid() == pid:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if server:
                server.end()
            shutil.rmtree(folder, ignore_errors=True)
            # Exit handlers that the imports registered are for the forks.
            os._exit(code)
    if job:
        fork.become(job)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
