"""Bring a tagged version back: `python -m src.versions.restore --tag v1.0.0`."""

import argparse
import logging
import sys
from contextlib import suppress
from pathlib import Path

from src.errors import VersionError
from src.tracking.cache import md5_of
from src.tracking.lineage import read_lock
from src.utils.command import command
from src.versions.commands import ask_dvc, find_commit, git, refuse_changes, show_and_run
from src.versions.publish import cached_files

logger = logging.getLogger(__name__)


def restore(root: Path, tag: str) -> None:
    """Check out a tag and its data; what the cache lacks is pulled.

    If that cannot be done, everything is as it was before.

    Args:
        root: Root of the repository.
        tag: A git tag.

    Raises:
        VersionError: There is no such tag, work would be lost, or data cannot be had.
    """
    commit = find_commit(root, tag, kind="tag")
    if not git(root, "ls-tree", "--name-only", commit, "--", "dvc.lock"):
        raise VersionError(f"{tag} holds no dvc.lock: nothing of the pipeline was published with it.")
    refuse_changes(root, "restore")
    refuse_unsaved_data(root)
    before = git(root, "branch", "--show-current") or find_commit(root, "HEAD")
    show_and_run(root, "git", "checkout", "--quiet", "--detach", f"refs/tags/{tag}")
    try:
        check_out_data(root)
    except BaseException:
        logger.warning("%s cannot be restored; going back to %s", tag, before)
        show_and_run(root, "git", "checkout", "--quiet", before)
        with suppress(VersionError):
            # A fresh clone had no data before either.
            show_and_run(root, "dvc", "checkout", "--quiet")
        raise
    logger.info("restored %s; `git checkout %s` leads back", tag, before)


def refuse_unsaved_data(root: Path) -> None:
    """Stop if a file that DVC keeps was changed and not saved.

    Raises:
        VersionError: Names the files.
    """
    changed = ask_dvc(root, "data", "status").get("uncommitted", {}).get("modified", [])
    if changed:
        names = [item if isinstance(item, str) else item["path"] for item in changed]
        raise VersionError(
            f"{', '.join(names)}: changed since DVC saved it; save it with `dvc commit` and git, or delete it, "
            "then restore."
        )


def check_out_data(root: Path) -> None:
    """Check out what `dvc.lock` names, from the cache and else from the remote, and verify each file.

    Raises:
        VersionError: A file is missing or damaged in cache and remote.
    """
    try:
        show_and_run(root, "dvc", "checkout", "--quiet")
    except VersionError:
        logger.info("the cache lacks some of it: pulling")
        show_and_run(root, "dvc", "pull")
    damaged = find_damaged(root)
    if damaged:
        logger.warning("%s: damaged in DVC's cache; pulling afresh", ", ".join(damaged))
        for path, content in cached_files(root):
            if path in damaged:
                content.unlink(missing_ok=True)
                (root / path).unlink(missing_ok=True)
        show_and_run(root, "dvc", "pull")
        damaged = find_damaged(root)
    if damaged:
        for path, content in cached_files(root):
            if path in damaged:
                content.unlink(missing_ok=True)
        raise VersionError(
            f"{', '.join(damaged)}: missing or damaged in DVC's cache and in its remote; push it again from a clone "
            "that has it."
        )


def find_damaged(root: Path) -> list[str]:
    """List outputs whose content is not what `dvc.lock` says."""
    return [
        path
        for entry in read_lock(root).values()
        for path, md5 in entry.outs.items()
        if md5 and md5_of(root / path) != md5
    ]


@command
def main() -> None:
    """Restore, from the command line."""
    parser = argparse.ArgumentParser(prog="restore", description=__doc__)
    parser.add_argument("--tag", required=True, help="a git tag")
    restore(Path.cwd(), parser.parse_args().tag)


if __name__ == "__main__":
    sys.exit(main())
