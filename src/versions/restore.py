"""Restore a published version: `python -m src.versions.restore --tag v1.0.0`."""

import argparse
import logging
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from src.errors import VersionError
from src.utils.command import command
from src.versions.commands import find_commit, git, refuse_changes, show_and_run
from src.versions.revision import (
    WORKSPACE,
    fetch,
    find_damaged,
    find_missing,
    list_cached,
    open_revision,
    read_recorded,
)

logger = logging.getLogger(__name__)

# git and DVC need space to go back when the data has filled the disk.
RESERVED_BYTES = 2**20
# DVC's temporary files, which it leaves on a full disk.
DVC_PARTIAL = ".??????????????????????.tmp"


def restore(root: Path, tag: str) -> None:
    """Check out a tag with its data, or leave the workspace unchanged.

    Raises:
        VersionError: The tag does not exist, changes would be lost, data is unavailable, or the disk is full.
    """
    commit = find_commit(root, tag, kind="tag")
    read_recorded(root, tag, commit)
    if missing := find_missing(root, commit):
        raise VersionError(
            f"{tag} cannot be restored: its stages need {', '.join(missing)}, and neither git nor DVC has it."
        )
    refuse_changes(root, "restore")
    refuse_unsaved_data(root)
    is_complete = True
    try:
        complete_cache(root, commit)
    except VersionError as error:
        if not git(root, "diff", "--name-only", commit, "--", ".dvc/config"):
            raise
        # The version may have been published to another remote.
        logger.warning("%s Trying the remote of that version.", error)
        is_complete = False
    before = git(root, "branch", "--show-current") or find_commit(root, "HEAD")
    outputs = list_cached(root, commit)
    new = [path for path in outputs if not path.exists()]
    reserve = _reserve_space(root)
    try:
        # By default, git overwrites files that it ignores.
        _check_out(root, f"refs/tags/{tag}", "--detach", "--no-overwrite-ignore")
        if not is_complete:
            complete_cache(root, commit)
        # --quiet would hide the reason of a failure.
        show_and_run(root, "dvc", "checkout")
    except BaseException:
        # DVC does not always report that the disk is full.
        free = shutil.disk_usage(root).free // 1024
        reserve.unlink()
        logger.warning("%s cannot be restored, with %d kB free on the disk; going back to %s", tag, free, before)
        for partial in [partial for path in outputs for partial in path.parent.glob(DVC_PARTIAL)]:
            partial.unlink(missing_ok=True)
        for path in filter(os.path.lexists, new):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        _check_out(root, before, "--force")
        # In a fresh clone, the data of HEAD may not be in the cache.
        with suppress(VersionError):
            show_and_run(root, "dvc", "checkout", "--quiet", "--force")
        raise
    finally:
        reserve.unlink(missing_ok=True)
    logger.info("restored %s; go back with `git checkout %s && dvc checkout`", tag, before)


def _check_out(root: Path, reference: str, *options: str) -> None:
    try:
        show_and_run(root, "git", "checkout", "--quiet", *options, reference)
    except VersionError:
        # git switches after it has written all files, and then runs the hook.
        branch = git(root, "branch", "--show-current")
        is_there = branch == reference if "--detach" not in options and branch else not branch
        if not is_there or find_commit(root, "HEAD") != find_commit(root, reference):
            raise
        logger.warning("git has checked out %s, but its post-checkout hook failed, see above; going on", reference)


def refuse_unsaved_data(root: Path) -> None:
    """Raise a `VersionError` if a file has changed since DVC saved it."""
    with open_revision(root, WORKSPACE) as repo:
        changed = repo.data_status()["uncommitted"].get("modified", [])
    if changed:
        raise VersionError(
            f"{', '.join(changed)}: changed since DVC saved it; drop the change by `dvc checkout`, or run "
            "`make pipeline` with it and commit, then restore."
        )


def complete_cache(root: Path, commit: str) -> None:
    """Fetch files of a commit that are missing or damaged in DVC's cache, from the remote that is configured now.

    Raises:
        VersionError: The remote is unavailable, or does not have them.
    """
    if not (damaged := find_damaged(root, commit, delete=True)):
        return
    logger.info("fetching what is missing in DVC's cache: %s", ", ".join(damaged))
    fetch(root, commit)
    if damaged := find_damaged(root, commit, delete=True):
        raise VersionError(
            f"{', '.join(damaged)}: missing or damaged in DVC's cache and in its remote; push it again from a clone "
            "that has it."
        )


def _reserve_space(root: Path) -> Path:
    reserve = root / ".dvc" / "tmp" / "restore-reserve"
    try:
        reserve.write_bytes(bytes(RESERVED_BYTES))
    except OSError as error:
        with suppress(OSError):
            reserve.unlink()
        raise VersionError(
            f"restoring needs at least 1 MB besides the data: {error}; make room, then restore."
        ) from error
    return reserve


@command
def main() -> None:
    """Restore, from the command line."""
    parser = argparse.ArgumentParser(prog="restore", description=__doc__)
    parser.add_argument("--tag", required=True, help="a git tag")
    restore(Path.cwd(), parser.parse_args().tag)


if __name__ == "__main__":
    sys.exit(main())
