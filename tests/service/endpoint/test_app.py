"""The application in this process: limits, faults and equal answers for a table with columns of every kind."""

import asyncio
import base64
import gzip
import html
import io
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.config.data_load import TableFile
from src.config.service import Serve
from src.service.endpoint.app import MAX_BODIES, Endpoint
from src.service.endpoint.batches import Batcher
from src.service.endpoint.load import Served
from src.service.endpoint.openapi import describe, render_page
from src.service.endpoint.predictor import Prediction, Predictor
from src.train.fit import fit_model
from tests.config.conftest import VALID
from tests.train.tables import COLUMNS, make_config, make_table

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
ROWS: list[dict[str, Any]] = [
    {"height": 1.5, "weight": 3, "colour": "red", "size": "S", "postcode": "p01", "member": True,
     "day": "2026-01-31", "clinic": "a", "review": "good, but \"old\"", "price": "12.50 EUR"},
    {"height": None, "weight": None, "colour": None, "size": None, "postcode": None, "member": None,
     "day": None, "clinic": None, "review": None, "price": None},
    {"height": -1e-3, "weight": 10, "colour": "never <b>seen</b>", "size": "XXL", "postcode": "007", "member": False,
     "day": "2026-02-01T12:30:00.5", "clinic": "ü😀", "review": "new\nline", "price": "7"},
]  # fmt: skip
ROW = ROWS[0]


