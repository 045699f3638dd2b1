"""One run of the pipeline at a time in a clone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from src.errors import BusyError
from src.tracking.process import find_dvc_at_work


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keep other launchers away, and go away where a DVC is at work.

    DVC would refuse as well, but only after a parent run was opened, and the outputs of the
    other would be taken for those of this run.

    Raises:
        BusyError: Another process works in this clone.
    """
    folder = root / ".dvc" / "tmp" / "pipeline"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "launcher.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError("another `make pipeline` runs in this clone; wait until it has ended.") from None
    try:
        if pid := find_dvc_at_work(root):
            raise BusyError(f"another DVC, process {pid}, runs stages in this clone; wait until it has ended.")
        yield
    finally:
        lock.release()
