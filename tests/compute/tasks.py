"""Tasks that workers import."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.data.parts import Part, write_part
from src.errors import DataError


def double(number: int) -> int:
    return 2 * number


def refuse(number: int) -> int:
    if number == 3:
        raise DataError("the third is wrong.")
    return number


def read_item(position: int, values: Callable[[], Any]) -> int:
    return int(values()[position])


def wait(seconds: float) -> None:
    time.sleep(seconds)


def kill_worker(_: int) -> None:
    os.kill(os.getpid(), 9)


def copy_part(part: Part, folder: Path, pid_path: Path | None = None, waits: int = -1) -> int:
    """Copy a part; at the first call for the part `waits`, write the process id and wait to be killed."""
    if pid_path and part.number == waits and not pid_path.exists():
        partial = pid_path.with_suffix(".partial")
        partial.write_text(str(os.getpid()))
        partial.rename(pid_path)
        while True:
            time.sleep(0.05)
    write_part(part.read(), folder, part.number)
    return part.n_rows
