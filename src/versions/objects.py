"""What a version keeps in DVC's cache: its files by MD5, and what the cache lacks of them fetched."""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import yaml

from src.errors import VersionError
from src.tracking.cache import cache_dir, md5_of
from src.tracking.experiments import experiment_files
from src.tracking.lineage import read_lock, read_stages
from src.versions.commands import git

logger = logging.getLogger(__name__)

FOLDER = ".dir"


def list_files(root: Path, commit: str) -> dict[str, str]:
    """List what DVC keeps of a commit: outputs of the pipeline, and what was added by `dvc add`.

    Args:
        root: Root of the repository.
        commit: A commit.

    Returns:
        MD5 by path; that of a folder ends in `.dir`.
    """
    with experiment_files(root, commit) as folder:
        stages = read_stages(folder).values() if (folder / "dvc.yaml").exists() else []
        in_git = {path for stage in stages for path in stage.in_git}
        outputs = {path: md5 for entry in read_lock(folder).values() for path, md5 in entry.outs.items()}
    files = {path: md5 for path, md5 in outputs.items() if md5 and path not in in_git}
    for name in list_added(root, commit):
        for out in yaml.safe_load(git(root, "show", f"{commit}:./{name}")).get("outs", []):
            if out.get("md5") and out.get("cache", True):
                files[str(PurePosixPath(name).parent / out["path"])] = out["md5"]
    return files


def list_added(root: Path, commit: str) -> list[str]:
    """List the `.dvc` files of a commit."""
    names = git(root, "ls-tree", "-r", "-z", "--name-only", commit).split("\0")
    return [name for name in names if name.endswith(".dvc")]


def objects_of(root: Path, md5: str) -> Iterator[Path]:
    """Yield the object of a file in DVC's cache; of a folder, those of its files too."""
    path = cache_dir(root) / "files" / "md5" / md5[:2] / md5[2:]
    yield path
    if md5.endswith(FOLDER) and path.exists():
        for item in json.loads(path.read_text(encoding="utf-8")):
            yield from objects_of(root, item["md5"])


def is_sound(path: Path) -> bool:
    """Tell whether an object of the cache has the content that its name says."""
    return md5_of(path) == (path.parent.name + path.name).removesuffix(FOLDER)


def list_missing(root: Path, commit: str) -> list[str]:
    """List files of a commit that the cache lacks, wholly or in part."""
    files = list_files(root, commit)
    return [path for path, md5 in files.items() if not all(object_.exists() for object_ in objects_of(root, md5))]


def fetch(root: Path, commit: str, targets: Sequence[str] | None = None) -> None:
    """Fetch what the cache lacks of a commit from the remote; the workspace is not touched.

    Args:
        root: Root of the repository.
        commit: A commit.
        targets: Paths that are wanted; by default all.

    Raises:
        VersionError: The remote cannot be reached, or the disk is full; DVC has told more.
    """
    from dvc.repo import Repo

    # `dvc fetch` takes all tags or none, and takes a relative remote of a commit
    # relative to the root of the disk (DVC 3.67): so it is told where its remote is.
    try:
        with Repo(str(root)) as repo:
            remote = repo.config["core"].get("remote")
            config = {"core": {"remote": remote}, "remote": repo.config["remote"]} if remote else {}
        url = config["remote"][remote]["url"] if remote else ""
        if url and "://" not in url and not Path(url).is_dir():
            # DVC would say that each file is missing there.
            raise VersionError(f"DVC's remote {url} is not there; mount it, or name another by `make remote URL=…`.")
        with Repo(str(root), config=config) as repo:
            repo.fetch(targets=list(targets) if targets else None, revs=[commit], workspace=False)
    except VersionError:
        raise
    # The library of a remote raises almost anything.
    except Exception as error:
        logger.debug("fetching failed", exc_info=True)
        words = " ".join(str(error).split()) or type(error).__name__
        raise VersionError(f"fetching from DVC's remote failed, see above: {words.rstrip('.')}.") from error
