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

from src.tracking.store import open_store
from src.utils.start_ui import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(root: Path, params: str) -> Path:
    (root / "params.yaml").write_text(params)
    return root


@pytest.mark.usefixtures("workspace")
def test_store_that_fails_starts_no_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://nowhere")
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("TrackingError: MLflow store foo://nowhere")


@pytest.mark.usefixtures("root")
def test_missing_settings_start_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("ConfigError: params.yaml is missing")


@pytest.mark.slow
def test_ui_is_served_on_loopback_under_the_printed_link(workspace: Path) -> None:
    experiment_id = open_store(workspace, "pipeline").experiment_id
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "src.utils.start_ui"],
        cwd=workspace,
        env=environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        link = process.stdout.readline()
        view = rf"#/experiments/{experiment_id}\?workflowType=machine_learning"
        found = re.fullmatch(rf"http://127\.0\.0\.1:(\d+)/{view}  \(Ctrl-C ends it\)\n", link)
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
        process.wait(20)
        for left in psutil.wait_procs(family, timeout=5)[1]:
            left.kill()
        if process.stdout:
            process.stdout.close()


@pytest.mark.usefixtures("workspace")
def test_tracking_server_has_a_ui_already_and_only_its_link_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Server(BaseHTTPRequestHandler):
        """Answer as a tracking server with one experiment and no run."""

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b'{"experiment": {"experiment_id": "7", "name": "pipeline", "lifecycle_stage": "active"}}'
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
