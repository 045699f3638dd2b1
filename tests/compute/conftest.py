import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from src.compute.cluster import count_workers

ROOT = Path(__file__).parents[2]


class Cluster:
    """A scheduler on a free port of this machine, and workers that the test starts."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._processes = folder, list["subprocess.Popen[bytes]"]()
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self._start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--dashboard-address", "127.0.0.1:0")
        while True:
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                return
            assert self._processes[0].poll() is None

    def add_workers(self, n_workers: int) -> None:
        expected = count_workers(self.address) + n_workers
        options = ("--nworkers", str(n_workers), "--nthreads", "1", "--local-directory", str(self._folder))
        self._start("worker", self.address, "--host", "127.0.0.1", *options)
        while count_workers(self.address) < expected:
            assert [process.poll() for process in self._processes] == [None] * len(self._processes)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            process.wait()

    def _start(self, name: str, *options: str) -> None:
        environ = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with (self._folder / f"{len(self._processes)}.log").open("wb") as log:
            command = [sys.executable, "-m", "dask", name, *options]
            self._processes.append(subprocess.Popen(command, env=environ, cwd=ROOT, stdout=log, stderr=log))


@pytest.fixture(scope="session")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler without workers, until a test adds some."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.stop()
