"""Allow one run, or one publication, at a time in a clone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from src.errors import BusyError
from src.tracking.process import find_dvc_at_work


@contextmanager
def exclusive(root: Path, target: str) -> Iterator[None]:
    """Refuse to run a target twice at the same time in a clone, or while DVC is running stages.

    DVC would refuse that too, but only after a parent run was opened.

    Raises:
        BusyError: Another process is running in this clone.
    """
    folder = root / ".dvc" / "tmp" / "pipeline"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{target}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(f"another `make {target}` is running in this clone; wait until it has ended.") from None
    try:
        if pid := find_dvc_at_work(root):
            raise BusyError(f"DVC is running stages in this clone (process {pid}); wait until it has ended.")
        yield
    finally:
        lock.release()
