"""The warm server of a bare `dvc repro`: its first stage starts it, and it ends with that DVC process."""

import os
import shutil
from pathlib import Path

from src.tracking.names import COLD
from src.tracking.rwlock import read_writers
from src.warm.processes import ancestors, started_at

PREFIX = "pipeline-warm-"


def server_of_driver() -> str:
    """Find the server of the DVC process that runs this stage, and start it if this is the first.

    Returns:
        Its folder, or `0` if no DVC runs this stage or there is no way.
    """
    root = Path.cwd()
    writers = read_writers(root)
    driver = next((pid for pid in ancestors(os.getpid()) if pid in writers), None)
    if driver is None:
        return COLD
    try:
        folder = root / ".dvc" / "tmp" / f"{PREFIX}{driver}-{started_at(driver)}"
        folder.mkdir(0o700)
    except FileExistsError:
        # Whoever finds no server in it runs by itself.
        return str(folder)
    except OSError:
        return COLD
    _sweep(folder.parent)
    from src.warm.launch import is_possible, start_server

    try:
        # Some file systems have no modes; no client would enter such a folder.
        if is_possible() and not folder.stat().st_mode & 0o077:
            server = start_server(str(folder), owner=driver, outlives=True)
            # It lives longer than this process, which Popen would warn of.
            server.returncode = 0
            return str(folder)
    except OSError:
        # No room for a socket or a process, or a file system without sockets.
        pass
    shutil.rmtree(folder, ignore_errors=True)
    return COLD


def _sweep(parent: Path) -> None:
    """Delete what servers have left that were killed, once their owners are gone."""
    for folder in parent.glob(f"{PREFIX}*"):
        owner, _, start = folder.name.removeprefix(PREFIX).partition("-")
        try:
            is_over = str(started_at(int(owner))) != start
        except (OSError, ValueError):
            is_over = True
        if is_over:
            shutil.rmtree(folder, ignore_errors=True)
