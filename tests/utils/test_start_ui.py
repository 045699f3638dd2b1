import itertools
import os
import re
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from src.tracking.journal import Journal
from src.tracking.store import Store
from src.utils.start_ui import main
from tests.tracking.support import UNKNOWN_STORE, ended_session, search

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(root: Path, params: str) -> Path:
    (root / "params.yaml").write_text(params)
    return root


@pytest.mark.usefixtures("folder")
def test_store_that_fails_starts_no_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", UNKNOWN_STORE)
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"TrackingError: MLflow store {UNKNOWN_STORE}")


@pytest.mark.usefixtures("root")
def test_missing_settings_start_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("ConfigError: params.yaml is missing")


@pytest.mark.parametrize("port", [None, "4711"])
def test_record_is_completed_and_the_ui_started_on_loopback(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], port: str | None
) -> None:
    Journal(folder).write_session(ended_session(folder))
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: started.append(command))
    assert main(["--port", port] if port else []) == 0
    assert [run.info.status for run in search(store)] == ["FINISHED"]
    (command,) = started
    options = dict(itertools.pairwise(command))
    assert command[1:4] == ["-m", "mlflow", "ui"]
    assert (options["--host"], options["--backend-store-uri"]) == ("127.0.0.1", store.uri)
    assert options["--default-artifact-root"] == (folder / "mlruns").as_uri()
    assert port is None or options["--port"] == port
    page = f"#/experiments/{store.experiment_id}?workflowType=machine_learning"
    assert capsys.readouterr().out == f"http://127.0.0.1:{options['--port']}/{page}  (press Ctrl-C to stop)\n"


@pytest.mark.slow
def test_ui_is_served_on_loopback_under_the_printed_link(folder: Path, store: Store) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "src.utils.start_ui"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        link = process.stdout.readline()
        view = rf"#/experiments/{store.experiment_id}\?workflowType=machine_learning"
        found = re.fullmatch(rf"http://127\.0\.0\.1:(\d+)/{view}  \(press Ctrl-C to stop\)\n", link)
        assert found, link
        for line in process.stdout:
            if "startup complete" in line:
                break
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/health", timeout=10) as answer:
            assert answer.read() == b"OK"
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        listening = [
            connection.laddr
            for each in family
            for connection in each.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert {address.ip for address in listening} == {"127.0.0.1"}
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(60)
        for left in psutil.wait_procs(family, timeout=5)[1]:
            left.kill()
        if process.stdout:
            process.stdout.close()


@pytest.mark.usefixtures("folder")
def test_only_the_link_is_printed_for_a_tracking_server_which_has_a_ui(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Server(BaseHTTPRequestHandler):
        """Answer as a tracking server with one experiment and no run."""

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b'{"experiment": {"experiment_id": "7", "name": "any", "lifecycle_stage": "active"}}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 - the names that http.server asks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:s3cr3t@{address}/")
        try:
            assert main([]) == 0
        finally:
            server.shutdown()
            thread.join()
    assert capsys.readouterr().out == f"http://***@{address}/#/experiments/7?workflowType=machine_learning\n"
