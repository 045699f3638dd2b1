import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from src.tracking.process import (
    ProcessKey,
    began_at,
    boot_id,
    cpu_model,
    find_dvc_driver,
    is_queue_worker,
    own_key,
    process_key,
)
from tests.tracking.workspace import dead_key, foreign_key


@pytest.fixture
def sleeper() -> "Iterator[subprocess.Popen[bytes]]":
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def write_rwlock(root: Path, text: str) -> None:
    (root / ".dvc" / "tmp").mkdir(parents=True)
    (root / ".dvc" / "tmp" / "rwlock").write_text(text)


def held_by(pid: int) -> str:
    return json.dumps({"read": {}, "write": {"/data/train.parquet": {"pid": pid, "cmd": "dvc repro"}}})


def test_own_process_is_alive() -> None:
    assert own_key().pid == os.getpid()
    assert own_key().is_alive() is True


def test_key_survives_the_journal() -> None:
    assert ProcessKey(**json.loads(json.dumps(asdict(own_key())))) == own_key()


def test_ended_process_is_not_alive(sleeper: "subprocess.Popen[bytes]") -> None:
    key = process_key(sleeper.pid)
    assert key is not None
    assert key.is_alive() is True
    sleeper.kill()
    sleeper.wait()
    assert key.is_alive() is False


def test_zombie_is_not_alive(sleeper: "subprocess.Popen[bytes]") -> None:
    key = process_key(sleeper.pid)
    assert key is not None
    sleeper.kill()
    # Ended, but not waited for.
    while psutil.Process(sleeper.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert key.is_alive() is False
    assert process_key(sleeper.pid) is None


def test_number_that_was_given_to_another_process_is_not_alive() -> None:
    assert replace(own_key(), started=own_key().started - 1).is_alive() is False


def test_process_of_another_boot_is_not_alive() -> None:
    assert replace(own_key(), boot="another boot").is_alive() is False


def test_number_of_no_process_is_not_alive() -> None:
    assert process_key(dead_key().pid) is None
    assert dead_key().is_alive() is False


def test_nothing_is_known_of_a_process_of_another_host() -> None:
    assert foreign_key().is_alive() is None
    assert replace(own_key(), host="another-host.example").is_alive() is None


@pytest.mark.parametrize("change", [{"pid": 1}, {"started": 1.5}, {"boot": "another"}, {"host": "another"}])
def test_digest_tells_processes_apart(change: dict[str, object]) -> None:
    assert own_key().digest == own_key().digest
    assert replace(own_key(), **change).digest != own_key().digest  # type: ignore[arg-type] - fields of several types


def test_digest_can_be_part_of_a_file_name() -> None:
    assert len(own_key().digest) == 16
    assert own_key().digest.isalnum()


def test_beginning_of_a_process_is_known_to_a_fraction_of_a_second() -> None:
    before = time.time()
    with subprocess.Popen(["sleep", "60"]) as process:
        after = time.time()
        key = process_key(process.pid)
        process.kill()
    assert key is not None
    # The kernel counts in hundredths.
    assert before - 0.05 <= began_at(key) <= after + 0.05


def test_boot_has_one_identity() -> None:
    assert boot_id()
    assert boot_id() == own_key().boot


def test_kind_of_cpu_has_a_name() -> None:
    assert cpu_model().strip()


def test_driver_is_the_ancestor_that_holds_the_lock(tmp_path: Path) -> None:
    write_rwlock(tmp_path, held_by(os.getppid()))
    driver = find_dvc_driver(tmp_path)
    assert driver is not None
    assert driver.pid == os.getppid()


def test_process_that_holds_the_lock_but_is_no_ancestor_drives_nothing(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    write_rwlock(tmp_path, held_by(sleeper.pid))
    assert find_dvc_driver(tmp_path) is None


def test_process_that_only_reads_drives_nothing(tmp_path: Path) -> None:
    write_rwlock(tmp_path, json.dumps({"read": {"/data": [{"pid": os.getppid(), "cmd": "dvc"}]}, "write": {}}))
    assert find_dvc_driver(tmp_path) is None


def test_without_a_lock_there_is_no_driver(tmp_path: Path) -> None:
    assert find_dvc_driver(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "3",
        "{}",
        '{"write": null}',
        '{"write": []}',
        '{"write": {"a": null}}',
        '{"write": {"a": {}}}',
        '{"write": {"a": {"pid": []}}}',
        '{"write": {"a": {"pid": "x"}}}',
        "\x00\x00",
    ],
)
def test_damaged_lock_names_no_driver(tmp_path: Path, text: str) -> None:
    write_rwlock(tmp_path, text)
    assert find_dvc_driver(tmp_path) is None


def test_lock_that_is_no_text_names_no_driver(tmp_path: Path) -> None:
    write_rwlock(tmp_path, "")
    (tmp_path / ".dvc" / "tmp" / "rwlock").write_bytes(b"\xff\xfe")
    assert find_dvc_driver(tmp_path) is None


@pytest.mark.parametrize(("argument", "expected"), [("exec-run", True), ("repro", False)])
def test_worker_of_the_queue_is_known_by_its_command(argument: str, expected: bool) -> None:
    command = [sys.executable, "-c", "print(flush=True); input()", argument]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        # Popen may return before the kernel shows the new command.
        assert driver.stdout is not None
        driver.stdout.readline()
        assert is_queue_worker(psutil.Process(driver.pid)) is expected
        driver.kill()


def test_no_driver_is_no_worker_of_the_queue() -> None:
    assert is_queue_worker(None) is False


def test_driver_that_has_ended_is_no_worker_of_the_queue(sleeper: "subprocess.Popen[bytes]") -> None:
    driver = psutil.Process(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert is_queue_worker(driver) is False
