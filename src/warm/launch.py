"""Start a warm server that ends with this process."""

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
def warm_server(*, with_tracking: bool) -> Iterator[str]:
    """Start a server in the background, and end it.

    Args:
        with_tracking: Whether the stages are recorded.

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
            process = _start(folder, with_tracking=with_tracking)
        except OSError as error:
            # No room for a folder, a socket or a process; the stages need neither.
            logger.debug("no warm server: %s", error)
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


def _start(folder: str, *, with_tracking: bool) -> "subprocess.Popen[bytes]":
    """Start a server on a socket that exists already: whoever comes early waits."""
    from src.warm.client import SOCKET

    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            # As the client connects: the folder's own name may be too long for an address.
            listener.bind(f"/proc/self/fd/{directory}/{SOCKET}")
            listener.listen()
            tracking = "tracking" if with_tracking else "no-tracking"
            arguments = [str(listener.fileno()), str(os.getpid()), folder, tracking]
            environ = dict(os.environ)
            # A server is nobody's client.
            environ.pop(names.PIPELINE_WARM, None)
            return subprocess.Popen(
                [sys.executable, "-m", "src.warm.server", *arguments],
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
