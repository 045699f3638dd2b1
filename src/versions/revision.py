"""Read DVC's record of a commit, and its files in DVC's cache and remote."""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from src.errors import VersionError
from src.text import message_of
from src.tracking.dvc_repo import is_report
from src.tracking.lock import hash_file
from src.tracking.session import numbers
from src.versions.commands import git

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo

logger = logging.getLogger(__name__)

WORKSPACE = "workspace"


@dataclass(frozen=True)
class Revision:
    """DVC's record of a commit: the MD5 of each file by path, and values.

    Attributes:
        outputs: Outputs of the pipeline; None if `dvc.lock` has no MD5.
        added: Files added by `dvc add`.
        metrics: Numbers of all metric files by dotted key.
        models: Path of each artifact of type `model`, by name.
    """

    outputs: dict[str, str | None]
    added: dict[str, str | None]
    dependencies: dict[str, str | None]
    metrics: dict[str, float]
    params: dict[str, Any]
    models: dict[str, str]

    @property
    def md5s(self) -> dict[str, str]:
        """The outputs that `dvc.lock` records."""
        return {path: md5 for path, md5 in self.outputs.items() if md5}


@contextmanager
def open_revision(root: Path, commit: str) -> Iterator["Repo"]:
    """Open the DVC repository of a commit or of `WORKSPACE`, with today's cache.

    Raises:
        VersionError: DVC cannot read it.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo, repo.switch(commit):
            yield repo
    # An ImportError: the configured remote needs a package that is not installed.
    except (DvcException, ImportError) as error:
        raise VersionError(f"DVC cannot read {commit[:9]}: {message_of(error)}.") from error


def refuse_stale(root: Path, purpose: str) -> None:
    """Raise a `VersionError` if a stage of the workspace must run, or an output is missing."""
    with open_revision(root, WORKSPACE) as repo:
        stale = sorted(repo.status())
    if stale:
        raise VersionError(
            f"{', '.join(stale)}: stale or not in the cache; run `make pipeline`, commit, then {purpose}."
        )


def read_revision(root: Path, commit: str) -> Revision:
    """Read the outputs, metrics, settings and models of a commit or of `WORKSPACE`."""
    with open_revision(root, commit) as repo:
        outs = list(repo.index.outs)
        metrics, params = (kind.show().get("", {}).get("data", {}) for kind in (repo.metrics, repo.params))
        artifacts = [item for file in repo.artifacts.read().values() for item in file.items()]
        return Revision(
            outputs={_path(out): out.hash_info.value for out in outs if out.stage.cmd},
            added={_path(out): out.hash_info.value for out in outs if not out.stage.cmd},
            dependencies={_path(dep): dep.hash_info.value for dep in repo.index.deps if dep.hash_info.name == "md5"},
            metrics={key: value for file in metrics.values() for key, value in numbers(file.get("data") or {}).items()},
            params=params.get("params.yaml", {}).get("data", {}),
            models={name: artifact.path for name, artifact in artifacts if artifact.type == "model"},
        )


def read_recorded(root: Path, reference: str, commit: str) -> Revision:
    """Read a commit in which the pipeline has run.

    Raises:
        VersionError: It has no `dvc.lock`.
    """
    revision = read_revision(root, commit)
    if not revision.md5s:
        raise VersionError(f"{reference} has no dvc.lock: nothing is recorded.")
    return revision


def read_cpu(root: Path, tag: str) -> str | None:
    """Read the kind of CPU from the message of a published tag; None if `tag` is no such tag."""
    message = git(root, "for-each-ref", "--format=%(contents)", f"refs/tags/{tag}")
    found = re.search(r"^CPU: (.+)$", message, re.MULTILINE)
    return found[1] if found else None


def list_cached(root: Path, commit: str) -> list[Path]:
    """List the files and folders of a commit that DVC keeps in its cache."""
    with open_revision(root, commit) as repo:
        return [root / _path(out) for out in _cached_outs(repo)]


def find_damaged(root: Path, commit: str, *, delete: bool = False) -> list[str]:
    """List the files of a commit that are missing or damaged in DVC's cache.

    DVC itself trusts a write-protected object without reading it.

    Args:
        delete: Whether to delete damaged objects, so that DVC fetches them again.
    """
    from dvc_data.hashfile.tree import Tree

    damaged = []
    with open_revision(root, commit) as repo:
        for out in _cached_outs(repo):
            content = out.get_obj()
            files = [info.value for _, _, info in content] if isinstance(content, Tree) else []
            for md5 in [out.hash_info.value, *files]:
                path = Path(out.cache.oid_to_path(md5))
                if not path.exists() or hash_file(path) != md5.removesuffix(".dir"):
                    damaged.append(_path(out))
                    if delete:
                        path.unlink(missing_ok=True)
    return list(dict.fromkeys(damaged))


def find_uncommitted(root: Path) -> list[str]:
    """List the files that DVC uses in the workspace, and that neither HEAD nor DVC's cache has.

    A file that git ignores, through a setting of its user, is missing in every other clone.
    """
    with open_revision(root, WORKSPACE) as repo:
        used = [Path(stage.path).relative_to(repo.root_dir).as_posix() for stage in repo.index.stages]
        for file in _git_files(repo):
            # DVC does not count what .dvcignore names.
            below = repo.dvcignore.find(repo.fs, file.fs_path) if file.isdir() else [file.fs_path]
            used += [Path(path).relative_to(repo.root_dir).as_posix() for path in below]
        cached = _cached_paths(repo)
    # A link in git stands for the files below it.
    known = _list_committed(root, "HEAD") | cached
    return [path for path in dict.fromkeys(used) if not known & _with_parents(path)]


def find_missing(root: Path, commit: str) -> list[str]:
    """List the dependencies of a commit's stages that neither git nor DVC has."""
    with open_revision(root, commit) as repo:
        needed, cached = [_path(file) for file in _git_files(repo)], _cached_paths(repo)
    known = _list_committed(root, commit) | cached
    folders = set().union(*map(_with_parents, known))
    return [path for path in dict.fromkeys(needed) if path not in folders and not known & _with_parents(path)]


