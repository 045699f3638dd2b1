"""A process that answers requests on the connections that it is handed."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from src.config.schema import Config
from src.errors import PipelineError
from src.service.endpoint import metrics
from src.service.endpoint.app import Endpoint
from src.service.endpoint.batches import Batcher, Done
from src.service.endpoint.load import Served, follows_alias, load_served
from src.service.endpoint.record import Recorder
from src.service.endpoint.watch import Watcher
from src.service.registry.registered import PREFIX
from src.text import one_line

logger = logging.getLogger(__name__)

READY, FAILED = b"+", b"-"
# The event loop takes the GIL anew for each connection, and waits up to one interval while the prediction thread
# computes. Python's 5 ms would add up over many connections.
SWITCH_SECONDS = 0.0002
MAX_FDS = 16
# Of a request, without its body: the headers, the sizes of chunks and the trailers.
MAX_HEADER_BYTES = 4 * 2**20
# An open connection may send one more request while the endpoint ends.
GRACE_SECONDS = 1.0


def run_worker(
    channel: socket.socket,
    first: str,
    root: Path,
    uri: str | None,
    tag: str | None,
    config: Config,
    keys: list[bytes],
) -> None:
    """Load the model, and answer requests until the channel is closed.

    Args:
        first: URI of the version that the other workers serve; empty if there are none.
        uri: What to follow, or None.
    """
    try:
        served = load_served(root, first or uri, tag)
    except (PipelineError, OSError) as error:
        # Another worker may have failed first, so that the main process has ended.
        with contextlib.suppress(ConnectionError):
            channel.sendall(FAILED + one_line(f"{type(error).__name__}: {error}", 1000).encode() + b"\n")
        sys.exit(2)
    sys.setswitchinterval(SWITCH_SECONDS)
    # It would warn about unused columns at each request.
    logging.getLogger("src.predict").setLevel(logging.ERROR)
    # What is imported and loaded stays: a full collection of it would take 100 ms.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(channel, root, uri, served, config, keys))


async def _serve(
    channel: socket.socket, root: Path, uri: str | None, served: Served, config: Config, keys: list[bytes]
) -> None:
    settings = config.serve
    recorder = Recorder(root / "data" / "requests", settings.record)

    def finish(used: Served, done: list[Done]) -> None:
        if done:
            metrics.BATCH_ROWS.observe(sum(len(X) for _, X, _ in done))
        metrics.QUEUE_ROWS.set(batcher.n_waiting)
        # A batch at once: slices of a table cost more than their prediction.
        for items, X, prediction in done:
            recorder.put([(item.id, item.n_rows) for item in items], items[0].served or used, X, prediction)
        metrics.RECORD_DROPPED.set(recorder.n_dropped)
        metrics.RECORD_FAILED.set(recorder.n_failed)

    batcher = Batcher(served, settings.max_queue, finish)
    metrics.MODEL_WORKERS.labels(served.label).set(1)

    def swap(new: Served) -> None:
        metrics.MODEL_WORKERS.labels(batcher.served.label).set(0)
        batcher.served = new
        metrics.MODEL_WORKERS.labels(new.label).set(1)
        metrics.SWAPS.inc()
        server.report(new)

    options = uvicorn.Config(
        Endpoint(settings, keys, batcher),
        http=Protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        # Otherwise each connection that does not speak HTTP would be logged.
        log_level="error",
        server_header=False,
        # The body and the prediction may take so long each.
        timeout_graceful_shutdown=2 * int(settings.timeout_seconds) + 2,
    )
    Protocol.seconds = settings.timeout_seconds
    server = Server(options, channel, served)
    watcher = None
    if uri and follows_alias(uri):
        watcher = Watcher(root, uri, settings.poll_seconds, served, swap, metrics.REFUSED_SWAPS.inc)
    await server.serve()
    if watcher:
        watcher.close()
    batcher.close()
    recorder.close()


class Protocol(HttpToolsProtocol):
    """HTTP, with limits for the time and the size of what arrives, and without lost requests at the end.

    Attributes:
        seconds: Time in which the headers must arrive. The application limits that of the body.
    """

    seconds = 30.0
    _timer: asyncio.TimerHandle | None = None
    _has_headers = False
    _n_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.seconds, self._end_late)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        self._n_bytes += len(data)
        if self._timer is None:
            self._timer = self.loop.call_later(self.seconds, self._end_late)
        if self._n_bytes > MAX_HEADER_BYTES:
            self.send_400_response("The headers are too large.")
        else:
            super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin to wait for headers."""
        if self._timer is None:
            self._timer = self.loop.call_later(self.seconds, self._end_late)
        self._has_headers = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Handle the request."""
        self._has_headers = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, whose size the application limits."""
        self._n_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the timer: the request is complete."""
        self._cancel_timer()
        self._n_bytes = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer, which would keep the connection in memory."""
        self._cancel_timer()
        super().connection_lost(exc)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_late(self) -> None:
        if self._has_headers:
            # The application refuses a body that is late. This is for one that it does not read.
            self._has_headers = False
            self._timer = self.loop.call_later(self.seconds + 1, self._end_late)
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """Let an active request finish, and an idle connection send one more, then close."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(GRACE_SECONDS, super().shutdown)
        else:
            self.cycle.default_headers = self.server_state.default_headers
            super().shutdown()


class Server(uvicorn.Server):
    """Uvicorn's server on connections that the main process accepts and hands on."""

    def __init__(self, config: uvicorn.Config, channel: socket.socket, served: Served) -> None:
        super().__init__(config)
        self._channel, self._served = channel, served

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the main process, which closes the channel."""
        yield

    def report(self, served: Served) -> None:
        """Send the URI of the registered model that is served to the main process, which may be about to end."""
        uri = "" if served.about["version"] is None else f"{PREFIX}{served.label}"
        with contextlib.suppress(OSError):
            self._channel.send(READY + uri.encode() + b"\n")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - of uvicorn
        """Report to the main process, and take connections."""
        self.servers = []
        self._channel.setblocking(False)
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._take)
        self.report(self._served)
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer the last requests, and close all connections."""
        # Clients learn that they must not send another request.
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        await super().shutdown(sockets)

    def _take(self) -> None:
        try:
            message, handles, *_ = socket.recv_fds(self._channel, MAX_FDS, MAX_FDS)
        except BlockingIOError:
            return
        except ConnectionError:
            message, handles = b"", []
        if message and not handles:
            logger.warning("a connection was lost: too many open files")
        loop = asyncio.get_running_loop()
        for handle in handles:
            connection = socket.socket(fileno=handle)
            connection.setblocking(False)
            task = loop.create_task(loop.connect_accepted_socket(self._make_protocol, connection))
            self.server_state.tasks.add(task)  # type: ignore[arg-type]  # it has a result, which uvicorn ignores
            task.add_done_callback(self.server_state.tasks.discard)
        if not message:
            # The main process is about to end, or has been killed.
            loop.remove_reader(self._channel.fileno())
            self.should_exit = True

    def _make_protocol(self) -> asyncio.Protocol:
        return Protocol(self.config, self.server_state, {}, asyncio.get_running_loop())


def start_worker(
    channel: socket.socket, inherited: list[socket.socket], listener: socket.socket, *arguments: Any
) -> int:
    """Fork a worker, and return its process id.

    Args:
        channel: Its end of the channel.
        inherited: Sockets of the main process, which the worker closes: it sees the end of its own channel only if no
            other process holds the other end.
    """
    if pid := os.fork():
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        # A terminal or a service manager may send them to all processes; the main process ends the workers.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for each in (*inherited, listener):
            each.close()
        run_worker(channel, *arguments)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        logger.exception("a worker failed")
    finally:
        sys.stderr.flush()
        os._exit(code)
