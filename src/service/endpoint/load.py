"""Load the model to serve: of the workspace, a version, or the registry."""

import json
import logging
import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from src.config.data_load import TableFile
from src.config.load import load_config
from src.data.kinds import convert_columns
from src.errors import VersionError
from src.service.endpoint.predictor import Predictor
from src.service.registry.registered import PREFIX, open_registered
from src.text import message_of
from src.tracking.lock import hash_file
from src.tracking.store import AGAIN_HINT, Store, open_store
from src.versions.load import load_model, load_run, load_table_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A model that answers requests.

    Attributes:
        predictor: Predicts converted rows.
        how: Format of the files that the model was fitted on.
        about: What `/version` answers.
        example: Raw rows that the model must predict; None if none are known.
    """

    predictor: Predictor
    how: TableFile
    about: dict[str, Any]
    example: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """What the model is called, such as `iris/3`."""
        return str(self.about["model"])

    @cached_property
    def example_row(self) -> dict[str, Any]:
        """A row for the documentation."""
        if self.example is not None and len(self.example):
            row = json.loads(self.example.head(1).to_json(orient="records", date_format="iso"))[0]
            return {name: row.get(name) for name in self.predictor.names}
        return {name: _example_of(dict(self.predictor.columns[name])) for name in self.predictor.names}


def load_served(root: Path, uri: str | None = None, tag: str | None = None) -> Served:
    """Load a model.

    Args:
        root: Root of the repository.
        uri: A registered model, such as `models:/iris@champion` or `models:/iris/3`.
        tag: A published version. Without either, the model of the workspace.

    Raises:
        TrackingError: The registry cannot be asked.
        VersionError: The version does not exist, cannot be loaded, or its model is in neither cache nor remote.
        MissingInputError: The workspace has no model.
    """
    if uri:
        return load_registered_version(root, open_registry(root), uri)
    run = load_run(root, tag)
    model = load_model(root, tag)
    path = run.params.get("train", {}).get("model_path", "")
    data = run.params.get("data_load", {}).get("dataset_path", "")
    about = {
        "model": tag or "workspace",
        "version": None,
        "tag": tag,
        "commit": run.commit or _head(root),
        "data_md5": run.md5s.get(data),
        "model_md5": run.md5s.get(path) or hash_file(root / path),
    }
    return checked(Served(Predictor(model), load_table_file(root, tag), about))


def open_registry(root: Path) -> Store:
    """Open the store with the registered models.

    Raises:
        TrackingError: It cannot be read.
    """
    return open_store(root, load_config(root / "params.yaml").tracking.experiment_name, AGAIN_HINT)


def follows_alias(uri: str) -> bool:
    """Return whether a URI names an alias, which may move.

    >>> follows_alias("models:/iris@champion"), follows_alias("models:/iris/3")
    (True, False)
    """
    return "/" not in uri.removeprefix(PREFIX)


def load_registered_version(root: Path, store: Store, uri: str) -> Served:
    """Load a version of a registered model with the code that it carries, and predict its input example.

    Raises:
        PipelineError: It does not exist, cannot be loaded, or does not predict its example.
    """
    registered = open_registered(store, uri)
    tags = registered.version.tags
    about = {
        "model": registered.label,
        "version": int(registered.version.version),
        "tag": tags.get("git.tag"),
        "commit": tags.get("git.commit"),
        "data_md5": tags.get("data.md5"),
        "model_md5": tags.get("dvc.md5"),
    }
    return checked(Served(Predictor(registered.model), _table_file(root, about), about, registered.example))


def _table_file(root: Path, about: dict[str, Any]) -> TableFile:
    """Read the format of the table at the commit of a model; that of the workspace if this clone lacks the commit."""
    try:
        return load_table_file(root, about["commit"])
    except VersionError:
        logger.warning("%s: its commit is not in this clone; CSV is read with the workspace's format", about["model"])
        return load_table_file(root)


def checked(served: Served) -> Served:
    """Return a model that predicts its input example.

    Raises:
        VersionError: It does not.
    """
    if served.example is not None:
        try:
            served.predictor.predict(convert_columns(served.example, served.predictor.columns))
        # The code of a model may raise anything.
        except Exception as error:
            reason = message_of(error)[:300]
            raise VersionError(f"{served.label} does not predict its input example: {reason}") from error
    return served


def _example_of(declared: dict[str, Any]) -> Any:
    kind = declared["kind"]
    if kind == "ordinal":
        return declared["order"][0]
    if kind == "date":
        return "2026-01-31"
    return {"number": 1.0, "boolean": True}.get(kind, "text")


def _head(root: Path) -> str | None:
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None
