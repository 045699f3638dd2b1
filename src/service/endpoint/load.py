"""Load the model to serve: of the workspace, a version, or the registry."""

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from src.config.data_load import TableFile
from src.data.kinds import convert_columns
from src.errors import TrackingError
from src.service.endpoint.predictor import Predictor
from src.tracking.lock import hash_file
from src.tracking.store import explain, store_uri
from src.versions.load import load_model, load_run, load_table_file

ALIAS = re.compile(r"models:/(?P<name>[^/@]+)@(?P<alias>[^/@]+)")
VERSION = re.compile(r"models:/(?P<name>[^/@]+)/(?P<version>[0-9]+)")


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
        TrackingError: The registry does not have the model, or cannot be asked.
        VersionError: The version does not exist, or its model is in neither cache nor remote.
        MissingInputError: The workspace has no model.
    """
    if uri:
        return load_registered_version(root, uri, find_version(root, uri))
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


def find_version(root: Path, uri: str) -> str:
    """Return the version that an alias names now.

    Raises:
        TrackingError: There is no such model, alias or version, or the registry cannot be asked.
    """
    if match := VERSION.fullmatch(uri):
        return match["version"]
    if not (match := ALIAS.fullmatch(uri)):
        raise TrackingError(f"{uri} is no registered model; write models:/NAME@ALIAS or models:/NAME/VERSION.")
    from mlflow import MlflowClient

    store = store_uri(root)
    try:
        return str(MlflowClient(store).get_model_version_by_alias(match["name"], match["alias"]).version)
    # MLflow's errors share no base class.
    except Exception as error:
        raise TrackingError(f"{uri}: {explain(error, store)}") from error


def load_registered_version(root: Path, uri: str, version: str) -> Served:
    """Load a version of a registered model, and predict its input example.

    Raises:
        TrackingError: It cannot be loaded, or does not predict its example.
    """
    import mlflow

    name = uri.removeprefix("models:/").partition("@")[0].partition("/")[0]
    store = store_uri(root)
    mlflow.set_tracking_uri(store)
    try:
        tags = dict(mlflow.MlflowClient(store).get_model_version(name, version).tags)
        with tempfile.TemporaryDirectory() as folder:
            path = mlflow.artifacts.download_artifacts(f"models:/{name}/{version}", dst_path=folder)
            model = mlflow.sklearn.load_model(path)
            example: Any = mlflow.models.Model.load(path).load_input_example(path)
    # A model may fail to load in any way.
    except Exception as error:
        raise TrackingError(f"{name}/{version}: {explain(error, store)}") from error
    about = {
        "model": f"{name}/{version}",
        "version": int(version),
        "tag": tags.get("git.tag"),
        "commit": tags.get("git.commit"),
        "data_md5": tags.get("data.md5"),
        "model_md5": tags.get("dvc.md5"),
    }
    return checked(Served(Predictor(model), load_table_file(root, tags.get("git.tag")), about, example))


def checked(served: Served) -> Served:
    """Return a model that predicts its input example.

    Raises:
        TrackingError: It does not.
    """
    if served.example is not None:
        try:
            served.predictor.predict(convert_columns(served.example, served.predictor.columns))
        except Exception as error:
            raise TrackingError(f"{served.label} does not predict its input example: {error}") from error
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
