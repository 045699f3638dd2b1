"""git, DVC and GTO as the commands that they are; a version is their work, not ours."""

import json
import logging
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO

from src.errors import VersionError

logger = logging.getLogger(__name__)

# https://semver.org, with the `v` that git tags carry by custom.
SEMANTIC_VERSION = re.compile(r"v\d+\.\d+\.\d+(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?")
# Of this Python's environment, whatever the PATH holds.
PROGRAMS = {"git": ["git"], "dvc": [sys.executable, "-m", "dvc"], "gto": [sys.executable, "-m", "gto.cli"]}


def git(root: Path, *arguments: str) -> str:
    """Run git and give what it printed.

    Raises:
        VersionError: With git's own words.
    """
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, errors="surrogateescape", check=False
        )
    except OSError as error:
        raise VersionError(f"git cannot be run: {error}.") from error
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("hint:")]
        words = "; ".join(" ".join(line.split()) for line in lines[-3:]) or f"exit code {result.returncode}"
        raise VersionError(f"`git {arguments[0]}` failed: {words}")
    return result.stdout.strip()


def show_and_run(root: Path, *command: str, output: TextIO | int | None = None) -> None:
    """Show a command as a user would type it, and run it.

    Args:
        root: Folder to run it in.
        command: `git`, `dvc` or `gto` and arguments.
        output: Where its stdout goes; by default stderr, for what it tells on the way is for people.

    Raises:
        VersionError: It failed; its own words are above.
    """
    logger.info("$ %s", shlex.join(command))
    result = subprocess.run([*PROGRAMS[command[0]], *command[1:]], cwd=root, stdout=output or sys.stderr, check=False)
    if result.returncode:
        raise VersionError(f"`{shlex.join(command[:2])}` failed with exit code {result.returncode}, see above.")


def ask_dvc(root: Path, *arguments: str) -> Any:
    """Run a DVC command with `--json` and give its answer.

    Raises:
        VersionError: With DVC's own words.
    """
    command = [sys.executable, "-m", "dvc", *arguments, "--json"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    try:
        if result.returncode == 0:
            return json.loads(result.stdout)
    except ValueError:
        pass
    words = "; ".join(result.stderr.strip().splitlines()[-3:]) or f"exit code {result.returncode}"
    raise VersionError(f"`dvc {arguments[0]}` failed: {words}")


def find_commit(root: Path, reference: str, kind: str = "tag, branch or commit") -> str:
    """Find the commit of a tag, branch or hash.

    Args:
        root: A folder in the repository.
        reference: As a user gave it.
        kind: What it may be, for the message: `tag` takes nothing else.

    Raises:
        VersionError: There is none.
    """
    full_name = f"refs/tags/{reference}" if kind == "tag" else reference
    try:
        # Without the option a reference that begins with a dash would be an option itself.
        return git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{full_name}^{{commit}}")
    except VersionError:
        tags = git(root, "tag", "--list", "v*", "--sort=-version:refname").splitlines()
        known = f"the newest tags are {', '.join(tags[:5])}" if tags else "there are no tags yet"
        raise VersionError(f"{reference!r} is no {kind} of this repository; {known}.") from None


def list_tags(root: Path, commit: str) -> list[str]:
    """List the tags that point at a commit, oldest version first."""
    return git(root, "tag", "--points-at", commit, "--sort=version:refname").splitlines()


def find_changes(root: Path) -> list[str]:
    """List files that git knows or could know and that are not committed."""
    lines = git(root, "status", "--porcelain", "--no-renames").splitlines()
    return [line.strip().split(" ", 1)[1].strip() for line in lines]


def refuse_changes(root: Path, purpose: str) -> None:
    """Stop if anything is not committed.

    Raises:
        VersionError: Names the first files.
    """
    changed = find_changes(root)
    if changed:
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise VersionError(f"{', '.join(changed[:5])}{more}: not committed; commit or discard them, then {purpose}.")
