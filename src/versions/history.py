"""A file by its MD5 in the history of git: every `dvc.lock` and `.dvc` file names what it held."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from src.errors import VersionError
from src.tracking.experiments import experiment_files
from src.tracking.lineage import read_lock
from src.versions.commands import git
from src.versions.objects import list_files

RECORDS = ("--", "dvc.lock", "*.dvc")


@dataclass(frozen=True)
class FoundFile:
    """Where git holds the MD5 of a file.

    Attributes:
        path: The file.
        commit: First commit that holds it.
        tags: Tags that hold the same file, oldest version first.
    """

    path: str
    commit: str
    tags: list[str]


def find_file(root: Path, md5: str) -> FoundFile | None:
    """Find the first commit of any branch, tag or experiment that recorded a file.

    Args:
        root: Root of the repository.
        md5: MD5 of a file, as `md5sum` prints it.
    """
    # -m: what came by a merge alone is found, too.
    commits = git(root, "log", "--all", "-m", "--reverse", "--format=%H", f"-S{md5}", *RECORDS).splitlines()
    for commit in commits:
        # The search names commits that took it away as well.
        path = _path_of(root, commit, md5)
        if path:
            return FoundFile(path, commit, _tags_that_hold(root, commit, md5))
    return None


def _path_of(root: Path, commit: str, md5: str) -> str | None:
    with experiment_files(root, commit) as folder:
        entries = list(read_lock(folder).values())
    recorded = [item for entry in entries for files in (entry.outs, entry.deps) for item in files.items()]
    return next((path for path, value in [*recorded, *list_files(root, commit).items()] if value == md5), None)


def _tags_that_hold(root: Path, commit: str, md5: str) -> list[str]:
    tags = git(root, "tag", "--contains", commit, "--sort=version:refname").splitlines()
    holding: set[str] = set()
    # grep fails where nothing is found.
    with suppress(VersionError):
        lines = git(root, "grep", "--files-with-matches", md5, *tags, *RECORDS) if tags else ""
        holding = {line.rpartition(":")[0] for line in lines.splitlines()}
    return [tag for tag in tags if tag in holding]
