import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from tests.pipeline.server import free_port

ROOT = Path(__file__).parents[2]


def start(folder: Path, *options: str, port: int = 1) -> "subprocess.Popen[str]":
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["compute"]["scheduler"] = f"tcp://127.0.0.1:{port}"
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "src.utils.start_cluster", *options]
    return subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_cluster_listens_on_loopback_only_and_ends_with_its_workers(tmp_path: Path) -> None:
    (tmp_path / "src").symlink_to(ROOT / "src")
    with start(tmp_path, "--workers", "1", "--memory", "1GB", port=free_port()) as process:
        assert process.stdout is not None
        assert "has 1 workers" in process.stdout.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        listening = [
            connection.laddr.ip
            for child in children
            for connection in child.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert len(listening) > 2
    assert set(listening) == {"127.0.0.1"}
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "0"], "ConfigError: --workers 0 (WORKERS of `make cluster`) is not a number of processes."),
        (["--memory", "much"], "ConfigError: --memory much (MEMORY of `make cluster`) is not a size, such as 1GB"),
        ([], "ComputeError: params.yaml: compute.scheduler = 'tcp://127.0.0.1:{port}': cannot listen there"),
    ],
    ids=["workers", "memory", "address in use"],
)
def test_wrong_option_is_one_line(options: list[str], message: str, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with start(tmp_path, *options, port=port) as process:
            _, error = process.communicate()
    assert process.returncode == 2
    assert error.startswith(message.format(port=port))
    assert error.count("\n") == 1
