"""Run git, DVC and GTO, and turn their failures into a `VersionError`."""

import logging
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from src.errors import VersionError
from src.tracking.git import clean_environment, list_changes, run_git

logger = logging.getLogger(__name__)

# https://semver.org, with the customary `v` of git tags.
SEMANTIC_VERSION = re.compile(r"v\d+\.\d+\.\d+(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?")
# DVC and GTO of this Python environment, which may not be those on PATH.
PROGRAMS = {"git": ["git"], "dvc": [sys.executable, "-m", "dvc"], "gto": [sys.executable, "-m", "gto.cli"]}


def git(root: Path, *arguments: str) -> str:
    """Run git and return its stripped output.

    Raises:
        VersionError: git failed; quotes its last lines.
    """
    result = run_git(root, *arguments)
    if result.returncode:
        lines = [" ".join(line.split()) for line in result.stderr.splitlines() if not line.startswith("hint:")]
        reason = "; ".join(list(filter(None, lines))[-3:]) or f"exit code {result.returncode}"
        raise VersionError(f"`git {arguments[0]}` failed: {reason}")
    return result.stdout.strip()


def show_and_run(
    root: Path, *command: str, output: TextIO | int | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Print a command as a user would type it, and run it.

    Args:
        output: Where stdout goes, by default to stderr.

    Raises:
        VersionError: The command failed; it has printed the reason.
    """
    logger.info("$ %s", shlex.join(command))
    program = [*PROGRAMS[command[0]], *command[1:]]
    variables = clean_environment() if env is None else env
    result = subprocess.run(program, cwd=root, stdout=output or sys.stderr, env=variables, check=False)
    if result.returncode:
        raise VersionError(f"`{shlex.join(command[:2])}` failed with exit code {result.returncode}, see above.")


def find_commit(root: Path, reference: str, kind: str = "tag, branch or commit") -> str:
    """Return the full hash of a tag, branch or commit.

    Args:
        kind: Describes the references in the error; `tag` accepts tags only.

    Raises:
        VersionError: It does not exist.
    """
    full_name = f"refs/tags/{reference}" if kind == "tag" else reference
    try:
        # Without --end-of-options, a reference that starts with a dash would be an option.
        return git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{full_name}^{{commit}}")
    except VersionError:
        tags = git(root, "tag", "--list", "v*", "--sort=-version:refname").splitlines()
        known = f"the newest tags are {', '.join(tags[:5])}" if tags else "there are no tags yet"
        raise VersionError(f"{reference!r} is not a {kind} of this repository; {known}.") from None


def list_tags(root: Path, commit: str) -> list[str]:
    """List the tags that point at a commit, oldest version first."""
    return git(root, "tag", "--points-at", commit, "--sort=version:refname").splitlines()


def find_remote(root: Path) -> str | None:
    """Return the git remote to which `git push` would push HEAD; None if there is none."""
    remotes = git(root, "remote").splitlines()
    branch = git(root, "branch", "--show-current")
    wanted = git(root, "for-each-ref", "--format=%(push:remotename)", f"refs/heads/{branch}") if branch else ""
    return next((name for name in (wanted, "origin") if name in remotes), remotes[0] if remotes else None)


def refuse_changes(root: Path, purpose: str) -> None:
    """Raise a `VersionError` if a file is changed, or untracked and not ignored."""
    if changed := list_changes(root):
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise VersionError(f"{', '.join(changed[:5])}{more}: not committed; commit or discard them, then {purpose}.")
