"""Read from git the state of the work tree, and DVC's experiments, which are refs."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from src.errors import VersionError
from src.tracking.names import UNKNOWN

# `git rev-parse --local-env-vars` of all versions. A git hook sets some of them.
LOCAL_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
# What a user's configuration could change in the output that is read here.
_NEUTRAL = ("-c", "color.ui=false", "-c", "core.fsmonitor=false", "-c", "log.showSignature=false")


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


def clean_environment() -> dict[str, str]:
    """Copy the environment without the variables that lead git, DVC and GTO into another repository."""
    return {name: value for name, value in os.environ.items() if name not in LOCAL_VARIABLES}


def run_git(
    root: Path, *arguments: str, stdin: str | None = None, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run git in the repository that contains `root`, whatever its user has configured or exported.

    Args:
        env: Variables to add.

    Raises:
        OSError: git is not installed, or `root` does not exist.
    """
    # Without optional locks, so that the user's own git commands never wait. File names may not be valid UTF-8.
    return subprocess.run(
        ["git", *_NEUTRAL, *arguments],
        cwd=root,
        env={**clean_environment(), "GIT_OPTIONAL_LOCKS": "0", **(env or {})},
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )


def read_git(root: Path, outputs: Iterable[str] = ()) -> GitState:
    """Read the state of the work tree that contains `root`; `unknown` outside of git.

    Args:
        outputs: Paths below `root` whose changes are ignored, because the pipeline writes them.
    """
    lines = _read_status(root, outputs)
    if lines is None:
        return GitState()
    headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    commit = headers.get("branch.oid", UNKNOWN)
    return GitState(
        commit=UNKNOWN if commit == "(initial)" else commit,
        branch=headers.get("branch.head", UNKNOWN),
        dirty=str(any(not line.startswith("#") for line in lines)).lower(),
    )


def list_changes(root: Path) -> list[str]:
    """List files that are changed, or untracked and not ignored, relative to the top of the work tree.

    Raises:
        VersionError: git cannot read its index or the work tree.
    """
    # 8 fields precede the path of a change, 10 that of a conflict, 1 that of an untracked file.
    n_fields = {"1": 8, "u": 10, "?": 1}
    lines = _read_status(root)
    if lines is None:
        raise VersionError("`git status` fails; run it to see why.")
    return [line.split(" ", n_fields[line[0]])[-1] for line in lines if line[0] in n_fields]


def _read_status(root: Path, outputs: Iterable[str] = ()) -> list[str] | None:
    paths = ["--", ":(top)", *(f":(exclude){path}" for path in outputs)]
    settings = ("--untracked-files=normal", "--ignore-submodules=none", "--no-renames")
    with _index_without_marks(root) as env:
        output = _git(root, "status", "-z", "--porcelain=v2", "--branch", *settings, *paths, env=env)
    return None if output is None else output.rstrip("\0").split("\0")


@contextmanager
def _index_without_marks(root: Path) -> Iterator[dict[str, str]]:
    """Yield variables with which git sees changes in files marked skip-worktree or assume-unchanged."""
    entries = (_git(root, "ls-files", "-v", "-z", ":/") or "").split("\0")
    # A sparse checkout marks files that are not there.
    marked = [entry[2:] for entry in entries if entry[:1].islower() or entry[:1] == "S"]
    marked = [path for path in marked if os.path.lexists(root / path)]
    index = _git(root, "rev-parse", "--git-path", "index") if marked else None
    if index is None:
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": str(shutil.copy(root / index.rstrip("\n"), folder))}
        for option in ("--no-skip-worktree", "--no-assume-unchanged"):
            _git(root, "update-index", "-z", option, "--stdin", stdin="".join(f"{path}\0" for path in marked), env=env)
        yield env


def is_tracked(root: Path, path: Path) -> bool:
    """Return whether git tracks a file, or anything in a folder, relative to `root`."""
    return bool(_git(root, "ls-files", "--", str(path)))


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


def _git(root: Path, *arguments: str, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str | None:
    try:
        result = run_git(root, *arguments, stdin=stdin, env=env)
    except OSError:
        return None
    return None if result.returncode else result.stdout
