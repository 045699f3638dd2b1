"""Stop the first process that writes a certain file, in the middle of that. Python imports this at its start.

`PAUSE_AT` is a part of the file's path, and `PAUSED` the file to which the process writes its pid.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any


def _pause(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "os.rename":
        # The temporary file is complete, and not in its place.
        path, is_write = arguments[1], True
    elif event == "open":
        path, is_write = arguments[0], "w" in str(arguments[1])
    else:
        return
    if not is_write or not str(path).endswith(os.environ["PAUSE_AT"]):
        return
    try:
        with Path(os.environ["PAUSED"]).open("x") as marker:
            marker.write(f"{os.getpid()}\n")
    except FileExistsError:
        return
    if event == "open":
        # As it is until the new content is flushed.
        os.truncate(path, 0)
    os.kill(os.getpid(), signal.SIGSTOP)


if os.environ.get("PAUSE_AT"):
    sys.addaudithook(_pause)
