"""Read and write fitted models as joblib files."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import joblib

from src.atomic import atomic_path
from src.data.files import name_path
from src.errors import MissingInputError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

logger = logging.getLogger(__name__)


def read_model(path: Path) -> "Pipeline":
    """Read the model that stage `train` wrote.

    Loading a joblib file can run arbitrary code: read only files of your own pipeline or DVC remote.

    Raises:
        MissingInputError: The file is missing or is not a joblib file.
    """
    shown, hint = name_path(path), "stage train makes it: run `dvc repro train`"
    try:
        model: Pipeline = joblib.load(path)
    except FileNotFoundError:
        raise MissingInputError(f"{shown} is missing; {hint}.") from None
    # A damaged pickle can raise almost any exception, and any pickle can end Python.
    except (Exception, SystemExit) as error:
        raise MissingInputError(f"{shown} cannot be read as a joblib file ({error!r:.200}); {hint}.") from error
    return model


def write_model(model: "Pipeline", path: Path) -> None:
    """Write a fitted model."""
    with atomic_path(path) as partial:
        joblib.dump(model, partial)
    logger.info("wrote the model to %s", path)
