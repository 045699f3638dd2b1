"""Start a warm server that ends with the process it serves."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from src.warm import COLD, PIPELINE_WARM, SOCKET
from src.warm.processes import ancestors, started_at

PREFIX = "pipeline-warm-"
# A server ends at once, unless this process ignores SIGTERM and so does the server.
TERMINATE_SECONDS = 2.0


@contextmanager
def warm_server(preload: Sequence[str] = ()) -> Iterator[str]:
    """Start a server in the background, and end it on leaving.

    Args:
        preload: Modules to import besides those of the stages, and functions `module:function` to call:
            after the stages, unless a client asks for that module earlier.

    Yields:
        The value of `PIPELINE_WARM` for the stages: the folder of the server, or `0` if it is
        turned off or cannot run here.
    """
    process = folder = None
    try:
        # Without space for a folder, a socket or a process, the stages run without a server.
        with suppress(OSError):
            if os.environ.get(PIPELINE_WARM) != COLD:
                folder = tempfile.mkdtemp(prefix=PREFIX)
                process = _start(folder, owner=os.getpid(), preload=preload, outlives=False, finish_with="")
        yield folder if folder and process else COLD
    finally:
        if process:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(TERMINATE_SECONDS)
            process.kill()
            process.wait()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def server_of_dvc(finish_with: str = "") -> str:
    """Find the server of the DVC process that runs this stage, or start it if this is its first stage.

    Args:
        finish_with: Module and arguments that the server runs once, after DVC has ended.

    Returns:
        Its folder, or `0` if no DVC process runs this stage or no server can run here.
    """
    tmp = Path.cwd() / ".dvc" / "tmp"
    writers = _read_writers(tmp / "rwlock")
    dvc = next((pid for pid in ancestors(os.getpid()) if pid in writers), None)
    if dvc is None:
        return COLD
    try:
        folder = tmp / f"{PREFIX}{dvc}-{started_at(dvc)}"
        folder.mkdir(0o700)
    except FileExistsError:
        return str(folder)
    except OSError:
        return COLD
    _delete_stale_folders(tmp)
    with suppress(OSError):
        # A file system without modes cannot keep other users out.
        if not folder.stat().st_mode & 0o077:
            server = _start(str(folder), owner=dvc, outlives=True, finish_with=finish_with)
            # It outlives this process; Popen would warn about that.
            server.returncode = 0
            return str(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return COLD


def _read_writers(rwlock: Path) -> set[int]:
    """Read from DVC's lock file which processes are running stages."""
    try:
        return {int(holder["pid"]) for holder in json.loads(rwlock.read_text())["write"].values()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        # There is none, or DVC is writing it.
        return set()


def _delete_stale_folders(tmp: Path) -> None:
    """Delete the folders of servers that were killed and whose DVC process has ended."""
    for folder in tmp.glob(f"{PREFIX}*"):
        owner, _, start = folder.name.removeprefix(PREFIX).partition("-")
        try:
            is_stale = str(started_at(int(owner))) != start
        except (OSError, ValueError):
            is_stale = True
        if is_stale:
            shutil.rmtree(folder, ignore_errors=True)


def _start(folder: str, **options: object) -> "subprocess.Popen[bytes]":
    """Start a server; its socket exists before it runs, so that early clients wait.

    Args:
        folder: An empty folder that only this user can enter; the server deletes it at its end.
        options: The arguments of `src.warm.server.Server`.

    Raises:
        OSError: This is not Linux 5.3 or later, or there is no space for a socket or a process.
    """
    if sys.platform != "linux":
        raise OSError(sys.platform)
    os.close(os.pidfd_open(os.getpid()))
    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            # As in the client: the folder's path may be too long for the address of a socket.
            listener.bind(f"/proc/self/fd/{directory}/{SOCKET}")
            listener.listen()
            options |= {"listener": listener.fileno(), "folder": folder}
            return subprocess.Popen(
                [sys.executable, "-m", "src.warm.server", json.dumps(options)],
                env={name: value for name, value in os.environ.items() if name != PIPELINE_WARM},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                # Signals from a terminal are for the clients.
                start_new_session=True,
            )
    finally:
        os.close(directory)
