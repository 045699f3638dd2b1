"""The endpoint as a real process: what requests get, and how it ends."""

import io
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from tests.pipeline.clone import wait_for
from tests.pipeline.conftest import template  # noqa: F401 - a fixture
from tests.pipeline.server import free_port

pytestmark = pytest.mark.slow

KEY = "secret"
JSON = "application/json"
ROW = {"sepal_length": 5, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": None}


class Running:
    def __init__(self, repo: Path) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        command = [sys.executable, "-m", "src.service.endpoint.start", "--port", str(port)]
        env = os.environ | {"SERVE_API_KEYS": f"other,{KEY}"}
        self.process = subprocess.Popen(command, cwd=repo, env=env)
        wait_for(lambda: self.call("/ready")[0] == 200)

    def call(self, path: str, body: bytes | None = None, kind: str = JSON, key: str = KEY) -> tuple[int, Any]:
        headers = {"Content-Type": kind, "Authorization": f"Bearer {key}"}
        request = urllib.request.Request(self.url + path, body, headers)  # noqa: S310 - our own
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except OSError as error:
            return 0, error

    def predict(self, body: Any, **options: str) -> tuple[int, Any]:
        status, content = self.call("/predict", json.dumps(body).encode(), **options)
        return status, json.loads(content) if status == 200 else content


@pytest.fixture(scope="module")
def endpoint(template: Path) -> Iterator[Running]:  # noqa: F811 - a fixture
    running = Running(template)
    yield running
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(timeout=60) == 0


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
    assert endpoint.predict([ROW], key="wrong")[0] == 401
    assert endpoint.call("/version", key="wrong")[0] == 401
    assert endpoint.call("/health", key="wrong")[0] == 200


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


@pytest.mark.parametrize("options", [("--tag", "v9"), ("--host", "0.0.0.0"), ("--model", "models:/none@champion")])  # noqa: S104 - must be refused
def test_a_wrong_start_is_refused_in_one_line(template: Path, options: tuple[str, str]) -> None:  # noqa: F811
    command = [sys.executable, "-m", "src.service.endpoint.start", "--port", str(free_port()), *options]
    result = subprocess.run(command, cwd=template, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
