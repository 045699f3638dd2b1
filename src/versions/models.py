"""The model of a tag or of the workspace, without touching the workspace."""

import sys
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager
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

FEATURES = "src.data.features"


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
        with _features_of(root, commit):
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
def _features_of(root: Path, commit: str) -> Iterator[None]:
    """Let a model that is being read find the features' code of its own version."""
    code = git(root, "show", f"{commit}:./{FEATURES.replace('.', '/')}.py")
    module = types.ModuleType(FEATURES)
    # The repository's own code at that commit, which `git checkout` would run as well.
    exec(compile(code, f"{commit[:8]}:{FEATURES}", "exec"), module.__dict__)  # noqa: S102 - see above
    current = sys.modules.get(FEATURES)
    sys.modules[FEATURES] = module
    try:
        yield
    finally:
        if current is None:
            del sys.modules[FEATURES]
        else:
            sys.modules[FEATURES] = current
