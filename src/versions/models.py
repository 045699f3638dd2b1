"""The model of a tag or of the workspace, without touching the workspace."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING

from src.data.models import read_model
from src.errors import VersionError
from src.tracking.cache import md5_of
from src.tracking.experiments import experiment_files
from src.tracking.lineage import read_lock, read_model_paths
from src.versions.commands import find_commit, git

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# What a model calls besides libraries. The errors that it raises are those of today.
CODE = "src.data."


def load_model(root: Path, revision: str | None = None) -> "Pipeline":
    """Load the model that takes raw columns.

    Reading a model can run any code that its author put there: load versions of
    repositories that you trust.

    Args:
        root: Root of the repository.
        revision: A tag, branch or commit; None takes the workspace.

    Returns:
        The fitted Pipeline. That of a revision computes its features as that revision did.

    Raises:
        MissingInputError: The workspace has no model.
        VersionError: There is no such revision, or its model is in neither cache nor remote.
    """
    if revision is None:
        return read_model(root / read_model_paths(root)[0])
    commit = find_commit(root, revision)
    with experiment_files(root, commit) as folder:
        paths = read_model_paths(folder) if (folder / "dvc.yaml").exists() else []
        lock = read_lock(folder)
    if not paths or not lock:
        raise VersionError(f"{revision} holds no model: it has no dvc.lock, or its dvc.yaml names no artifact.")
    md5 = next(entry.outs[paths[0]] for entry in lock.values() if paths[0] in entry.outs)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.joblib"
        _fetch(root, commit, paths[0], path)
        if md5_of(path) != md5:
            raise VersionError(f"{paths[0]} of {revision} is damaged: its MD5 is not the {md5} of dvc.lock.")
        with _code_of(root, commit):
            return read_model(path)


def _fetch(root: Path, commit: str, path: str, target: Path) -> None:
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    try:
        DVCFileSystem(str(root), rev=commit).get_file(path, str(target))
    except (DvcException, OSError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise VersionError(f"{path} of {commit[:8]} is in neither DVC's cache nor its remote ({words}).") from error


@contextmanager
def _code_of(root: Path, commit: str) -> Iterator[None]:
    """Let a model that is being read find the code of its own version: its features, and what these import."""
    finder = _Finder(root, commit)
    current = {name: module for name, module in sys.modules.items() if name.startswith(CODE)}
    for name in current:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.startswith(CODE)]:
            del sys.modules[name]
        sys.modules.update(current)


class _Finder(MetaPathFinder, InspectLoader):
    """Import modules as a commit holds them: the repository's own code, which `git checkout` would run as well."""

    def __init__(self, root: Path, commit: str) -> None:
        self._root, self._commit = root, commit

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Take modules of the package that models are made of, and leave all others."""
        return spec_from_loader(name, self) if name.startswith(CODE) else None

    def get_source(self, name: str) -> str:
        """Read a module from git."""
        try:
            return git(self._root, "show", f"{self._commit}:./{name.replace('.', '/')}.py") + "\n"
        except VersionError as error:
            raise ImportError(f"{self._commit[:8]} has no {name}: {error}", name=name) from error