def _git_files(repo: "Repo") -> "Iterator[Output]":
    """Yield what stages read and write, except what DVC keeps in its cache."""
    for stage in repo.index.stages:
        if stage.cmd:
            yield from (file for file in (*stage.deps, *stage.outs) if file.is_in_repo and not file.use_cache)


def _cached_paths(repo: "Repo") -> set[str]:
    return {_path(out) for out in _cached_outs(repo)}


def _list_committed(root: Path, commit: str) -> set[str]:
    return set(git(root, "ls-tree", "-r", "-z", "--name-only", commit).split("\0"))


def _with_parents(path: str) -> set[str]:
    return {path, *(parent.as_posix() for parent in PurePosixPath(path).parents)}


def read_data_remote(root: Path) -> tuple[str, str]:
    """Return the name and the URL of DVC's default remote, which are empty if none is configured."""
    with open_revision(root, WORKSPACE) as repo:
        name = repo.config["core"].get("remote") or ""
        return name, repo.config["remote"].get(name, {}).get("url", "")


def fetch(root: Path, commit: str, targets: Sequence[str] = ()) -> None:
    """Fetch files of a commit, by default all, from today's remote into the cache.

    Raises:
        VersionError: The remote is unavailable, or the disk is full.
    """
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            name = repo.config["core"].get("remote")
            remote = repo.config["remote"].get(name, {})
            url = remote.get("url", "")
            if url and "://" not in url and not Path(url).is_dir():
                # DVC would report each file as missing.
                raise VersionError(
                    f"DVC's remote {url} does not exist; mount it, or set another by `make remote URL=…`."
                )
            # The command `dvc fetch` accepts no commit, and a relative URL of the commit's own
            # config would resolve to the root of the disk (DVC 3.67).
            config = {"core": {"remote": name}, "remote": {name: remote}} if remote else {}
            repo.fetch(targets=list(targets) or None, revs=[commit], workspace=False, config=config)
    except VersionError:
        raise
    # The library behind a remote may raise anything.
    except Exception as error:
        logger.debug("fetching failed", exc_info=True)
        raise VersionError(f"fetching from DVC's remote failed, see above: {message_of(error).rstrip('.')}.") from error


def read_pictures(root: Path, commit: str) -> dict[str, bytes | None] | None:
    """Read the PNG files among the plots and reports of a commit, from DVC's cache or else from its remotes.

    Returns:
        Content by path, or None for a picture that neither has; None if both lack the list of the pictures.
    """
    from dvc_data.hashfile.tree import Tree

    with open_revision(root, commit) as repo:
        plots = {_path(out): str(out.hash_info.value) for out in _cached_outs(repo) if is_report(out)}
    found = {}
    for path, md5 in plots.items():
        if not md5.endswith(".dir"):
            found[path] = md5
            continue
        try:
            files = Tree.from_list(json.loads(_read_content(root, md5) or b""))
        except ValueError:
            return None
        found |= {"/".join((path, *key)): info.value for key, _, info in files}
    return {path: _read_content(root, md5) for path, md5 in found.items() if path.endswith(".png")}


def _read_content(root: Path, md5: str) -> bytes | None:
    with suppress(VersionError), open_content(root, md5) as file:
        return bytes(file.read())
    return None


@contextmanager
def open_content(root: Path, md5: str) -> Iterator[Any]:
    """Open a file by its MD5, from DVC's cache or else from its remotes.

    Raises:
        VersionError: None has it.
    """
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        # An output may have a remote of its own.
        remotes = [repo.config["core"].get("remote"), *repo.config["remote"]]
        for name in (WORKSPACE, *dict.fromkeys(filter(None, remotes))):
            try:
                storage = repo.cache.local if name == WORKSPACE else repo.cloud.get_remote_odb(name)
                file = storage.fs.open(storage.oid_to_path(md5), "rb")
            # As in fetch.
            except Exception:
                logger.debug("%s cannot be opened", md5, exc_info=True)
                continue
            with file:
                yield file
            return
    raise VersionError(f"{md5} is in neither DVC's cache nor its remote.")


def _cached_outs(repo: "Repo") -> "Iterator[Output]":
    return (out for out in repo.index.outs if out.use_cache and out.hash_info and out.is_in_repo)


def _path(out: "Output") -> str:
    return "/".join(out.index_key[1])
