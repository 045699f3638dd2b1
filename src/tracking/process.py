"""Which process is which: DVC's driver of a stage, and whether a process still lives."""

import hashlib
import json
import os
import platform
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil

from src.tracking.rwlock import read_writers


@dataclass(frozen=True)
class ProcessKey:
    """A process, unmistakable also after its number was given to another.

    Attributes:
        pid: Process number.
        started: Start time of the process, in the unit of the platform.
        boot: Identity of the boot of the machine.
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
        """Tell whether the process runs; None if it belongs to another host."""
        if self.host != socket.gethostname():
            return None
        return self.boot == boot_id() and process_key(self.pid) == self


def process_key(pid: int) -> ProcessKey | None:
    """Make the key of a process; None if there is none."""
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
    """Tell when a living process of this host began, in seconds since the epoch."""
    if hasattr(time, "CLOCK_BOOTTIME") and Path("/proc/self/stat").exists():
        # psutil knows the time of the boot to the second only.
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - key.started / os.sysconf("SC_CLK_TCK")
        return time.time() - age
    return key.started


_stands_for: int | None = None


def stand_for(pid: int) -> None:
    """Count this process as another from now on.

    A fork of the warm server works for the command that DVC has started: that one has
    DVC above it, is found by whoever stops it, and lives exactly as long.
    """
    global _stands_for
    _stands_for = pid


def own_key() -> ProcessKey:
    """Make the key of this process, or of the one that it stands for."""
    key = process_key(_own_pid())
    assert key is not None, "this process lives"  # noqa: S101 - psutil always finds its own process
    return key


def _own_pid() -> int:
    return _stands_for or os.getpid()


@cache
def boot_id() -> str:
    """Identify the boot: Linux names it, elsewhere its time in seconds does."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else str(int(psutil.boot_time()))


def find_dvc_driver(work_root: Path) -> psutil.Process | None:
    """Find the DVC process that runs this stage.

    While a stage runs, DVC's own lock file names the process that holds the stage's
    outputs; it is ours if it is among our ancestors. A shell in between does not matter.

    Args:
        work_root: Folder that the stage runs in; its `.dvc` is the executing one.

    Returns:
        The process, or None if the stage was started by hand.
    """
    writers = read_writers(work_root)
    try:
        return next((parent for parent in psutil.Process(_own_pid()).parents() if parent.pid in writers), None)
    except psutil.Error:
        return None


def find_dvc_at_work(work_root: Path) -> int | None:
    """Find a DVC process that runs stages in a folder; None if there is none."""
    for pid in sorted(read_writers(work_root)):
        with suppress(psutil.Error):
            # The file may be older than whoever has that number now.
            if "dvc" in " ".join(psutil.Process(pid).cmdline()):
                return pid
    return None


def is_queue_worker(driver: psutil.Process | None) -> bool:
    """Tell whether DVC's experiment queue drives the stage.

    Its workers inherit the environment of whoever started the queue, so that
    variables about runs found there belong to somebody else.
    """
    try:
        return driver is not None and "exec-run" in driver.cmdline()
    except psutil.Error:
        return False


@cache
def cpu_model() -> str:
    """Name the kind of CPU: linear algebra may differ in the last bit between kinds."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
