"""Stages that ask the warm server for a fork, and the forks at work."""

import os
import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """A stage that asks for a fork.

    Attributes:
        client: The connection to its command.
        pid: The command.
        request: What it is to run, as what.
        files: Its stdin, stdout and stderr.
    """

    client: socket.socket
    pid: int
    request: dict[str, Any]
    files: list[int]

    def close(self) -> None:
        """Let go of its files."""
        for file in self.files:
            os.close(file)


@dataclass(frozen=True)
class Job:
    """A fork at work.

    Attributes:
        pid: Its number.
        ending: Becomes readable when it ends.
        client: The connection to its command.
    """

    pid: int
    ending: int
    client: socket.socket

    def signal(self, number: int) -> None:
        """Send a signal to it, and to all that it has started."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # It leads no group yet.
            os.kill(self.pid, number)
