"""Load the record, the tables and the model of a version: the workspace, a tag, a commit, or an MLflow run."""

import json
import logging
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from src.config.data_load import TableFile
from src.config.load import load_config
from src.config.yaml_file import parse_yaml, read_text
from src.data.models import read_model
from src.errors import ConfigError, VersionError
from src.tracking import names
from src.tracking.git import read_file
from src.tracking.lock import hash_file, parse_lock, refuse_replaced
from src.versions.commands import find_commit, git
from src.versions.revision import WORKSPACE, open_content, read_revision

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

logger = logging.getLogger(__name__)

RUN_ID = re.compile("[0-9a-f]{32}")
_IMPORTING = threading.RLock()
# Settings with the paths of tables.
TABLES = {
    "dataset": ("data_load", "dataset_path"),
    "features": ("featurize", "features_path"),
    "train": ("data_split", "train_path"),
    "test": ("data_split", "test_path"),
}


@dataclass(frozen=True)
class LoadedRun:
    """The record of a version.

    Attributes:
        reference: The reference that was loaded; None for the workspace.
        commit: The commit at which it was made; None for the workspace, and if it is unknown.
        is_dirty: Whether its code may differ from that commit.
        params: Settings, by section.
        metrics: Numbers of all metric files, by dotted key.
        md5s: MD5 of each output by path.
    """

    reference: str | None
    commit: str | None
    is_dirty: bool
    params: dict[str, Any]
    metrics: dict[str, float]
    md5s: dict[str, str]

    @property
    def label(self) -> str:
        """The reference, for messages."""
        return self.reference or WORKSPACE


def load_run(root: Path, reference: str | None = None) -> LoadedRun:
    """Load the record of a version.

    Args:
        root: Root of the repository.
        reference: A tag, branch or commit, or the id of an MLflow run of this repository; None for the workspace.

    Raises:
        VersionError: The reference is unknown.
    """
    if reference and RUN_ID.fullmatch(reference):
        return _load_mlflow_run(root, reference)
    commit = find_commit(root, reference) if reference else None
    recorded = read_revision(root, commit or WORKSPACE)
    return LoadedRun(reference, commit, commit is None, recorded.params, recorded.metrics, recorded.md5s)


def load_table(root: Path, reference: str | None = None, table: str = "test") -> "pd.DataFrame":
    """Load a table of a version, without touching the workspace.

    Args:
        reference: As in `load_run`.
        table: `dataset` (the raw rows), `features`, `train`, `test`, or the path of a Parquet file.

    Raises:
        VersionError: The version has no such table, or it is in neither cache nor remote.
    """
    import pandas as pd

    run = load_run(root, reference)
    section, name = TABLES.get(table, ("", ""))
    # A pipeline with other stages has other settings.
    path = str(run.params.get(section, {}).get(name, table))
    if reference is None and (root / path).exists():
        return pd.read_parquet(root / path)
    with _content(root, run, path, f"table {path}") as copy:
        return pd.read_parquet(copy)


def load_model(root: Path, reference: str | None = None, *, trust: bool = False) -> "Pipeline":
    """Load the model that takes raw columns, without touching the workspace.

    Reading a model can run any code in it: load only versions that you trust.

    Args:
        reference: As in `load_run`.
        trust: Load the model of the workspace even if it is not the one in `dvc.lock`.

    Returns:
        The fitted Pipeline. The model of a version computes its features as its commit did.

    Raises:
        MissingInputError: The workspace has no model.
        VersionError: The version does not exist, its model is in neither cache nor remote, or the model of the
            workspace is not the one in `dvc.lock`.
    """
    if reference is None:
        model_path = load_config(root / "params.yaml").train.model_path
        if not trust:
            refuse_replaced(root, model_path, "or load it with --trust")
        return read_model(root / model_path)
    run = load_run(root, reference)
    path = str(run.params.get("train", {}).get("model_path", ""))
    if run.commit and path not in run.md5s:
        # A pipeline with other settings names its model in dvc.yaml.
        path = next(iter(read_revision(root, run.commit).models.values()), "")
    if run.commit is None:
        raise VersionError(
            f"{reference} was made at a commit that is not in this clone: the code of its features is missing."
        )
    if run.is_dirty:
        logger.warning(
            "%s was made with uncommitted changes; its model computes features with the code of %s",
            reference, run.commit[:9],
        )  # fmt: skip
    with _content(root, run, path, "model") as copy, code_of(root, run.commit):
        return read_model(copy)


