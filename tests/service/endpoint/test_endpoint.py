"""The endpoint as a real process: what requests get, and how it ends."""

import contextlib
import io
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings, strategies

from tests.pipeline.clone import wait_for
from tests.pipeline.conftest import template  # noqa: F401 - a fixture
from tests.pipeline.server import free_port
from tests.service.endpoint.running import JSON, KEY, ROW, Load, Running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:  # noqa: F811 - a fixture
    running = Running(template, log=tmp_path_factory.mktemp("endpoint") / "log")
    yield running
    # As a terminal does that is closed.
    for worker in psutil.Process(running.process.pid).children():
        worker.send_signal(signal.SIGHUP)
    assert running.stop(signal.SIGHUP) == 0


def test_json_csv_and_parquet_of_the_same_rows_get_the_same_answer(endpoint: Running) -> None:
    status, answer = endpoint.predict({"records": [ROW, ROW]})
    assert status == 200
    table, parquet = pd.DataFrame([ROW, ROW]).astype(float), io.BytesIO()
    table.to_parquet(parquet)
    for body, kind in ((table.to_csv(index=False).encode(), "text/csv"), (parquet.getvalue(), "application/parquet")):
        same = json.loads(endpoint.call("/predict", body, kind)[1])
        assert same["predictions"] == answer["predictions"]
    columns = {name: [value] * 2 for name, value in ROW.items()}
    assert endpoint.predict({"columns": columns})[1]["predictions"] == answer["predictions"]
    split = {"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())]}}
    labels = json.loads(endpoint.call("/invocations", json.dumps(split).encode())[1])
    assert labels == {"predictions": [answer["predictions"][0]["prediction"]]}


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"[NaN]", 400, None),
        (b"[" * 5000, 400, None),
        (b"[]", 422, None),
        (b"3", 422, None),
        (json.dumps([ROW | {"petal_width": "wide"}]).encode(), 422, "petal_width"),
        (json.dumps([ROW | {"petal_width": [1]}]).encode(), 422, "petal_width"),
        (b'[{"sepal_length": 1}]', 422, "sepal_width"),
    ],
)
def test_a_bad_request_is_refused_with_its_field(
    endpoint: Running, body: bytes, status: int, field: str | None
) -> None:
    code, answer = endpoint.call("/predict", body)
    assert (code, answer.get("field")) == (status, field)
    assert "Traceback" not in answer["error"]


def test_only_health_needs_no_key(endpoint: Running) -> None:
    for key in ("wrong", ""):
        assert endpoint.predict([ROW], key=key)[0] == 401
        assert endpoint.call("/version", key=key)[0] == 401
        assert endpoint.call("/health", key=key)[0] == 200


def test_clients_that_go_while_they_are_predicted_disturb_nobody(endpoint: Running) -> None:
    body = json.dumps([ROW] * 100).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", endpoint.port)) as connection:
            connection.sendall(head.encode() + body)
    assert endpoint.predict([ROW])[0] == 200
    assert "Traceback" not in endpoint.log.read_text()


def test_the_description_has_the_columns_of_the_model(endpoint: Running) -> None:
    description = json.loads(endpoint.call("/openapi.json")[1])
    content = description["paths"]["/predict"]["post"]["requestBody"]["content"][JSON]
    assert list(content["schema"]["anyOf"][0]["properties"]) == list(ROW)
    assert endpoint.predict(content["example"])[0] == 200
    assert b"https://" not in endpoint.call("/docs")[1]


def test_a_killed_worker_is_replaced(endpoint: Running) -> None:
    main = psutil.Process(endpoint.process.pid)
    killed = main.children()[0]
    killed.kill()
    wait_for(lambda: killed.pid not in {p.pid for p in main.children()} and len(main.children()) == 2)
    wait_for(lambda: endpoint.predict([ROW])[0] == 200)
    assert b"serve_requests_total" in endpoint.call("/metrics")[1]


