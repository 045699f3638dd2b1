"""The application: its paths, keys and limits."""

import asyncio
import base64
import hmac
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, Response

from src.config.service import Serve
from src.service.endpoint import metrics
from src.service.endpoint.batches import Batcher, Item
from src.service.endpoint.errors import RequestError
from src.service.endpoint.load import Served
from src.service.endpoint.openapi import describe, render_page
from src.service.endpoint.predictor import Prediction
from src.service.endpoint.rows import (
    SUFFIXES,
    convert_content,
    count_rows,
    parse_json,
    read_table,
    too_large,
    too_many_rows,
)

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
JSON = (b"content-type", b"application/json")
# Larger bodies are converted in a thread, because other requests would wait.
LARGE_BYTES = 64 * 1024
# Health checks need no key.
OPEN_PATHS = ("/ping", "/health", "/ready")
# Bodies that are read and converted at once have at most so many times the size of the largest one.
MAX_BODIES = 4
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,200}")


class Endpoint:
    """The ASGI application. Predictions are answered here, everything else by FastAPI."""

    def __init__(self, settings: Serve, keys: list[bytes], batcher: Batcher) -> None:
        self._settings, self._keys, self._batcher = settings, keys, batcher
        self._max_bytes = settings.max_body_mb * 1_000_000
        self._n_bytes = 0
        self._renders = {"/predict": render_rows, "/invocations": render_labels}
        self._other = make_app(batcher)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        path, started = scope["path"], time.perf_counter()
        render = self._renders.get(path)
        try:
            headers = dict(scope["headers"])
            if self._keys and path not in OPEN_PATHS:
                self._check_key(headers)
            if render is None:
                try:
                    await self._other(scope, receive, send)
                # FastAPI has answered already.
                except Exception:
                    logger.exception("a request failed")
                return
            if scope["method"] != "POST":
                raise RequestError(405, "predictions need POST", {"allow": "POST"}, allowed="POST")
            content = await self._predict(headers, receive, render)
            status, more = 200, [JSON]
        except RequestError as error:
            content, status = orjson.dumps(error.content, default=str), error.status
            more = [JSON, *((name.encode(), value.encode()) for name, value in error.headers.items())]
        except Exception:
            logger.exception("a request failed")
            content, status, more = b'{"error":"the request failed; see the log"}', 500, [JSON]
        length = (b"content-length", str(len(content)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [*more, length]})
        await send({"type": "http.response.body", "body": content})
        if render is not None:
            metrics.REQUESTS.labels(path, status).inc()
            metrics.LATENCY.observe(time.perf_counter() - started)

    def _check_key(self, headers: dict[bytes, bytes]) -> None:
        given = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        if given.startswith(b"Basic "):
            # A browser asks for the key of /docs as for a password. Chromium does so only without another scheme.
            with suppress(ValueError):
                given = base64.b64decode(given.removeprefix(b"Basic ")).partition(b":")[2]
        # All keys are compared, so that the time reveals nothing.
        if not sum(hmac.compare_digest(given, key) for key in self._keys):
            raise RequestError(
                401,
                "the API key is missing or wrong",
                {"www-authenticate": 'Basic realm="API key as password"', "connection": "close"},
                allowed="Authorization: Bearer KEY, or X-API-Key: KEY",
            )

    async def _predict(self, headers: dict[bytes, bytes], receive: Receive, render: Any) -> bytes:
        given = headers.get(b"x-request-id", b"")
        name = given.decode() if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        kind = headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower().decode("latin-1")
        suffix = SUFFIXES.get(kind)
        if suffix is None and kind != "application/json":
            raise RequestError(
                415,
                f"Content-Type {kind[:100]!r} is unknown",
                {"connection": "close"},
                allowed=["application/json", *SUFFIXES],
            )
        if encoding := headers.get(b"content-encoding", b"").decode("latin-1"):
            raise RequestError(
                415, f"Content-Encoding {encoding[:100]!r} is not supported", {"connection": "close"}, allowed="none"
            )
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        body = bytearray()
        try:
            await self._read(body, headers, receive)
            if suffix is None and len(body) <= LARGE_BYTES:
                content = parse_json(bytes(body))
                n_rows = count_rows(content)
                if n_rows > self._settings.max_rows:
                    raise too_many_rows(self._settings.max_rows)
                item = Item(name, n_rows, render, future, content)
            else:
                served, max_rows = self._batcher.served, self._settings.max_rows
                X = await asyncio.to_thread(_read_large, bytes(body), suffix, served, max_rows, self._max_bytes)
                item = Item(name, len(X), render, future, X=X, served=served)
        finally:
            self._n_bytes -= len(body)
        self._batcher.put(item)
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await future
        except TimeoutError:
            raise RequestError(503, "the prediction took too long", {"retry-after": "1"}) from None

    async def _read(self, body: bytearray, headers: dict[bytes, bytes], receive: Receive) -> None:
        declared = headers.get(b"content-length", b"0")
        if len(declared) > 18 or int(declared) > self._max_bytes:
            raise too_large("the body", self._max_bytes)
        seconds = self._settings.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        # The first rows of a table would be a table, too.
                        raise RequestError(400, "the client disconnected before its request was complete")
                    body += (part := message.get("body", b""))
                    self._n_bytes += len(part)
                    if len(body) > self._max_bytes:
                        raise too_large("the body", self._max_bytes)
                    if self._n_bytes > MAX_BODIES * self._max_bytes:
                        raise RequestError(
                            503, "too many large requests at once; try again",
                            {"retry-after": "1", "connection": "close"},
                        )  # fmt: skip
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise RequestError(
                408, "the body arrived too slowly", {"connection": "close"}, allowed=f"{seconds} s"
            ) from None
        if not body:
            raise RequestError(400, "the body is empty", allowed="rows as JSON, CSV or Parquet")


