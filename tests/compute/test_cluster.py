"""A real scheduler and real workers, started and stopped by the tests."""

import logging
import os
import pickle
import signal
import socket
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.compute import cluster as module
from src.compute.cluster import ClusterEngine, connect, count_workers
from src.compute.engine import SCRATCH_DIR, Engine
from src.data.parts import Part, list_parts, map_parts, new_table, write_part
from src.errors import ComputeError, DataError
from src.train.fit import fit_model
from tests.compute import tasks
from tests.compute.conftest import Cluster
from tests.train.tables import COLUMNS, dump, make_config, make_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first_worker(scheduler: Cluster) -> Cluster:
    with (
        pytest.raises(ComputeError, match="has no workers; start some with `make cluster`"),
        connect(scheduler.address, []),
    ):
        pass
    scheduler.add_workers(1)
    return scheduler


@pytest.fixture
def with_workers(first_worker: Cluster) -> Cluster:
    # Those that a test killed are started again.
    while not count_workers(first_worker.address):
        pass
    return first_worker


@pytest.fixture
def parts(tmp_path: Path) -> list[Part]:
    rng = np.random.default_rng(0)
    with new_table(tmp_path / "t.parquet") as folder:
        for number in range(6):
            write_part(pd.DataFrame({"a": rng.normal(size=50)}), folder, number)
    return list_parts(tmp_path / "t.parquet", made_by="data_load")


def copy(engine: Engine, parts: list[Part], path: Path, **options: Any) -> dict[str, bytes]:
    with new_table(path) as folder:
        assert list(map_parts(partial(tasks.copy_part, folder=folder, **options), parts, engine, "copy")) == [50] * 6
    return {file.name: file.read_bytes() for file in path.iterdir()}


def kill_at(pid_path: Path) -> None:
    while not pid_path.exists():
        pass
    os.kill(int(pid_path.read_text()), signal.SIGKILL)


