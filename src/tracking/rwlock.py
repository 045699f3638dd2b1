"""DVC's own lock file, which tells what DVC runs at the moment."""

import json
from pathlib import Path


def read_writers(work_root: Path) -> set[int]:
    """Read which processes hold outputs of stages: while a stage runs, the DVC process that drives it.

    Args:
        work_root: Folder that the stage runs in; its `.dvc` is the executing one.
    """
    try:
        locked = json.loads((work_root / ".dvc" / "tmp" / "rwlock").read_text())
        return {int(holder["pid"]) for holder in locked["write"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # There is none, or it is being written.
        return set()