class SlowPredictor(Predictor):
    """Predicts when it may.

    Attributes:
        began: Is set when a prediction begins.
        may_end: Lets predictions end.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.began, self.may_end = threading.Event(), threading.Event()
        self.n_rows: list[int] = []

    def predict(self, X: pd.DataFrame) -> Prediction:
        self.n_rows.append(len(X))
        self.began.set()
        self.may_end.wait(30)
        return super().predict(X)


@cache
def fitted() -> Any:
    table = make_table()
    table["price"] = table["weight"] * 2
    columns = COLUMNS | {"price": {"kind": "number", "unit": "EUR"}}
    return fit_model(table, columns, make_config(search={"kind": "none"})).model


class Client:
    """Calls an application without a network."""

    def __init__(self, endpoint: Endpoint, predictor: Any) -> None:
        self.predictor, self._endpoint = predictor, endpoint

    async def send(
        self,
        body: bytes | Iterable[bytes],
        kind: str = JSON,
        path: str = "/predict",
        is_whole: bool = True,
        is_gone: bool = False,
        **more: str,
    ) -> tuple[int, Any, dict[str, str]]:
        """Send a body, in chunks if it is not bytes, and return status, answer and headers.

        Args:
            is_whole: Whether the body ends, or the client sends no more.
            is_gone: Whether the client closes the connection afterwards.
        """
        headers = {"content-type": kind, **{name.replace("_", "-"): value for name, value in more.items()}}
        if isinstance(body, bytes):
            headers = {"content-length": str(len(body))} | headers
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": True}
            for part in ([body] if isinstance(body, bytes) else body)
        ]
        if messages:
            messages[-1]["more_body"] = not is_whole
        if is_gone:
            messages.append({"type": "http.disconnect"})
        answer: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0) if messages else await asyncio.Future()

        async def collect(message: Any) -> None:
            answer.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "root_path": "",
                 "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}  # fmt: skip
        await self._endpoint(scope, receive, collect)
        start, end = answer
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return start["status"], json.loads(end["body"]), found

    async def predict(self, content: Any, **more: Any) -> tuple[int, Any, dict[str, str]]:
        return await self.send(json.dumps(content).encode(), **more)


@asynccontextmanager
async def started(make: Callable[[Any], Any] = Predictor, **settings: Any) -> AsyncIterator[Client]:
    predictor, keys = make(fitted()), settings.pop("keys", [])
    batcher = Batcher(
        Served(predictor, TableFile(), {"model": "table/1"}), settings.get("max_queue", 1000), lambda *_: None
    )
    yield Client(Endpoint(Serve.model_validate(VALID["serve"] | settings), keys, batcher), predictor)
    await asyncio.to_thread(batcher.close)


def run(test: Callable[[Client], Awaitable[None]], make: Callable[[Any], Any] = Predictor, **settings: Any) -> None:
    async def whole() -> None:
        async with started(make, **settings) as client:
            await test(client)

    asyncio.run(whole())


def test_json_csv_and_parquet_give_equal_answers_for_columns_of_every_kind() -> None:
    table = pd.DataFrame(ROWS)
    typed, parquet, texts = table.astype({"height": float, "weight": float}), io.BytesIO(), io.BytesIO()
    typed["day"] = pd.to_datetime(typed["day"], format="ISO8601")
    typed.astype({"member": "boolean"}).to_parquet(parquet)
    table.astype({"weight": "Int64"}).to_parquet(texts)

    async def test(client: Client) -> None:
        wanted = (await client.predict(ROWS))[1]["predictions"]
        assert len(wanted) == len(ROWS)
        bodies: list[tuple[bytes, str]] = [
            (json.dumps({"columns": {name: [row[name] for row in ROWS] for name in ROW}}).encode(), JSON),
            (json.dumps([row | {"more": [1]} for row in ROWS]).encode(), JSON),
            # Large bodies take another way.
            (json.dumps([row | {"more": "x" * 40_000} for row in ROWS]).encode(), JSON),
            (table.astype({"weight": "Int64"}).to_csv(index=False).encode(), CSV),
            (parquet.getvalue(), PARQUET),
            (texts.getvalue(), PARQUET),
        ]
        for body, kind in bodies:
            status, answer, _ = await client.send(body, kind)
            assert (status, answer.get("predictions")) == (200, wanted), (body[:80], answer)
        # A row gets the same answer alone.
        alone = [(await client.predict(row))[1]["predictions"][0] for row in ROWS]
        assert [row["prediction"] for row in alone] == [row["prediction"] for row in wanted]

    run(test)


@pytest.mark.parametrize(
    "day", ["3000-01-01", "9999-12-31T23:59:59", "1500-01-01", "0001-01-01", "10000-01-01", "-5", "0000-00-00"]
)
def test_a_date_of_any_year_is_predicted_or_refused(day: str) -> None:
    async def test(client: Client) -> None:
        status, answer, _ = await client.predict([ROW | {"day": day}])
        assert status in (200, 422), answer
        assert status == 200 or (answer["field"], answer["value"]) == ("day", day)
        body = pd.DataFrame([ROW | {"day": day}]).to_csv(index=False).encode()
        assert (await client.send(body, CSV))[0] == status

    run(test)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"x", {"content_length": "1000001"}),
        (b"x", {"content_length": "9" * 30}),
        ([b"x" * 600_000] * 2, {}),
        ([b"x" * 600_000] * 2, {"content_length": "5"}),
    ],
)
def test_a_body_that_is_too_large_is_refused(body: Any, headers: dict[str, str]) -> None:
    async def test(client: Client) -> None:
        status, answer, found = await client.send(body, **headers)
        assert (status, answer["allowed"]) == (413, "at most 1000000 bytes")
        # The rest of the body would be read as the next request.
        assert found["connection"] == "close"

    run(test, max_body_mb=1)


def test_a_request_with_too_many_rows_is_refused_in_every_format() -> None:
    table, parquet = pd.DataFrame([ROW] * 11), io.BytesIO()
    table.to_parquet(parquet)

    async def test(client: Client) -> None:
        bodies = [(json.dumps([ROW] * 11).encode(), JSON), (json.dumps([ROW | {"x": "y" * 9000}] * 11).encode(), JSON)]
        bodies += [(table.to_csv(index=False).encode(), CSV), (parquet.getvalue(), PARQUET)]
        for body, kind in bodies:
            status, answer, _ = await client.send(body, kind)
            assert (status, answer["allowed"]) == (413, "at most 10 rows"), kind
        assert (await client.predict([ROW] * 10))[0] == 200

    run(test, max_rows=10)


def test_a_full_queue_refuses_requests_with_a_time_to_wait() -> None:
    async def test(client: Client) -> None:
        first = asyncio.create_task(client.predict([ROW]))
        await asyncio.to_thread(client.predictor.began.wait)
        waiting = asyncio.create_task(client.predict([ROW] * 3))
        await asyncio.sleep(0)
        status, answer, headers = await client.predict([ROW])
        assert (status, headers["retry-after"]) == (503, "1"), answer
        client.predictor.may_end.set()
        assert [(await task)[0] for task in (first, waiting)] == [200, 200]
        assert (await client.predict([ROW]))[0] == 200

    run(test, SlowPredictor, max_queue=3)


def test_a_bad_row_fails_alone_in_its_batch() -> None:
    bad = [ROW | {"height": "tall"}, ROW | {"day": "soon"}, {"height": 1}, ROW | {"colour": ["red"]}]

    async def test(client: Client) -> None:
        first = asyncio.create_task(client.predict([ROW]))
        await asyncio.to_thread(client.predictor.began.wait)
        tasks = [asyncio.create_task(client.predict(row)) for row in [*ROWS, *bad, ROW]]
        await asyncio.sleep(0)
        client.predictor.may_end.set()
        answers = [await task for task in tasks]
        assert [status for status, *_ in answers] == [200] * 3 + [422] * 4 + [200]
        assert [answer["field"] for _, answer, _ in answers[3:7]] == ["height", "day", "weight", "colour"]
        labels = [answer["predictions"][0]["prediction"] for status, answer, _ in answers if status == 200]
        assert labels == [(await client.predict(row))[1]["predictions"][0]["prediction"] for row in [*ROWS, ROW]]
        assert (await first)[0] == 200
        # The good rows are predicted together, also with one whose numbers are texts.
        assert client.predictor.n_rows[:2] == [1, 4]

    run(test, SlowPredictor)


def test_large_requests_at_once_are_limited_in_bytes() -> None:
    async def test(client: Client) -> None:
        # Each waits for the rest of its body.
        tasks = [
            asyncio.create_task(client.send([b"[" + b" " * 900_000], is_whole=False)) for _ in range(MAX_BODIES + 1)
        ]
        answers = [await task for task in tasks]
        assert sorted(status for status, *_ in answers) == [408] * MAX_BODIES + [503]
        assert (await client.predict([ROW]))[0] == 200

    run(test, max_body_mb=1, timeout_seconds=0.3)


def test_rows_that_arrive_during_a_prediction_form_the_next_batch() -> None:
    async def test(client: Client) -> None:
        first = asyncio.create_task(client.predict([ROW]))
        await asyncio.to_thread(client.predictor.began.wait)
        tasks = [asyncio.create_task(client.predict(row)) for row in ROWS * 5]
        await asyncio.sleep(0)
        client.predictor.may_end.set()
        assert {(await task)[0] for task in [first, *tasks]} == {200}
        assert client.predictor.n_rows == [1, 15]

    run(test, SlowPredictor)


@pytest.mark.parametrize("body", [[], [b"[{"]])
def test_a_body_that_does_not_arrive_in_time_is_refused(body: list[bytes]) -> None:
    async def test(client: Client) -> None:
        status, answer, headers = await client.send(body, is_whole=False)
        assert (status, answer["allowed"], headers["connection"]) == (408, "0.05 s", "close")

    run(test, timeout_seconds=0.05)


def test_rows_of_a_client_that_goes_before_it_has_sent_all_are_not_predicted() -> None:
    table = pd.DataFrame(ROWS).to_csv(index=False).encode()

    async def test(client: Client) -> None:
        status, answer, _ = await client.send([table], CSV, is_whole=False, is_gone=True)
        assert (status, answer["error"]) == (400, "the client disconnected before its request was complete")
        assert client.predictor.n_rows == []

    run(test, SlowPredictor)


@pytest.mark.parametrize("sign", ["", "-"])
def test_an_infinite_number_is_refused_alike_in_every_format(sign: str) -> None:
    table, parquet, texts = pd.DataFrame([ROW, ROW]), io.BytesIO(), io.BytesIO()
    table["height"] = [1.5, float(f"{sign}inf")]
    table.to_parquet(parquet)
    table.astype({"height": str}).to_parquet(texts)
    rows = [json.dumps(ROW), json.dumps(ROW).replace("1.5", f"{sign}1e999")]
    bodies = [(f"[{','.join(rows)}]".encode(), JSON), (table.to_csv(index=False).encode(), CSV)]
    bodies += [(bodies[1][0].replace(b"inf", b"1e999"), CSV)]
    bodies += [(parquet.getvalue(), PARQUET), (texts.getvalue(), PARQUET)]

    async def test(client: Client) -> None:
        for body, kind in bodies:
            status, answer, _ = await client.send(body, kind)
            assert (status, answer["field"], answer["row"]) == (422, "height", 2), (body[:80], answer)
            assert (float(answer["value"]), answer["allowed"]) == (float(f"{sign}inf"), "finite numbers")
        # Neither of these is JSON.
        for word in ("Infinity", "NaN", "1e999, NaN", r'1e999, "\ud800"'):
            assert (await client.send(f"[{sign}{word}]".encode()))[0] == 400

    run(test)


def test_parquet_that_is_far_larger_than_its_file_is_refused() -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 1000), pa.array(["x" * 100_000]))
    table = pa.table({name: [value] * 1000 for name, value in ROW.items()})
    at = table.column_names.index("colour")

    async def test(client: Client) -> None:
        for column in (text, text.cast(pa.string()), text.cast(pa.large_binary())):
            parquet = io.BytesIO()
            pq.write_table(table.set_column(at, "colour", column), parquet)
            assert len(parquet.getvalue()) < 200_000
            status, answer, _ = await client.send(parquet.getvalue(), PARQUET)
            assert (status, answer["error"]) == (413, "the decompressed body is too large"), answer

    run(test, max_body_mb=1)


def test_damaged_or_nested_parquet_is_refused() -> None:
    parquet, nested = io.BytesIO(), io.BytesIO()
    pd.DataFrame([ROW]).to_parquet(parquet)
    pd.DataFrame([ROW | {"colour": ["red"]}]).to_parquet(nested)
    whole = parquet.getvalue()

    async def test(client: Client) -> None:
        for body in (whole[:-1], whole[:50], whole[4:], whole.replace(b"height", b"h\xffight"), b"PAR1"):
            status, answer, _ = await client.send(body, PARQUET)
            assert (status, "Parquet" in answer["error"]) == (422, True), answer
        status, answer, _ = await client.send(nested.getvalue(), PARQUET)
        assert (status, answer["field"]) == (422, "colour")

    run(test)


def test_a_compressed_body_is_refused() -> None:
    async def test(client: Client) -> None:
        status, answer, _ = await client.send(gzip.compress(json.dumps([ROW]).encode()), content_encoding="gzip")
        assert (status, answer["error"]) == (415, "Content-Encoding 'gzip' is not supported")

    run(test)


def test_a_browser_asks_for_the_key_and_sends_it_as_a_password() -> None:
    async def test(client: Client) -> None:
        status, _, headers = await client.predict([ROW])
        # Chromium asks for nothing if there is another scheme too.
        assert (status, headers["www-authenticate"]) == (401, 'Basic realm="API key as password"')
        for login, wanted in ((b"any:key", 200), (b"key:wrong", 401), (b"key", 401), (b":", 401)):
            given = f"Basic {base64.b64encode(login).decode()}"
            assert (await client.predict([ROW], authorization=given))[0] == wanted
        assert (await client.predict([ROW], authorization="Basic *"))[0] == 401

    run(test, keys=[b"key"])


def test_a_prediction_that_takes_too_long_is_given_up() -> None:
    async def test(client: Client) -> None:
        status, _, headers = await client.predict([ROW])
        assert (status, headers["retry-after"]) == (503, "1")
        client.predictor.may_end.set()

    run(test, SlowPredictor, timeout_seconds=0.05)


def test_the_page_and_the_description_hold_names_of_any_kind() -> None:
    name = """</textarea><script>alert("1")</script>\n😀'"""
    predictor: Any = SimpleNamespace(names=[name], columns={name: {"kind": "category"}}, classes=None)
    served = Served(predictor, TableFile(), {"model": f"{name}/1"})
    page = render_page(served)
    assert "<script>alert" not in page
    # A browser ignores the first newline of a text area.
    assert html.escape(json.dumps(name, ensure_ascii=False)) in page
    content = describe(served, {"info": {}})["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert content[JSON]["example"] == {"records": [{name: "text"}]}
