"""The endpoint as a real process, which tests start and stop."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

from tests.pipeline.clone import wait_for
from tests.pipeline.server import free_port

KEY = "secret"
JSON = "application/json"
ROW = {"sepal_length": 5, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": None}
N_CLIENTS = 8


class Running:
    """An endpoint that serves a model of `repo`.

    Attributes:
        log: The file with what it logs.
    """

    def __init__(self, repo: Path, *options: str, log: Path, **env: str) -> None:
        self.port, self.log = free_port(), log
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "src.service.endpoint.start", "--port", str(self.port), *options]
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command, cwd=repo, env=os.environ | {"SERVE_API_KEYS": f"other,{KEY}"} | env, stderr=stderr
            )
        wait_for(lambda: self.call("/ready")[0] == 200 or self.process.poll() is not None)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop all its processes at once, as a service manager does by default, and return the exit code."""
        main = psutil.Process(self.process.pid)
        for process in (*main.children(), main):
            process.send_signal(number)
        return self.process.wait(timeout=60)

    def call(self, path: str, body: bytes | None = None, kind: str = JSON, key: str = KEY) -> tuple[int, Any]:
        headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {key}"} if key else {})
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

    def count(self, metric: str) -> float:
        """Return the sum of a metric, such as `serve_swaps_total`."""
        lines = self.call("/metrics")[1].decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(metric))


class Load:
    """Clients that send requests until they are stopped, or nobody listens any more.

    Attributes:
        failed: Answers other than 200, and connections that broke.
        models: What answered.
    """

    def __init__(self, port: int, **headers: str) -> None:
        self.failed: list[Any] = []
        self.models: set[str] = set()
        self._port, self._headers, self._is_over = port, headers, threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(N_CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            self._send_on(connection)

    def _send_on(self, connection: http.client.HTTPConnection) -> None:
        headers = {"Content-Type": JSON, "X-API-Key": KEY, **self._headers}
        while not self._is_over.wait(0.005):
            try:
                connection.request("POST", "/predict", json.dumps([ROW]), headers)
                answer = connection.getresponse()
                content = json.loads(answer.read())
            except ConnectionRefusedError:
                return
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(error)
                return
            if answer.status == 200:
                self.models.add(content["model"])
            else:
                self.failed.append(content)
