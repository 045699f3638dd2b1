"""Read from git the state of the work tree, and DVC's experiments, which are refs."""

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from src.tracking.names import UNKNOWN


@dataclass(frozen=True)
class GitState:
    """Commit, branch, and whether there are uncommitted changes: `true`, `false` or `unknown`."""

    commit: str = UNKNOWN
    branch: str = UNKNOWN
    dirty: str = UNKNOWN


@dataclass(frozen=True)
class Experiment:
    """An experiment of DVC: the ref `refs/exps/<baseline>/<name>`.

    Attributes:
        baseline: Commit that it started from.
        commit: Commit with its settings, `dvc.lock` and metrics.
        finished: Milliseconds since the epoch.
    """

    name: str
    baseline: str
    commit: str
    finished: int


def read_git(root: Path, outputs: Iterable[str] = ()) -> GitState:
    """Read the state of the work tree that contains `root`; `unknown` outside of git.

    Args:
        outputs: Paths below `root` whose changes are ignored, because the pipeline writes them.
    """
    paths = ["--", ":(top)", *(f":(exclude){path}" for path in outputs)]
    output = _git(root, "status", "--porcelain=v2", "--branch", *paths)
    if output is None:
        return GitState()
    lines = output.splitlines()
    headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    commit = headers.get("branch.oid", UNKNOWN)
    return GitState(
        commit=UNKNOWN if commit == "(initial)" else commit,
        branch=headers.get("branch.head", UNKNOWN),
        dirty=str(any(not line.startswith("#") for line in lines)).lower(),
    )


def list_experiments(root: Path) -> list[Experiment]:
    """List DVC's experiments, oldest first."""
    output = _git(root, "for-each-ref", "--format=%(committerdate:unix) %(objectname) %(refname)", "refs/exps") or ""
    # Other refs below refs/exps are queued and running tasks.
    found = re.findall(r"^(\d+) (\w+) refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)$", output, re.MULTILINE)
    experiments = [
        Experiment(name, head + tail, commit, 1000 * int(seconds)) for seconds, commit, head, tail, name in found
    ]
    return sorted(experiments, key=lambda experiment: experiment.finished)


def read_file(root: Path, revision: str, path: str) -> str | None:
    """Read a text file of a commit, relative to `root`; None if the commit has no such file."""
    return _git(root, "show", f"{revision}:./{path}")


def _git(root: Path, *arguments: str) -> str | None:
    # Without optional locks, so that the user's own git commands never wait.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        output = subprocess.run(["git", *arguments], cwd=root, env=environment, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    # File names may not be valid UTF-8.
    return output.decode("utf-8", errors="surrogateescape")