@pytest.mark.parametrize(
    "options",
    [
        ("--port", "99999"),
        ("--tag", "v9", "--model", "m"),
        ("--tag", "v9"),
        ("--host", "0.0.0.0"),  # noqa: S104 - must be refused
        ("--model", "models:/none@champion"),
    ],
)
def test_a_wrong_start_is_refused_in_one_line(template: Path, options: tuple[str, str]) -> None:  # noqa: F811 - a fixture
    command = [sys.executable, "-m", "src.service.endpoint.start", "--port", str(free_port()), *options]
    result = subprocess.run(command, cwd=template, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.stderr


def test_a_port_in_use_is_refused_in_one_line(endpoint: Running, template: Path) -> None:  # noqa: F811 - a fixture
    command = [sys.executable, "-m", "src.service.endpoint.start", "--port", str(endpoint.port)]
    result = subprocess.run(command, cwd=template, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert f"{endpoint.port}: Address already in use" in result.stderr


def test_requests_that_the_description_allows_get_no_server_error(endpoint: Running) -> None:
    schema = schemathesis.openapi.from_dict(json.loads(endpoint.call("/openapi.json")[1]))
    operations = [found.ok() for found in schema.include(method="POST").get_all_operations()]
    assert {operation.path for operation in operations} == {"/predict", "/invocations"}

    @given(case=strategies.one_of([operation.as_strategy() for operation in operations]))
    @settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def check(case: schemathesis.Case) -> None:
        response = case.call(base_url=endpoint.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)
        assert response.status_code < 500, response.text

    check()


@pytest.mark.thorough
@pytest.mark.parametrize("framing", ["Content-Length: 1000000000", "Transfer-Encoding: chunked"])
def test_a_body_of_a_gigabyte_is_refused_early_and_in_little_memory(endpoint: Running, framing: str) -> None:
    workers = psutil.Process(endpoint.process.pid).children()
    before, most, n_sent = max(worker.memory_info().rss for worker in workers), 0, 0
    part = b"x" * 1_000_000
    chunk = b"%x\r\n%s\r\n" % (len(part), part) if "chunked" in framing else part
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=30) as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n{framing}\r\n\r\n"
        connection.sendall(head.encode())
        with contextlib.suppress(ConnectionError):
            while n_sent < 1000:
                connection.sendall(chunk)
                n_sent += 1
                most = max(most, *(worker.memory_info().rss for worker in workers))
    # The limit is 100 MB.
    assert n_sent < 150
    assert most - before < 400_000_000
    assert endpoint.predict([ROW])[0] == 200


@pytest.mark.thorough
def test_a_million_rows_are_refused_in_every_format(endpoint: Running) -> None:
    table, parquet = pd.DataFrame({name: [5.0] * 1_000_000 for name in ROW}), io.BytesIO()
    table.to_parquet(parquet)
    bodies = [(table.to_json(orient="records").encode(), JSON), (table.to_csv(index=False).encode(), "text/csv")]
    for body, kind in [*bodies, (parquet.getvalue(), "application/parquet")]:
        status, answer = endpoint.call("/predict", body, kind)
        assert (status, answer["allowed"]) == (413, "at most 100000 rows"), kind


def test_stop_while_the_model_is_loaded_ends_at_once(template: Path) -> None:  # noqa: F811 - a fixture
    command = [sys.executable, "-m", "src.service.endpoint.start", "--port", str(free_port())]
    process = subprocess.Popen(command, cwd=template, stderr=subprocess.PIPE, text=True)
    main = psutil.Process(process.pid)
    wait_for(lambda: main.children() or process.poll() is not None)
    process.terminate()
    _, log = process.communicate(timeout=60)
    assert (process.returncode, log) == (0, "")


# MLflow's own functions of language models lack the type hints that it asks for.
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_without_keys_the_client_of_mlflow_is_answered_and_sigterm_loses_no_request(
    template: Path,  # noqa: F811 - a fixture
    tmp_path: Path,
) -> None:
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    running = Running(template, log=tmp_path / "log", SERVE_API_KEYS="")
    client = ScoringServerClient("127.0.0.1", running.port)
    client.ping()
    labels = client.invoke(pd.DataFrame([ROW, ROW])).get_predictions()
    assert labels.iloc[:, 0].tolist() == [row["prediction"] for row in running.predict([ROW, ROW])[1]["predictions"]]
    with Load(running.port) as kept, Load(running.port, Connection="close") as new:
        wait_for(lambda: kept.models and new.models)
        assert running.stop() == 0
    assert kept.failed + new.failed == []
