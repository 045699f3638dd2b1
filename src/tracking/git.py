"""The state of git, read."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from src.tracking.names import UNKNOWN


@dataclass(frozen=True)
class GitState:
    """Commit, branch and whether anything was uncommitted: `true`, `false` or `unknown`."""

    commit: str = UNKNOWN
    branch: str = UNKNOWN
    dirty: str = UNKNOWN


def read_git(root: Path) -> GitState:
    """Read the state of the work tree that holds `root`; `unknown` outside of git."""
    # Without optional locks, so that a user's own git command is never in the way.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        output = subprocess.run(
            ["git", "status", "--porcelain=v2", "--branch"],
            cwd=root, env=environment, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return GitState()
    lines = output.splitlines()
    headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    commit = headers.get("branch.oid", UNKNOWN)
    return GitState(
        commit=UNKNOWN if commit == "(initial)" else commit,
        branch=headers.get("branch.head", UNKNOWN),
        dirty=str(any(not line.startswith("#") for line in lines)).lower(),
    )
