"""Identify processes: the DVC process that drives a stage, and whether a process is still alive."""

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
    """A process, identified also after its pid was reused.

    Attributes:
        pid: Process id.
        started: Start time: ticks since the boot on Linux, else seconds since the epoch.
        boot: Identity of the boot.
        host: Name of the machine.
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
        """Return whether the process runs; None if it belongs to another host."""
        if self.host != socket.gethostname():
            return None
        return self.boot == boot_id() and process_key(self.pid) == self


def process_key(pid: int) -> ProcessKey | None:
    """Return the key of a running process; None if there is none."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessKey(pid, _start_time(process), boot_id(), socket.gethostname())
    except (psutil.Error, OSError):
        return None


def _start_time(process: psutil.Process) -> float:
    # Ticks since the boot where the kernel gives them: psutil's seconds since the
    # epoch move when the clock is set.
    stat = Path(f"/proc/{process.pid}/stat")
    if stat.exists():
        return float(stat.read_text().rpartition(")")[2].split()[19])
    return process.create_time()


def began_at(key: ProcessKey) -> float:
    """Return the start time of a running process of this host, in seconds since the epoch."""
    if hasattr(time, "CLOCK_BOOTTIME") and Path("/proc/self/stat").exists():
        # psutil knows the time of the boot only to the second.
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - key.started / os.sysconf("SC_CLK_TCK")
        return time.time() - age
    return key.started


def own_pid() -> int:
    """Return the pid of this process, or in a warm fork that of the stage's own process.

    That one is a child of DVC, lives exactly as long, and is found by whoever stops the stage.
    """
    return int(os.environ.get(names.PIPELINE_CLIENT_PID) or os.getpid())


def own_key() -> ProcessKey:
    """Return the key of this process, or in a warm fork that of the stage's own process."""
    key = process_key(own_pid()) or process_key(os.getpid())
    assert key is not None, "this process runs"  # noqa: S101 - psutil always finds its own process
    return key


@cache
def boot_id() -> str:
    """Identify the boot: by the id that Linux gives it, elsewhere by its time in seconds."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else str(int(psutil.boot_time()))


@dataclass(frozen=True)
class Driver:
    """The DVC process that runs a stage.

    Attributes:
        process: The process.
        reads: Paths of the stage's inputs, relative to the working folder where they are below it.
        writes: Paths of its outputs.
    """

    process: psutil.Process
    reads: list[str]
    writes: list[str]


def find_driver(work_root: Path) -> Driver | None:
    """Find the DVC process that runs this stage.

    While a stage runs, DVC's own lock file names the process that holds the stage's files;
    it is ours if it is among our ancestors. A shell in between does not matter.

    Args:
        work_root: Folder that the stage runs in; its `.dvc` is the executing one.

    Returns:
        None if the stage was started by hand.
    """
    reads, writes = _read_rwlock(work_root)
    try:
        driver = next((parent for parent in psutil.Process(own_pid()).parents() if parent.pid in writes), None)
    except psutil.Error:
        return None
    if driver is None:
        return None
    written = writes[driver.pid]
    # DVC holds the outputs for reading too.
    read = set(reads.get(driver.pid, [])) - set(written)
    return Driver(driver, _relative(read, work_root), _relative(written, work_root))


def find_dvc_at_work(work_root: Path) -> int | None:
    """Return the pid of a DVC process that runs stages in a folder; None if there is none."""
    for pid in sorted(_read_rwlock(work_root)[1]):
        with suppress(psutil.Error):
            # The file may be older than the process that has the pid now.
            if "dvc" in " ".join(psutil.Process(pid).cmdline()):
                return pid
    return None


def _read_rwlock(work_root: Path) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Read from DVC's `rwlock` which paths each process reads and writes."""
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
        # There is none, or DVC is writing it.
        return {}, {}
    return reads, writes


def _relative(paths: Iterable[str], root: Path) -> list[str]:
    return sorted(os.path.relpath(path, root) if Path(path).is_relative_to(root) else path for path in paths)


def is_queue_worker(driver: Driver | None) -> bool:
    """Return whether DVC's experiment queue drives the stage.

    Its workers inherit the environment of whoever started the queue, so variables that
    name a run belong to somebody else.
    """
    try:
        return driver is not None and "exec-run" in driver.process.cmdline()
    except psutil.Error:
        return False


@cache
def cpu_model() -> str:
    """Return the model of the CPU: linear algebra may differ in the last bits between models."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
