"""Find and load a registered model version."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import TrackingError, VersionError
from src.text import message_of
from src.tracking.logged_model import packages_of, read_estimators, trusted_types_in
from src.tracking.store import AGAIN_HINT, Store, explain
from src.versions.load import code_in

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion
    from sklearn.pipeline import Pipeline

PREFIX = "models:/"
# Errors of MLflow that mean that a name, a version or an alias does not exist.
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class Registered:
    """A registered model version that was loaded.

    Attributes:
        model: The fitted Pipeline, which takes raw columns.
        example: The input example: raw rows; None if the model was logged without.
    """

    version: "ModelVersion"
    model: "Pipeline"
    example: "pd.DataFrame | None"

    @property
    def label(self) -> str:
        """Name and number, such as `iris/3`."""
        return label_of(self.version)


def label_of(version: "ModelVersion") -> str:
    """Return the name and the number of a version, such as `iris/3`."""
    return f"{version.name}/{version.version}"


def find_registered(store: Store, uri: str) -> "ModelVersion":
    """Find a registered version.

    Args:
        uri: `models:/iris@champion` or `models:/iris/3`; `models:/` may be left out.

    Raises:
        VersionError: There is no such model, version or alias.
        TrackingError: The store cannot be used.
    """
    from mlflow.exceptions import MlflowException

    rest = uri.removeprefix(PREFIX)
    # A name contains no slash, but it may contain an @.
    name, _, number = rest.rpartition("/")
    alias = ""
    if not name:
        name, _, alias = rest.rpartition("@")
    if not name or not (alias or number.isdecimal()):
        raise VersionError(
            f"{uri!r} is not a registered model; use one such as models:/iris@champion or models:/iris/3."
        )
    try:
        if alias:
            return store.client.get_model_version_by_alias(name, alias)
        return store.client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code in _MISSING:
            what = f"alias {alias}" if alias else f"version {number}"
            raise VersionError(
                f"MLflow store {store.label} has no {what} of a registered model {name!r}; `make models` lists all."
            ) from error
        raise TrackingError(explain(error, store.uri, AGAIN_HINT)) from error
    # The store itself: MLflow raises errors of SQLAlchemy and requests too.
    except Exception as error:
        raise TrackingError(explain(error, store.uri, AGAIN_HINT)) from error


def open_registered(store: Store, uri: str) -> Registered:
    """Load a registered version, with the code that it carries instead of today's.

    The code of a model runs when it is loaded: whoever can write to the store of artifacts can run code here. Types
    that are neither the project's nor of an estimator in the settings of its run are refused.

    Args:
        uri: As in `find_registered`.

    Raises:
        VersionError: The version does not exist, its files are missing or damaged, a package is missing, or it
            contains types that are not trusted.
        TrackingError: The store cannot be used.
    """
    version = find_registered(store, uri)
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(mlflow.artifacts.download_artifacts(version.source, dst_path=folder, tracking_uri=store.uri))
        # The errors of artifact stores share no base class.
        except Exception as error:
            raise VersionError(f"{label_of(version)}: its files cannot be read: {message_of(error)[:300]}.") from error
        return Registered(version, *_read_files(path, label_of(version), _packages(store, version)))


def _packages(store: Store, version: "ModelVersion") -> set[str]:
    """Return the packages of the estimators in the settings of the run that trained a model."""
    from mlflow.exceptions import MlflowException

    try:
        params = store.client.get_run(version.run_id or "").data.params
    # The run may have been deleted for good: then only scikit-learn's types are trusted.
    except MlflowException:
        return set()
    return packages_of(read_estimators(params.get("train.estimator", "")))


def _read_files(folder: Path, label: str, packages: set[str]) -> tuple[Any, Any]:
    """Read the Pipeline and the input example from the files of a logged model."""
    import skops.io
    from mlflow.models import Model

    try:
        description = Model.load(str(folder))
        flavor = description.flavors.get("sklearn", {})
        path, code = folder / flavor.get("pickled_model", ""), folder / flavor.get("code", "")
        if flavor.get("serialization_format") != "skops":
            raise VersionError(
                f"{label} is not a model in skops format, as stage train logs it; register another version."
            )
        with code_in(code):
            model = skops.io.load(path, trusted=trusted_types_in(path, packages))
        return model, description.load_input_example(str(folder))
    except VersionError:
        raise
    except TrackingError as error:
        raise VersionError(f"{label}: {error}.") from error
    except ModuleNotFoundError as error:
        raise VersionError(f"{label} needs the package {error.name}, which is not installed; install it.") from error
    # A damaged file can raise almost any exception.
    except Exception as error:
        raise VersionError(
            f"{label}: its files are damaged or incomplete ({type(error).__name__}: {message_of(error)[:200]}); "
            "promote another version, or register the run again."
        ) from error
