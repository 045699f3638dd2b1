"""One run, or one publication, at a time in a clone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from src.errors import BusyError
from src.tracking.process import find_dvc_at_work


@contextmanager
def exclusive(root: Path, target: str) -> Iterator[None]:
    """Refuse a second `make` of the same target in a clone, and one beside a DVC that runs stages.

    DVC would refuse a second run too, but only after a parent run was opened.

    Raises:
        BusyError: Another process works in this clone.
    """
    folder = root / ".dvc" / "tmp" / "pipeline"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{target}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(f"another `make {target}` runs in this clone; wait until it has ended.") from None
    try:
        if pid := find_dvc_at_work(root):
            raise BusyError(f"another DVC, process {pid}, runs stages in this clone; wait until it has ended.")
        yield
    finally:
        lock.release()
