"""What a model card is written from."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sklearn.pipeline import Pipeline

from src.errors import MissingInputError
from src.report.metrics_file import Metrics
from src.report.slices import SliceSearch


@dataclass(frozen=True)
class Facts:
    """What a card tells that is in no settings.

    Attributes:
        model: The fitted Pipeline that takes featurized rows; its last step is the estimator.
        candidates: What the search compared.
        features: Columns that the model uses, by kind.
        n_rows: Rows by `train` and `test`.
        md5s: MD5 by path of the tables and of the model, as in `dvc.lock`.
        metrics: What `metrics.json` holds.
        cv_metrics: What `cv_metrics.json` holds.
        slices: Where the model is weak.
        findings: What was found before training.
        plots: Paths of the plots, relative to the card.
    """

    model: Pipeline
    candidates: pd.DataFrame
    features: Mapping[str, Sequence[str]]
    n_rows: Mapping[str, int]
    md5s: Mapping[str, str]
    metrics: Metrics
    cv_metrics: Mapping[str, float]
    slices: SliceSearch
    findings: Sequence[str]
    plots: Sequence[str]


def hash_files(paths: Iterable[Path]) -> dict[str, str]:
    """Give the MD5 of each file, by which DVC and `make lineage` know it."""
    md5s = {}
    for path in paths:
        with path.open("rb") as file:
            md5s[path.as_posix()] = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return md5s


def read_cv_metrics(path: Path) -> dict[str, float]:
    """Read the scores of the search; empty if nothing was searched.

    Raises:
        MissingInputError: The file is absent or damaged.
    """
    try:
        metrics: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MissingInputError(
            f"{path} is missing or damaged ({error!r:.100}); stage train makes it: run `dvc repro train`."
        ) from None
    return metrics