def test_engine_workers_and_the_death_of_one_change_no_byte(
    with_workers: Cluster, parts: list[Part], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = copy(Engine(), parts, tmp_path / "local.parquet")
    with connect(with_workers.address, [tmp_path / "t.parquet"]) as engine:
        assert copy(engine, parts, tmp_path / "one.parquet") == expected
    with_workers.add_workers(1)
    assert "lost" not in caplog.text
    with connect(with_workers.address, [tmp_path / "t.parquet"]) as engine:
        assert copy(engine, parts, tmp_path / "two.parquet") == expected
        killer = threading.Thread(target=kill_at, args=[tmp_path / "pid"])
        killer.start()
        assert copy(engine, parts, tmp_path / "killed.parquet", pid_path=tmp_path / "pid", waits=2) == expected
        killer.join()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["1 of 2 workers were lost; other workers repeated their tasks"]


def test_a_search_on_two_workers_gives_the_same_scores_and_the_same_model(
    with_workers: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    # The last candidate fails, and logreg does not converge.
    grids = {"logreg": {"C": [0.1, 1.0], "max_iter": [2]}, "knn": {"n_neighbors": [5, 1000]}}
    columns = {name: COLUMNS[name] for name in ("height", "member", "review")}
    config = make_config(list(grids), param_grid=grids, scoring="neg_log_loss")
    expected = fit_model(make_table(), columns, config)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    while count_workers(with_workers.address) < 2:
        pass
    with connect(with_workers.address, []) as engine:
        found = fit_model(make_table(), columns, config, engine)
    assert found.cv_results.to_csv() == expected.cv_results.to_csv()
    assert found.candidates == expected.candidates
    assert dump(found.model) == dump(expected.model)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == warnings
    assert len(warnings) == 3


def test_shared_value_does_not_travel_with_each_task(
    with_workers: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with connect(with_workers.address, []) as engine, engine.share(np.arange(100_000)) as values:
        assert len(pickle.dumps(values)) < 1000
        assert list(engine.map(partial(tasks.read_item, values=values), [0, 99_999], 2, "read")) == [0, 99_999]
    assert list(SCRATCH_DIR.iterdir()) == []


def test_results_come_in_order_and_items_as_late_as_possible(with_workers: Cluster) -> None:
    pulled = []

    def items() -> Any:
        for number in range(100):
            pulled.append(number)
            yield number

    with connect(with_workers.address, []) as engine:
        results = iter(engine.map(tasks.double, items(), 100, "double"))
        assert next(results) == 0
        assert len(pulled) < 20
        assert list(results) == [2 * number for number in range(1, 100)]


def test_an_error_of_a_task_reaches_the_stage_as_it_is(with_workers: Cluster) -> None:
    with connect(with_workers.address, []) as engine, pytest.raises(DataError, match=r"^the third is wrong\.$"):
        list(engine.map(tasks.refuse, range(9), 9, "refuse"))


@pytest.mark.parametrize(
    ("name", "here", "message"),
    [
        ("_hash_code", lambda: "other", "has different code in src; update its clone, and restart the cluster"),
        ("_list_versions", lambda: {"pandas": "0.1"}, r"has pandas \d.*, but this machine has 0.1; install the same"),
        ("measure", lambda _: 7, "does not see /nowhere/t.parquet; workers need the same folder at the same path"),
    ],
    ids=["code", "versions", "files"],
)
def test_what_differs_between_machines_is_found_before_any_work(
    with_workers: Cluster, monkeypatch: pytest.MonkeyPatch, name: str, here: Any, message: str
) -> None:
    monkeypatch.setattr(module, name, here)
    with pytest.raises(ComputeError, match=message), connect(with_workers.address, [Path("/nowhere/t.parquet")]):
        pass


def test_another_version_of_a_file_is_found(
    with_workers: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "t.parquet").write_text("abc")
    monkeypatch.setattr(module, "measure", lambda _: 7)
    with (
        pytest.raises(ComputeError, match=r"has another version of .*t\.parquet \(3 instead of 7 bytes\)"),
        connect(with_workers.address, [tmp_path / "t.parquet"]),
    ):
        pass


@pytest.mark.parametrize(
    ("greeting", "seconds", "reason"),
    [(b"", 0.2, "timed out"), (b"SSH-2.0-OpenSSH_9.2\r\n", 10, "another server listens there")],
)
def test_another_server_is_no_scheduler(
    monkeypatch: pytest.MonkeyPatch, greeting: bytes, seconds: float, reason: str
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", seconds)

    def greet() -> None:
        client, _ = server.accept()
        with client:
            client.sendall(greeting)
            # Until it is closed.
            client.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ComputeError, match=rf"no scheduler answers \({reason}\)"), connect(address, []):
            pass
        thread.join()


class LostClient:
    """A client that has lost its scheduler, and the only task, which ends when the client has waited once."""

    status = "finished"

    def __init__(self) -> None:
        self.n_waits = 0

    def submit(self, *_: Any, **__: Any) -> "LostClient":
        return self

    def scheduler_info(self, **_: Any) -> dict[str, Any]:
        return {}

    def result(self, timeout: float) -> str:
        self.n_waits += 1
        if self.n_waits == 1:
            raise TimeoutError(timeout)
        return "done"


def test_task_that_ends_when_the_wait_ends_has_its_result() -> None:
    assert list(ClusterEngine(LostClient()).map(tasks.double, [1], 1, "double")) == ["done"]


def test_no_scheduler_is_one_line() -> None:
    with (
        pytest.raises(ComputeError, match=r"compute\.scheduler = 'tcp://127.0.0.1:1': no scheduler answers .*make cl"),
        connect("tcp://127.0.0.1:1", []),
    ):
        pass


def test_no_worker_is_left_for_a_task(with_workers: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.1)
    monkeypatch.setattr(module, "ALONE_SECONDS", 0.2)
    with connect(with_workers.address, []) as engine:
        monkeypatch.setattr(engine, "_list_workers", set)
        with pytest.raises(ComputeError, match="has lost all its workers; start some"):
            list(engine.map(tasks.wait, [1], 1, "wait"))


def test_file_that_a_worker_does_not_see_is_one_line(with_workers: Cluster, tmp_path: Path) -> None:
    with (
        connect(with_workers.address, []) as engine,
        pytest.raises(ComputeError, match=r"^a worker does not see .*gone\.arrow; workers need the same folder"),
    ):
        list(engine.map(Path.read_bytes, [tmp_path / "gone.arrow"], 1, "read"))


def test_a_task_that_ends_every_worker_is_one_line(with_workers: Cluster) -> None:
    with connect(with_workers.address, []) as engine, pytest.raises(ComputeError, match="ran out of memory"):
        list(engine.map(tasks.kill_worker, [1], 1, "kill"))
