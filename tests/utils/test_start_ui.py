import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from src.tracking.journal import Journal
from src.tracking.store import Store
from src.utils.start_ui import ADDRESS, _usual_port, find_ui, main
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


@contextmanager
def started_ui(folder: Path, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-m", "src.utils.start_ui", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # As a shell without job control starts a command in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ui_answers_under_its_link_until_a_signal_ends_all_of_it(folder: Path, store: Store, number: int) -> None:
    Journal(folder).write_session(ended_session(folder))
    with started_ui(folder) as process:
        assert process.stdout is not None
        link = process.stdout.readline()
        view = rf"#/experiments/{store.experiment_id}/runs\?viewStateShareKey=pipeline&workflowType=machine_learning"
        found = re.fullmatch(rf"http://127\.0\.0\.1:(\d+)/{view}  \(press Ctrl-C to stop\)\n", link)
        assert found, link
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/health", timeout=10) as answer:
            assert answer.read() == b"OK"
        assert [run.info.status for run in search(store)] == ["FINISHED"]
        client = MlflowClient(f"http://127.0.0.1:{found[1]}")
        created = client.get_experiment(client.create_experiment(f"from the UI {store.experiment_id}"))
        assert created.artifact_location.startswith((folder / "mlruns").as_uri())
        assert find_ui(folder) == f"http://127.0.0.1:{found[1]}"
        family = psutil.Process(process.pid).children(recursive=True)
        listening = [
            connection.laddr
            for each in family
            for connection in each.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert {address.ip for address in listening} == {"127.0.0.1"}
        process.send_signal(number)
        assert process.wait(60) == 130
        # Requests are not printed.
        assert process.stdout.read() == ""
        assert psutil.wait_procs(family, timeout=5)[1] == []
        assert not (folder / ADDRESS).exists()


@pytest.mark.parametrize("text", ["http://127.0.0.1:{closed}", "http://example.org", "nonsense", "", "\xff"])
def test_address_of_a_ui_that_has_ended_is_not_found(tmp_path: Path, text: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        closed = other.getsockname()[1]
    assert find_ui(tmp_path) is None
    (tmp_path / ADDRESS).parent.mkdir(parents=True)
    (tmp_path / ADDRESS).write_text(text.format(closed=closed), encoding="latin-1")
    assert find_ui(tmp_path) is None


@pytest.mark.usefixtures("folder")
def test_port_of_another_server_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"TrackingError: port {port} cannot be used (Address already in use); choose another.\n")


@pytest.mark.usefixtures("folder")
def test_ui_that_cannot_start_says_where_the_reason_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As an mlflow that does not import.
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "TrackingError: MLflow's UI does not answer at http://127.0.0.1:" in err
    assert err.endswith("; .dvc/tmp/pipeline/ui.log says why.\n")


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
    page = "#/experiments/7/runs?viewStateShareKey=pipeline&workflowType=machine_learning"
    assert capsys.readouterr().out == f"http://***@{address}/{page}\n"


def test_clone_has_its_usual_port_while_that_is_free(tmp_path: Path) -> None:
    port = _usual_port(tmp_path)
    assert port == _usual_port(tmp_path) != _usual_port(tmp_path / "other")
    with socket.create_server(("127.0.0.1", port)):
        assert _usual_port(tmp_path) != port
