"""Load the model of a tag or of the workspace, and the format of its training table."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from src.config.data_load import TableFile
from src.config.load import load_config
from src.config.yaml_file import parse_yaml, read_text
from src.data.models import read_model
from src.errors import ConfigError, VersionError
from src.tracking.git import read_file
from src.tracking.lock import hash_file, refuse_replaced
from src.versions.commands import find_commit, git
from src.versions.revision import open_content, read_revision

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def load_model(root: Path, revision: str | None = None, *, trust: bool = False) -> "Pipeline":
    """Load the model that takes raw columns, without touching the workspace.

    Reading a model can run any code in it: load only versions that you trust.

    Args:
        revision: A tag, branch or commit; None loads the model of the workspace.
        trust: Load the model of the workspace even if it is not the one in `dvc.lock`.

    Returns:
        The fitted Pipeline. The model of a revision computes its features as that revision did.

    Raises:
        MissingInputError: The workspace has no model.
        VersionError: The revision does not exist, its model is in neither cache nor remote, or the model of the
            workspace is not the one in `dvc.lock`.
    """
    if revision is None:
        model_path = load_config(root / "params.yaml").train.model_path
        if not trust:
            refuse_replaced(root, model_path, "or load it with --trust")
        return read_model(root / model_path)
    commit = find_commit(root, revision)
    recorded = read_revision(root, commit)
    path = next(iter(recorded.models.values()), "")
    md5 = recorded.outputs.get(path)
    if md5 is None:
        raise VersionError(f"{revision} has no model: it has no dvc.lock, or its dvc.yaml names no artifact.")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.joblib"
        try:
            with open_content(root, md5) as content:
                copy.write_bytes(content.read())
        except VersionError as error:
            raise VersionError(f"{path} of {revision}: {error}") from error
        if hash_file(copy) != md5:
            raise VersionError(f"{path} of {revision} is damaged: its MD5 is not the {md5} of dvc.lock.")
        with _code_of(root, commit):
            return read_model(copy)


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
def _code_of(root: Path, commit: str) -> Iterator[None]:
    """Import this project's modules from a commit while its model is read."""
    finder = _CommitFinder(root, commit)
    current = {name: module for name, module in sys.modules.items() if finder.is_responsible(name)}
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


class _CommitFinder(MetaPathFinder, InspectLoader):
    """Import modules from a commit: the repository's own code, which `git checkout` would run as well."""

    def __init__(self, root: Path, commit: str) -> None:
        self._root, self._commit = root, commit
        self._files = set(git(root, "ls-tree", "-r", "--name-only", commit, "src/").splitlines())

    @staticmethod
    def is_responsible(name: str) -> bool:
        """Return whether a module comes from the commit: all of `src` except the errors, which today's code catches."""
        return f"{name}.".startswith("src.") and name != "src.errors"

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Return the spec of a module of the commit, or None."""
        is_package = self._path(name).endswith("/__init__.py")
        return spec_from_loader(name, self, is_package=is_package) if self.is_responsible(name) else None

    def get_source(self, name: str) -> str:
        """Read a module from git."""
        if (path := self._path(name)) not in self._files:
            raise ImportError(f"{self._commit[:8]} has no {name}", name=name)
        return git(self._root, "show", f"{self._commit}:./{path}") + "\n"

    def _path(self, name: str) -> str:
        path = name.replace(".", "/")
        return f"{path}/__init__.py" if f"{path}/__init__.py" in self._files else f"{path}.py"
