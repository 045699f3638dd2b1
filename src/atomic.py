"""Write files atomically: completely or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and move the file to `path` if no error occurs.

    The folder is created, and the temporary file has the same suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        # mkstemp makes files private; outputs get the mode that open() gives.
        partial.chmod(0o666 & ~read_umask())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read_umask() -> int:
    """Return the umask, the mode bits that new files do not get; it can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
