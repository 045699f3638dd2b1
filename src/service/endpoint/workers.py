"""The main process: it accepts connections, hands them to the workers in turn, and replaces workers that end."""

import contextlib
import ctypes
import logging
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client.multiprocess import mark_process_dead

from src import errors
from src.errors import TrackingError
from src.service.endpoint.worker import FAILED, READY, start_worker

logger = logging.getLogger(__name__)

BYTE = b"c"
# A worker that ends at once is not started in a busy loop.
PAUSE_SECONDS = 1.0
SHORT_SECONDS = 0.02
# Linux only: a BPF packet filter that drops SYN, the first packet of a connection.
SO_ATTACH_FILTER = 26
DROP_SYN = [(0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF)]
# Time for handshakes that have begun.
HANDSHAKE_SECONDS = 0.1


@dataclass(eq=False)
class Worker:
    """A process that answers requests.

    Attributes:
        channel: Carries its messages, and connections to it; closed to end it.
    """

    pid: int
    channel: socket.socket
    is_ready: bool = False


class Workers:
    """The workers of one listening socket."""

    def __init__(self, listener: socket.socket, n_workers: int, *arguments: object) -> None:
        self._listener, self._n_workers, self._arguments = listener, n_workers, arguments
        self._listener.setblocking(False)
        # What a new worker loads first; the champion may have been refused.
        self._last_uri = ""
        self._workers: list[Worker] = []
        self._selector = selectors.DefaultSelector()
        self._next = 0
        self._is_stopping = False
        self._begin_again_at = 0.0

    def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until SIGTERM, SIGINT, or the end of the terminal.

        Raises:
            TrackingError: The first workers cannot load the model.
        """
        wake, wakened = socket.socketpair()
        wake.setblocking(False)
        wakened.setblocking(False)
        signal.set_wakeup_fd(wakened.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        # `nohup` ignores it.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(wake, selectors.EVENT_READ)
        try:
            for _ in range(self._n_workers):
                self._start()
            self._wait_until_ready(wake)
            if not self._is_stopping:
                on_ready()
                self._selector.register(self._listener, selectors.EVENT_READ)
            while not self._is_stopping:
                self._step(wake)
            # Connections in the backlog are served, and none arrives between the last accept and the close.
            _refuse_connections(self._listener)
            self._accept()
        finally:
            signal.set_wakeup_fd(-1)
            self._listener.close()
            for worker in self._workers:
                worker.channel.close()
            for worker in self._workers:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(worker.pid, 0)

    def _stop(self, *_: object) -> None:
        self._is_stopping = True

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        # A worker that hangs must not stop the others.
        ours.setblocking(False)
        inherited = [ours, *(worker.channel for worker in self._workers)]
        pid = start_worker(theirs, inherited, self._listener, self._last_uri, *self._arguments)
        theirs.close()
        self._workers.append(Worker(pid, ours))
        self._selector.register(ours, selectors.EVENT_READ)

    def _wait_until_ready(self, wake: socket.socket) -> None:
        while not self._is_stopping and not all(worker.is_ready for worker in self._workers):
            if self._read_messages(self._selector.select(), wake) and not self._is_stopping:
                raise TrackingError("a worker ended before it was ready; see the log.")

    def _step(self, wake: socket.socket) -> None:
        n_missing = self._n_workers - len(self._workers)
        events = self._selector.select(PAUSE_SECONDS if n_missing else None)
        self._read_messages(events, wake)
        if any(key.fileobj is self._listener for key, _ in events):
            self._accept()
        if len(self._workers) < self._n_workers and time.monotonic() >= self._begin_again_at:
            self._begin_again_at = time.monotonic() + PAUSE_SECONDS
            self._start()

    def _read_messages(self, events: list[tuple[selectors.SelectorKey, int]], wake: socket.socket) -> bool:
        """Read the messages of the workers, and return whether one has ended."""
        has_ended = False
        for key, _ in events:
            if key.fileobj is wake:
                with contextlib.suppress(BlockingIOError):
                    wake.recv(4096)
            worker = next((worker for worker in self._workers if worker.channel is key.fileobj), None)
            if worker is None:
                continue
            try:
                message = worker.channel.recv(4096)
            except ConnectionError:
                message = b""
            for line in message.splitlines():
                text = line[1:].decode(errors="replace")
                if line.startswith(READY):
                    worker.is_ready, self._last_uri = True, text
                elif line.startswith(FAILED):
                    self._last_uri = ""
                    if not self._selector.get_map().get(self._listener.fileno()):
                        kind, _, reason = text.partition(": ")
                        raise getattr(errors, kind, TrackingError)(reason)
                    logger.error("%s", text)
            if not message:
                has_ended = True
                self._forget(worker)
        return has_ended

    def _forget(self, worker: Worker) -> None:
        self._selector.unregister(worker.channel)
        worker.channel.close()
        self._workers.remove(worker)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(worker.pid, 0)
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # it has no types
        if not self._is_stopping:
            logger.warning("a worker has ended; starting another one")

    def _accept(self) -> None:
        # Without a worker that is ready, clients wait in the backlog.
        while any(worker.is_ready for worker in self._workers):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError as error:
                # Too many open files: those who wait are served when others have ended.
                logger.warning("a connection was not accepted: %s", error)
                time.sleep(SHORT_SECONDS)
                return
            with connection:
                while self._is_handing_on(connection) and not self._is_stopping:
                    time.sleep(SHORT_SECONDS)
        time.sleep(SHORT_SECONDS)

    def _is_handing_on(self, connection: socket.socket) -> bool:
        """Give a connection to the next worker, and return whether it must be tried again."""
        ready, is_full = [worker for worker in self._workers if worker.is_ready], False
        for _ in ready:
            self._next += 1
            try:
                socket.send_fds(ready[self._next % len(ready)].channel, [BYTE], [connection.fileno()])
                return False
            except BlockingIOError:
                is_full = True
            except OSError:
                continue
        return is_full


def _refuse_connections(listener: socket.socket) -> None:
    """Begin no new connection, and let those that have begun become complete."""
    if sys.platform == "linux":
        instructions = b"".join(struct.pack("HBBI", *instruction) for instruction in DROP_SYN)
        program = ctypes.create_string_buffer(instructions)
        # Some sandboxes refuse filters; then only the last connections may be lost.
        with contextlib.suppress(OSError):
            listener.setsockopt(
                socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(DROP_SYN), ctypes.addressof(program))
            )
        time.sleep(HANDSHAKE_SECONDS)
