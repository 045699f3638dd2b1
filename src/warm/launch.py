"""Start a warm server that ends with the process it serves."""

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from src.tracking import names

logger = logging.getLogger(__name__)

# It ends at once, unless whoever started this process taught it to ignore SIGTERM.
PATIENCE_SECONDS = 2.0


@contextmanager
def warm_server() -> Iterator[str]:
    """Start a server in the background, and end it.

    Yields:
        What `PIPELINE_WARM` tells a stage: the folder of the server, or `0` where there is
        none: it was turned off, or this platform or machine has no way.
    """
    if os.environ.get(names.PIPELINE_WARM) == names.COLD or not is_possible():
        yield names.COLD
        return
    process = folder = None
    try:
        try:
            folder = tempfile.mkdtemp(prefix="pipeline-warm-")
            process = start_server(folder, owner=os.getpid(), outlives=False)
        except OSError as error:
            # No room for a folder, a socket or a process; the stages need neither.
            logger.info("no warm server: %s", error)
        yield folder if folder and process else names.COLD
    finally:
        if process:
            # Its forks end with it.
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def is_possible() -> bool:
    """Tell whether this platform has all that a warm server takes: fork, pidfd, and sockets that know their peer."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def start_server(folder: str, *, owner: int, outlives: bool) -> "subprocess.Popen[bytes]":
    """Start a server on a socket that exists already: whoever comes early waits.

    Args:
        folder: An empty folder of this user alone, which the server deletes when it ends.
        owner: The process that it serves, and whose end it ends with.
        outlives: Whether a stage goes on to its end when the owner is gone, as it would
            under DVC; the server then ends with the stage.

    Raises:
        OSError: There is no room for a socket or a process.
    """
    from src.warm.client import SOCKET

    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            # As the client connects: the folder's own name may be too long for an address.
            listener.bind(f"/proc/self/fd/{directory}/{SOCKET}")
            listener.listen()
            environ = dict(os.environ)
            # A server is nobody's client.
            environ.pop(names.PIPELINE_WARM, None)
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "src.warm.server",
                    str(listener.fileno()),
                    str(owner),
                    folder,
                    *["outlives"] * outlives,
                ],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                # What a terminal sends goes to the clients.
                start_new_session=True,
            )
    finally:
        os.close(directory)
