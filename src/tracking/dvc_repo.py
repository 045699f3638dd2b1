"""Ask DVC about a repository: its stages, which of them are stale, and where content is cached.

Importing DVC costs half a second, so the process of a stage does not use this module.
"""

import logging
import posixpath
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from src.config.yaml_file import parse_yaml
from src.errors import TrackingError
from src.tracking.lock import LockEntry, parse_lock
from src.tracking.session import numbers

logger = logging.getLogger(__name__)

# Outputs with these suffixes are logged as artifacts, as plots are.
REPORT_SUFFIXES = (".md", ".html")


@dataclass(frozen=True)
class Stage:
    """A stage after DVC has resolved `foreach`, `matrix`, `vars` and `wdir`.

    Attributes:
        name: DVC's address, such as `train` or `train@iris`.
        deps: Paths of the inputs, relative to the root.
        outs: Paths of the outputs, including metrics and plots.
        reports: The plots, Markdown files, web pages and outputs of the type `report`.
    """

    name: str
    deps: list[str] = field(default_factory=list)
    outs: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)


class DvcRepo:
    """A workspace, or a commit, as DVC sees it.

    Args:
        revision: A commit; None for the workspace.

    Raises:
        TrackingError: DVC cannot read the repository or its `dvc.yaml`.
    """

    def __init__(self, root: Path, revision: str | None = None) -> None:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        self.root, self._revision = root, revision
        self._open = ExitStack()
        try:
            self._repo = self._open.enter_context(Repo(str(root)))
            if revision:
                # Not Repo(rev=…), which reads the configuration of the commit.
                self._open.enter_context(self._repo.switch(revision))
            self._pipeline = {self._address(stage): stage for stage in self._repo.index.stages if stage.cmd}
        # DVC also raises errors of its parsers, of git and of the operating system.
        except (DvcException, OSError, ValueError) as error:
            self._open.close()
            raise TrackingError(f"DVC cannot read {root}: {' '.join(str(error).split())}") from error

    def __enter__(self) -> "DvcRepo":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """The stages that have a command, in the order of `dvc.yaml`."""
        return {
            name: Stage(
                name=name,
                deps=[_path(dep) for dep in stage.deps if _is_file(dep)],
                outs=[_path(out) for out in stage.outs],
                reports=[_path(out) for out in stage.outs if is_report(out)],
            )
            for name, stage in self._pipeline.items()
        }

    @cached_property
    def lock(self) -> dict[str, LockEntry]:
        """The entry of each stage in `dvc.lock`, with paths relative to the root."""
        found: dict[str, LockEntry] = {}
        for folder in dict.fromkeys(Path(stage.path).parent for stage in self._pipeline.values()):
            prefix = self._relative(folder)
            text = self.read_text((prefix / "dvc.lock").as_posix())
            for name, entry in parse_lock(text).items() if text else ():
                found[name if prefix == Path() else f"{prefix.as_posix()}/dvc.yaml:{name}"] = entry
        # Paths in dvc.lock are relative to the stage's `wdir`.
        wdirs = {name: self._relative(stage.wdir) for name, stage in self._pipeline.items()}
        return {name: _relocate(entry, wdirs[name]) for name, entry in found.items() if name in wdirs}

    @cached_property
    def data_paths(self) -> set[str]:
        """Paths that DVC versions: outputs of stages, and files added by `dvc add`."""
        return {_path(out) for stage in self._repo.index.stages for out in stage.outs}

    @cached_property
    def model_paths(self) -> list[str]:
        """Paths of the artifacts in `dvc.yaml` whose type is `model`."""
        found = self._repo.artifacts.read().values()
        return [artifact.path for artifacts in found for artifact in artifacts.values() if artifact.type == "model"]

    def find_stale(self) -> tuple[set[str] | None, dict[str, list[str]]]:
        """Find the stages that DVC would run again, and those of which only data is missing.

        Returns:
            Names of stale stages, or None if another DVC process holds its lock; missing paths by stage.
            Missing data alone makes no stage stale: `dvc pull` fetches it, and with `--allow-missing` DVC
            calls such a stage unchanged.
        """
        if self._revision:
            return self._inconsistent(), {}
        from dvc.exceptions import DvcException

        try:
            status = self._repo.status()
        except DvcException as error:
            logger.debug("dvc status failed: %s", error)
            return None, {}
        stale, missing = set(), {}
        for name, stage in self._pipeline.items():
            # A stage without dependencies always runs, which does not make it stale.
            changes = [change for change in status.get(stage.addressing, []) if change != "always changed"]
            absent = [path for change in changes for path in self._missing_in(change)]
            if None in absent:
                stale.add(name)
            elif absent:
                missing[name] = [path for path in absent if path is not None]
        return stale | (set(missing) & self._inconsistent()), missing

    def _missing_in(self, change: "str | dict[str, dict[str, Any]]") -> list[str | None]:
        """Return the data that is missing according to one entry of `dvc status`, and None for another change."""
        if isinstance(change, str):
            return [None]
        reasons = [item for group in change.values() for item in group.items()]
        return [
            path if reason in ("deleted", "not in cache") and path in self.data_paths else None
            for path, reason in reasons
        ]

    def _inconsistent(self) -> set[str]:
        """Return the stages of a commit that are not in its lock, or whose inputs differ from what its stages wrote."""
        produced = {path: md5 for entry in self.lock.values() for path, md5 in entry.outs.items()}
        consistent = {
            name
            for name, entry in self.lock.items()
            if all(produced.get(path, md5) == md5 for path, md5 in entry.deps.items())
        }
        return set(self.stages) - consistent

    def read_metrics(self, without: Collection[str] = (), revision: str | None = None) -> dict[str, float]:
        """Read the metrics of stages and of the top level, by dotted key.

        Args:
            without: Paths of metrics files to leave out.
            revision: A commit; by default the one that was opened, or the workspace.
        """
        from dvc.exceptions import DvcException

        revision = revision or self._revision
        values: dict[str, float] = {}
        # DVC raises if there are no metrics.
        with suppress(DvcException):
            shown = self._repo.metrics.show(revs=[revision] if revision else None)
            for path, content in shown.get(revision or "", {}).get("data", {}).items():
                data = content.get("data")
                if path not in without and isinstance(data, Mapping):
                    values |= numbers(data)
        return values

    def find_files(self, path: str, md5: str | None) -> dict[str, Path]:
        """Find the content of a file, or of each file of a folder, in DVC's cache.

        Args:
            path: File or folder, relative to the root.
            md5: Its hash in `dvc.lock`.

        Returns:
            Cached files by their path relative to the root. Files that are not in the cache are left out.
        """
        if md5 is None:
            return {}
        from dvc_data.hashfile import load
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_objects.errors import ObjectFormatError

        cache = self._repo.cache.local
        found = {path: md5}
        if md5.endswith(".dir"):
            try:
                tree: Any = load(cache, HashInfo("md5", md5))
            # It is missing or damaged.
            except (OSError, ObjectFormatError):
                return {}
            found = {"/".join((path, *key)): info.value for key, _, info in tree}
        files = {name: Path(cache.oid_to_path(value)) for name, value in found.items()}
        if self._revision is None and any(entry.outs.get(path) == md5 for entry in self.lock.values()):
            # Files that git tracks instead of DVC are not in the cache.
            files = {name: file if file.is_file() else self.root / name for name, file in files.items()}
        return {name: file for name, file in files.items() if file.is_file()}

    def _address(self, stage: Any) -> str:
        # DVC's own address depends on the working folder.
        folder = self._relative(stage.path).parent
        name = getattr(stage, "name", None) or Path(stage.path).name
        return str(name) if folder == Path() else f"{folder.as_posix()}/dvc.yaml:{name}"

    def _relative(self, path: str | Path) -> Path:
        return Path(path).relative_to(self._repo.root_dir)

    def read_text(self, path: str) -> str | None:
        """Read a text file of the workspace or the commit; None if it does not exist."""
        try:
            with self._repo.fs.open(self._repo.fs.join(self._repo.root_dir, path), encoding="utf-8") as file:
                return str(file.read())
        except FileNotFoundError:
            return None

    def read_yaml(self, path: str) -> dict[str, Any]:
        """Read a YAML mapping of the workspace or the commit; empty if the file does not exist."""
        text = self.read_text(path)
        return {} if text is None else parse_yaml(text, Path(path))


