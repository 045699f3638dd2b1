"""Identify processes: which DVC process runs a stage, and whether a process is still alive."""

import hashlib
import json
import os
import platform
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil

from src.tracking import names


@dataclass(frozen=True)
class ProcessKey:
    """The identity of a process, unique even if its pid is reused.

    Attributes:
        started: Ticks since the boot on Linux, else seconds since the epoch.
        boot: Id of the boot.
    """

    pid: int
    started: float
    boot: str
    host: str

    @property
    def digest(self) -> str:
        """Short hash of the key."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def is_alive(self) -> bool | None:
        """Return whether the process is running; None if it belongs to another host."""
        if self.host != socket.gethostname():
            return None
        return self.boot == boot_id() and process_key(self.pid) == self


def process_key(pid: int) -> ProcessKey | None:
    """Return the key of a running process; None if it is not running."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessKey(pid, _start_time(process), boot_id(), socket.gethostname())
    # A ValueError: the pid is negative.
    except (psutil.Error, OSError, ValueError):
        return None


def _start_time(process: psutil.Process) -> float:
    # psutil's seconds since the epoch change when the clock is set.
    stat = Path(f"/proc/{process.pid}/stat")
    if stat.exists():
        return float(stat.read_text().rpartition(")")[2].split()[19])
    return process.create_time()


def began_at(key: ProcessKey) -> float:
    """Return the start time of a running process, in seconds since the epoch."""
    if hasattr(time, "CLOCK_BOOTTIME") and Path("/proc/self/stat").exists():
        # psutil rounds the time of the boot to a second.
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - key.started / os.sysconf("SC_CLK_TCK")
        return time.time() - age
    return key.started


def own_pid() -> int:
    """Return the pid of this process, or, in a warm fork, of the stage's process, which is a child of DVC."""
    return int(os.environ.get(names.PIPELINE_CLIENT_PID) or os.getpid())


def own_key() -> ProcessKey:
    """Return the key of the process with `own_pid`."""
    key = process_key(own_pid()) or process_key(os.getpid())
    assert key is not None, "this process runs"  # noqa: S101 - psutil always finds its own process
    return key


@cache
def boot_id() -> str:
    """Return Linux's id of the boot, or elsewhere its time in seconds."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else str(int(psutil.boot_time()))


@dataclass(frozen=True)
class Driver:
    """The DVC process that runs a stage.

    Attributes:
        reads: Paths of the stage's inputs, relative to its working folder if they are below it.
        writes: Paths of its outputs.
    """

    process: psutil.Process
    reads: list[str]
    writes: list[str]


def find_driver(work_root: Path) -> Driver | None:
    """Find the DVC process that runs this stage; None if the stage was started by hand.

    While a stage runs, DVC's `rwlock` names the process that has locked the stage's files. It is
    the driver if it is an ancestor of this process.
    """
    reads, writes = _read_rwlock(work_root)
    try:
        driver = next((parent for parent in psutil.Process(own_pid()).parents() if parent.pid in writes), None)
    except psutil.Error:
        return None
    if driver is None:
        return None
    written = writes[driver.pid]
    # DVC locks the outputs for reading, too.
    read = set(reads.get(driver.pid, [])) - set(written)
    return Driver(driver, _relative(read, work_root), _relative(written, work_root))


def find_dvc_at_work(work_root: Path) -> int | None:
    """Return the pid of a DVC process that is running stages in a folder; None if there is none."""
    for pid in sorted(_read_rwlock(work_root)[1]):
        with suppress(psutil.Error, ValueError):
            # The pid in an old file may have been reused.
            if "dvc" in " ".join(psutil.Process(pid).cmdline()):
                return pid
    return None


def _read_rwlock(work_root: Path) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Read from DVC's `rwlock` which paths each process reads, and which it writes."""
    reads: dict[int, list[str]] = {}
    writes: dict[int, list[str]] = {}
    try:
        locked = json.loads((work_root / ".dvc" / "tmp" / "rwlock").read_text(encoding="utf-8"))
        for path, holder in locked.get("write", {}).items():
            writes.setdefault(int(holder["pid"]), []).append(path)
        for path, holders in locked.get("read", {}).items():
            for holder in holders:
                reads.setdefault(int(holder["pid"]), []).append(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # The file does not exist, or DVC is writing it.
        return {}, {}
    return reads, writes


def _relative(paths: Iterable[str], root: Path) -> list[str]:
    return sorted(os.path.relpath(path, root) if Path(path).is_relative_to(root) else path for path in paths)


def is_queue_worker(driver: Driver | None) -> bool:
    """Return whether a worker of DVC's experiment queue runs the stage.

    Workers inherit the environment of the command that started the queue, so variables that name
    a run may belong to another session.
    """
    try:
        return driver is not None and "exec-run" in driver.process.cmdline()
    except psutil.Error:
        return False


@cache
def cpu_model() -> str:
    """Return the model of the CPU, on which the last bits of linear algebra may depend."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
