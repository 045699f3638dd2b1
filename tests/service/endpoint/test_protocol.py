"""What arrives on a connection: too slowly, or too much of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from src.service.endpoint.worker import Protocol

SECONDS = 0.1
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
MEGABYTE = b"x" * 1_000_000
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def unread(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer without reading the body."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def never(_scope: Any, receive: Any, _send: Any) -> None:
    """Read without ever answering."""
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def connected(app: Any) -> AsyncIterator[Connection]:
    class Quick(Protocol):
        seconds = SECONDS

    config, state, loop = (
        uvicorn.Config(app, lifespan="off", log_level="error"),
        ServerState(),
        asyncio.get_running_loop(),
    )
    config.load()
    server = await loop.create_server(lambda: Quick(config, state, {}, loop), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    yield reader, writer
    writer.close()
    server.close()
    await asyncio.gather(*state.tasks)


def run(test: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], app: Any = never) -> None:
    async def whole() -> None:
        async with connected(app) as connection, asyncio.timeout(30):
            await test(*connection)

    asyncio.run(whole())


async def send(writer: asyncio.StreamWriter, part: bytes, n_parts: int) -> int:
    """Send parts until the connection is closed, and return how many were sent."""
    for number in range(n_parts):
        try:
            writer.write(part)
            await writer.drain()
        except ConnectionError:
            return number
    return n_parts


@pytest.mark.parametrize("start", [b"", HEAD, HEAD + b"X-A: b\r\n"])
def test_headers_that_arrive_too_slowly_end_the_connection(start: bytes) -> None:
    async def test(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        assert await reader.read() == b""

    run(test)


def test_a_body_that_is_not_read_ends_the_connection_however_slowly_it_arrives() -> None:
    async def test(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")
        assert await send_slowly(writer) < 1000

    async def send_slowly(writer: asyncio.StreamWriter) -> int:
        for number in range(1000):
            if await send(writer, b"x", 1) == 0:
                return number
            await asyncio.sleep(SECONDS / 10)
        return 1000

    run(test, unread)


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (HEAD, b"X-A: " + b"b" * 1000 + b"\r\n"),
        (HEAD + b"X-A: ", MEGABYTE),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: ", MEGABYTE),
    ],
)
def test_headers_and_trailers_without_end_are_refused(start: bytes, part: bytes) -> None:
    async def test(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        # Most of what was sent is in the buffers of the system.
        n_bytes = await send(writer, part, 100_000_000 // len(part)) * len(part)
        assert n_bytes < 50_000_000

    run(test)