def _load_mlflow_run(root: Path, run_id: str) -> LoadedRun:
    """Load the record of a parent run, or of the parent of a nested run."""
    # Importing MLflow takes a second.
    from src.tracking.store import open_store
    from src.versions.lineage import find_run

    store = open_store(root, load_config(root / "params.yaml").tracking.experiment_name)
    run = find_run(store, run_id)

    def read(name: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            return Path(store.client.download_artifacts(run.info.run_id, name, folder)).read_text(encoding="utf-8")

    try:
        lock, params = read("dvc.lock"), read("params.yaml")
    # MLflow's errors share no base class.
    except Exception as error:
        raise VersionError(f"{run_id} has no artifact dvc.lock: the run has not ended, or is incomplete.") from error
    outs = [item for entry in parse_lock(lock).values() for item in entry.outs.items()]
    return LoadedRun(
        reference=run_id,
        commit=_known_commit(root, run.data.tags.get(names.GIT_COMMIT, "")),
        is_dirty=run.data.tags.get(names.GIT_DIRTY) != "false",
        params=parse_yaml(params, Path("params.yaml")),
        metrics=dict(run.data.metrics),
        md5s={path: md5 for path, md5 in outs if md5},
    )


def _known_commit(root: Path, commit: str) -> str | None:
    with suppress(VersionError):
        return find_commit(root, commit)
    return None


@contextmanager
def _content(root: Path, run: LoadedRun, path: str, what: str) -> Iterator[Path]:
    """Copy an output of a version from DVC's cache or remote to a temporary file or folder.

    Raises:
        VersionError: It is not recorded, not found, or damaged.
    """
    md5 = run.md5s.get(path)
    if md5 is None:
        raise VersionError(f"{run.label} has no {what}; it has {', '.join(run.md5s) or 'no dvc.lock'}.")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, Path(path).name)
        try:
            copy_content(root, md5, copy)
        except VersionError as error:
            raise VersionError(f"{path} of {run.label}: {error}") from error
        yield copy


def copy_content(root: Path, md5: str, path: Path) -> None:
    """Copy a file from DVC's cache or remote, or a folder, whose content there is the list of its files.

    Raises:
        VersionError: It is not found, or damaged.
    """
    with open_content(root, md5) as content, path.open("wb") as file:
        shutil.copyfileobj(content, file)
    if hash_file(path) != md5.removesuffix(".dir"):
        raise VersionError(f"the copy is damaged: its MD5 is not the {md5} of dvc.lock.")
    if md5.endswith(".dir"):
        files = json.loads(path.read_bytes())
        path.unlink()
        for each in files:
            target = path / each["relpath"]
            if not target.resolve().is_relative_to(path.resolve()):
                raise VersionError(f"the copy is damaged: it has a file {each['relpath']} outside of its folder.")
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_content(root, each["md5"], target)


def load_table_file(root: Path, revision: str | None = None) -> TableFile:
    """Read the format of the text file that the model was fitted on; the default if it was fitted on no file.

    Other settings are not checked: today's code may not know those of an older version.
    """
    path = root / "params.yaml"
    if revision:
        text = read_file(root, find_commit(root, revision), path.name)
    else:
        text = read_text(path) if path.exists() else None
    section = parse_yaml(text, path).get("data_load") if text is not None else None
    source = section.get("source") if isinstance(section, dict) else None
    if not isinstance(source, dict):
        return TableFile()
    try:
        return TableFile.model_validate({key: source[key] for key in TableFile.model_fields if key in source})
    except ValidationError as error:
        of = f" of {revision}" if revision else ""
        keys = ", ".join(str(detail["loc"][0]) for detail in error.errors())
        raise ConfigError(f"params.yaml{of}: data_load.source: {keys} is not valid.") from None


@contextmanager
def code_of(root: Path, commit: str) -> Iterator[None]:
    """Import this project's modules from a commit while its model is read."""
    files = git(root, "ls-tree", "-r", "--name-only", commit, "src/").splitlines()
    with _imported_from(files, lambda path: git(root, "show", f"{commit}:./{path}") + "\n", commit[:8]):
        yield


@contextmanager
def code_in(folder: Path) -> Iterator[None]:
    """Import this project's modules from a folder with `src` in it, as a logged model carries one."""
    files = [path.relative_to(folder).as_posix() for path in folder.glob("src/**/*.py")]
    with _imported_from(files, lambda path: (folder / path).read_text(encoding="utf-8"), "the code of the model"):
        yield


@contextmanager
def _imported_from(files: Collection[str], read: Callable[[str], str], label: str) -> Iterator[None]:
    finder = _SourceFinder(files, read, label)
    # The modules that are imported now are shared by all threads.
    with _IMPORTING:
        # A copy, because other threads may import.
        current = {name: module for name, module in sys.modules.copy().items() if finder.is_responsible(name)}
        for name in current:
            del sys.modules[name]
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            for name in filter(finder.is_responsible, list(sys.modules)):
                del sys.modules[name]
            sys.modules.update(current)


class _SourceFinder(MetaPathFinder, InspectLoader):
    """Import modules from other files than those of the workspace.

    Args:
        files: Paths of the modules, such as `src/data/kinds.py`.
        read: Reads one of them.
        label: What holds them, for errors.
    """

    def __init__(self, files: Collection[str], read: Callable[[str], str], label: str) -> None:
        self._files, self._read, self._label = set(files), read, label

    @staticmethod
    def is_responsible(name: str) -> bool:
        """Return whether a module comes from the files: all of `src` except the errors, which today's code catches."""
        return f"{name}.".startswith("src.") and name != "src.errors"

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Return the spec of a module, or None if today's code has it."""
        is_package = self._path(name).endswith("/__init__.py")
        return spec_from_loader(name, self, is_package=is_package) if self.is_responsible(name) else None

    def get_source(self, name: str) -> str:
        """Read a module."""
        if (path := self._path(name)) not in self._files:
            raise ImportError(f"{self._label} has no {name}", name=name)
        return self._read(path)

    def _path(self, name: str) -> str:
        path = name.replace(".", "/")
        return f"{path}/__init__.py" if f"{path}/__init__.py" in self._files else f"{path}.py"