def _read_large(body: bytes, suffix: str | None, served: Served, max_rows: int, max_bytes: int) -> Any:
    if suffix:
        return read_table(body, suffix, served, max_rows, max_bytes)
    content = parse_json(body)
    if count_rows(content) > max_rows:
        raise too_many_rows(max_rows)
    return convert_content(content, served)


def render_rows(item: Item, prediction: Prediction, served: Served) -> bytes:
    """Return the answer of `/predict`."""
    labels = prediction.labels.tolist()
    if prediction.probabilities is None or served.predictor.classes is None:
        rows = [{"prediction": label} for label in labels]
    else:
        classes = [str(label) for label in served.predictor.classes]
        rows = [
            {"prediction": label, "probabilities": dict(zip(classes, row, strict=True))}
            for label, row in zip(labels, prediction.probabilities.tolist(), strict=True)
        ]
    return orjson.dumps({"predictions": rows, "model": served.label, "id": item.id})


def render_labels(item: Item, prediction: Prediction, served: Served) -> bytes:  # noqa: ARG001 - one signature
    """Return the answer of `/invocations`, as MLflow's scoring server writes it."""
    return orjson.dumps({"predictions": prediction.labels.tolist()})


def make_app(batcher: Batcher) -> FastAPI:
    """Make the application for everything but predictions."""
    app = FastAPI(docs_url=None, redoc_url=None)

    def openapi() -> dict[str, Any]:
        base = get_openapi(title="Predictions", version="1", routes=app.routes)
        return describe(batcher.served, base)

    # FastAPI would keep the description of the first model.
    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents

    @app.get("/ping", include_in_schema=False)
    @app.get("/health")
    @app.get("/ready")
    async def health() -> dict[str, str]:
        """Return that the endpoint answers; it is ready as soon as it does."""
        return {"status": "ok", "model": batcher.served.label}

    @app.get("/version")
    async def version() -> dict[str, Any]:
        """Return which model is served, with its commit and MD5s."""
        return batcher.served.about

    @app.get("/metrics", response_class=Response)
    def show_metrics() -> Response:
        """Return the metrics of all workers for Prometheus."""
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(render_page(batcher.served))

    @app.exception_handler(404)
    @app.exception_handler(405)
    async def unknown(_request: Any, error: Any) -> JSONResponse:
        content = {"error": str(error.detail), "allowed": ["/predict", "/invocations", "/version", "/metrics", "/docs"]}
        return JSONResponse(content, error.status_code, headers=error.headers)

    return app
