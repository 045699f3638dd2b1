import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from src.tracking.process import (
    ProcessKey,
    cpu_model,
    find_driver,
    find_dvc_at_work,
    own_key,
    process_key,
)
from tests.tracking.support import dead_key, foreign_key

Child = subprocess.Popen[bytes]


@pytest.fixture
def child() -> Iterator[Child]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def write_rwlock(root: Path, content: object) -> None:
    path = root / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


# --- identity ---


def test_process_is_alive_until_it_has_ended(child: Child) -> None:
    key = process_key(child.pid)
    assert key is not None
    assert (key.pid, key.is_alive()) == (child.pid, True)
    child.kill()
    # Ended, but not waited for: a zombie.
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert (key.is_alive(), process_key(child.pid)) == (False, None)
    child.wait()
    assert (key.is_alive(), process_key(child.pid)) == (False, None)


@pytest.mark.parametrize(
    ("key", "alive"),
    [
        (replace(own_key(), started=own_key().started - 1), False),
        (replace(own_key(), boot="another boot"), False),
        (dead_key(), False),
        (foreign_key(), None),
        (replace(own_key(), pid=-1), False),
        (replace(own_key(), pid=2**70), False),
        (replace(own_key(), host="another-host.example"), None),
    ],
    ids=[
        "reused pid",
        "another boot",
        "pid of no process",
        "another host",
        "negative pid",
        "great pid",
        "another host with our pid",
    ],
)
def test_key_of_another_process_is_never_taken_for_a_running_one(key: ProcessKey, alive: bool | None) -> None:
    assert key.is_alive() is alive


@pytest.mark.parametrize("change", [{"pid": 1}, {"started": 1.5}, {"boot": "another"}, {"host": "another"}])
def test_digest_identifies_a_process_and_fits_into_a_file_name(change: dict[str, Any]) -> None:
    assert replace(own_key(), **change).digest != own_key().digest == replace(own_key()).digest
    assert (len(own_key().digest), own_key().digest.isalnum()) == (16, True)


def test_key_of_a_warm_fork_is_that_of_the_process_it_works_for(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_CLIENT_PID", str(child.pid))
    assert own_key() == process_key(child.pid)
    monkeypatch.setenv("PIPELINE_CLIENT_PID", str(dead_key().pid))
    assert own_key().pid == os.getpid()


def test_cpu_model_is_read_from_the_kernel() -> None:
    assert cpu_model().strip()
    if (cpuinfo := Path("/proc/cpuinfo")).exists() and "model name" in cpuinfo.read_text():
        assert f": {cpu_model()}\n" in cpuinfo.read_text()


# --- DVC's lock file ---


def test_driver_is_the_ancestor_that_holds_the_stages_files(tmp_path: Path, child: Child) -> None:
    pid = os.getppid()
    paths = {str(tmp_path / name): {"pid": pid, "cmd": "dvc repro"} for name in ("models/m.joblib", "a.csv")}
    other = {"pid": child.pid, "cmd": "dvc repro"}
    write_rwlock(
        tmp_path,
        {
            "write": {**paths, str(tmp_path / "b.csv"): other},
            "read": {
                str(tmp_path / "a.csv"): [{"pid": pid}],
                str(tmp_path / "in.csv"): [other, {"pid": pid}],
                "/elsewhere/in.csv": [{"pid": pid}],
            },
        },
    )
    driver = find_driver(tmp_path)
    assert driver is not None
    assert driver.process.pid == pid
    assert driver.writes == ["a.csv", "models/m.joblib"]
    assert driver.reads == ["/elsewhere/in.csv", "in.csv"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "{}", '{"write": null}', '{"write": []}', '{"write": {"a": null}}', '{"write": {"a": {}}}',
     '{"write": {"a": {"pid": []}}}', '{"write": {"a": {"pid": "x"}}}', "\x00", '{"write": {"a": {"pid": 0}}}'],
)  # fmt: skip
def test_damaged_lock_file_or_one_without_our_ancestors_names_no_process(tmp_path: Path, text: str) -> None:
    assert find_driver(tmp_path) is None
    write_rwlock(tmp_path, text)
    assert find_driver(tmp_path) is None
    assert find_dvc_at_work(tmp_path) is None


@pytest.mark.parametrize("name", ["dvc", "other"])
def test_dvc_at_work_is_a_running_process_of_dvc(tmp_path: Path, name: str) -> None:
    command = ["sh", "-c", "echo; read line", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        write_rwlock(tmp_path, {"write": {"/a": {"pid": dead_key().pid}, "/b": {"pid": process.pid}}, "read": {}})
        assert find_dvc_at_work(tmp_path) == (process.pid if name == "dvc" else None)
        process.kill()
    assert find_dvc_at_work(tmp_path) is None