@contextmanager
def open_repo(root: Path, revision: str | None = None) -> Iterator[DvcRepo | None]:
    """Open a workspace or a commit; None if DVC cannot read it, which DVC itself reports when it runs."""
    try:
        repo = DvcRepo(root, revision)
    except TrackingError as error:
        logger.debug("%s", error)
        yield None
        return
    with repo:
        yield repo


def _is_file(dep: Any) -> bool:
    # Parameters and URLs are dependencies too.
    return dep.protocol in ("local", "file") and not dep.__class__.__name__.startswith("Params")


def is_report(out: Any) -> bool:
    """Return whether an output is a plot, a Markdown file, a web page, or of the type `report`."""
    return bool(out.plot or out.annot.type == "report" or out.def_path.endswith(REPORT_SUFFIXES))


def _path(item: Any) -> str:
    """Return the path of an output or dependency, relative to the root, or its URL."""
    root = item.repo.root_dir
    path = Path(item.fs_path)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(item.def_path)


def _relocate(entry: LockEntry, wdir: Path) -> LockEntry:
    def moved(items: Mapping[str, Any]) -> dict[str, Any]:
        return {posixpath.normpath(wdir / path) if "://" not in path else path: value for path, value in items.items()}

    return replace(entry, deps=moved(entry.deps), outs=moved(entry.outs), sizes=moved(entry.sizes))
