"""Bring a tagged version back: `python -m src.versions.restore --tag v1.0.0`."""

import argparse
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from src.errors import VersionError
from src.tracking.cache import md5_of
from src.utils.command import command
from src.versions.commands import ask_dvc, find_commit, git, refuse_changes, show_and_run
from src.versions.objects import fetch, is_sound, list_files, list_missing, objects_of

logger = logging.getLogger(__name__)

LOST = "{}: missing or damaged in DVC's cache and in its remote; push it again from a clone that has it."
# For git's index, its files and DVC's notes, on the way back.
RESERVED_BYTES = 2**20
# What DVC writes before it gives a file its name, and leaves behind on a full disk.
DVC_PARTIAL = ".??????????????????????.tmp"


def restore(root: Path, tag: str) -> None:
    """Check out a tag and its data; what the cache lacks is fetched first.

    If that cannot be done, everything is as it was before.

    Args:
        root: Root of the repository.
        tag: A git tag.

    Raises:
        VersionError: There is no such tag, work would be lost, data cannot be had, or the disk is full.
    """
    commit = find_commit(root, tag, kind="tag")
    if not git(root, "ls-tree", "--name-only", commit, "--", "dvc.lock"):
        raise VersionError(f"{tag} holds no dvc.lock: nothing of the pipeline was published with it.")
    refuse_changes(root, "restore")
    refuse_unsaved_data(root)
    fill_cache(root, commit)
    before = git(root, "branch", "--show-current") or find_commit(root, "HEAD")
    with _reserve(root) as reserve:
        try:
            show_and_run(root, "git", "checkout", "--quiet", "--detach", f"refs/tags/{tag}")
            check_out_data(root)
        except BaseException:
            # DVC does not always tell that the disk is full.
            free = shutil.disk_usage(root).free // 1024
            logger.warning("%s cannot be restored, with %d kB free on the disk; going back to %s", tag, free, before)
            reserve.unlink()
            _go_back(root, commit, before)
            raise
    logger.info("restored %s; `git checkout %s && dvc checkout` leads back", tag, before)


def fill_cache(root: Path, commit: str) -> None:
    """Fetch what DVC's cache lacks of a commit, before anything in the workspace is touched.

    Raises:
        VersionError: The remote that is named now cannot be reached, or lacks it too.
    """
    if not list_missing(root, commit):
        return
    logger.info("the cache lacks some of it: fetching")
    try:
        fetch(root, commit)
        missing = list_missing(root, commit)
        if missing:
            raise VersionError(LOST.format(", ".join(missing)))
    except VersionError as error:
        if not git(root, "diff", "--name-only", commit, "--", ".dvc/config"):
            raise
        # It may have been published when the remote was another one.
        logger.warning("%s Trying the remote of that version.", error)


@contextmanager
def _reserve(root: Path) -> Iterator[Path]:
    """Hold room on the disk that is needed to go back once it is full."""
    folder = root / ".dvc" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    reserve = folder / "restore-reserve"
    try:
        try:
            reserve.write_bytes(bytes(RESERVED_BYTES))
        except OSError as error:
            room = f"{RESERVED_BYTES // 2**20} MB besides the data"
            raise VersionError(f"restoring needs at least {room}: {error}; make room, then restore.") from error
        yield reserve
    finally:
        reserve.unlink(missing_ok=True)


def _go_back(root: Path, commit: str, before: str) -> None:
    kept = list_files(root, before)
    for path in list_files(root, commit):
        # The rest is in the cache or was written half: changes were refused.
        if md5_of(root / path) != kept.get(path):
            _delete(root / path)
        for partial in (root / path).parent.glob(DVC_PARTIAL):
            partial.unlink(missing_ok=True)
    show_and_run(root, "git", "checkout", "--quiet", "--force", before)
    with suppress(VersionError):
        # A fresh clone had no data before either.
        show_and_run(root, "dvc", "checkout", "--quiet")


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def refuse_unsaved_data(root: Path) -> None:
    """Stop if a file that DVC keeps was changed and not saved.

    Raises:
        VersionError: Names the files.
    """
    changed = ask_dvc(root, "data", "status").get("uncommitted", {}).get("modified", [])
    if changed:
        names = [item if isinstance(item, str) else item["path"] for item in changed]
        raise VersionError(
            f"{', '.join(names)}: changed since DVC saved it; drop the change by `dvc checkout`, or keep it, with the "
            "settings that made it, by `dvc commit` and git, then restore."
        )


def check_out_data(root: Path) -> None:
    """Check out what DVC keeps of HEAD, from the cache and else from the remote, and verify each file.

    Raises:
        VersionError: A file is missing or damaged in cache and remote.
    """
    if list_missing(root, "HEAD"):
        show_and_run(root, "dvc", "fetch")
    # Not --quiet: DVC would hide its reason, too.
    show_and_run(root, "dvc", "checkout")
    damaged = find_damaged(root)
    if damaged:
        logger.warning("%s: damaged in DVC's cache; fetching afresh", ", ".join(damaged))
        _forget(root, damaged)
        show_and_run(root, "dvc", "pull")
        damaged = find_damaged(root)
    if damaged:
        _forget(root, damaged)
        raise VersionError(LOST.format(", ".join(damaged)))


def find_damaged(root: Path) -> list[str]:
    """List what DVC keeps of HEAD whose content in the workspace is not as recorded."""
    return [path for path, md5 in list_files(root, "HEAD").items() if md5_of(root / path) != md5]


def _forget(root: Path, paths: Sequence[str]) -> None:
    """Delete damaged files, in the workspace and their objects in the cache."""
    files = list_files(root, "HEAD")
    for path in paths:
        for content in list(objects_of(root, files[path])):
            if not is_sound(content):
                content.unlink(missing_ok=True)
        _delete(root / path)


@command
def main() -> None:
    """Restore, from the command line."""
    parser = argparse.ArgumentParser(prog="restore", description=__doc__)
    parser.add_argument("--tag", required=True, help="a git tag")
    restore(Path.cwd(), parser.parse_args().tag)


if __name__ == "__main__":
    sys.exit(main())
