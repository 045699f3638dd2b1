"""Score recorded predictions with labels that came later."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.config.data_load import TableFile
from src.config.schema import Config
from src.config.train import metric_of
from src.data.kinds import to_text
from src.data_load.read_file import read_file
from src.errors import DataError
from src.report.intervals import bootstrap_interval
from src.report.metrics import score_one
from src.report.predictions import NumberPredictions, Predictions, encode_classes
from src.report.profile import Reference
from src.service.monitoring.records import PROBABILITY

# With more days, periods are weeks; with more weeks, months.
MAX_PERIODS = 31


@dataclass(frozen=True)
class Score:
    """The headline metric of a period.

    Attributes:
        period: First day of the period; `all` for the whole window.
        interval: Ends of the 95 % interval; None if it is undefined.
    """

    period: str
    n_rows: int
    value: float
    interval: tuple[float, float] | None


def read_labels(path: Path, target: str, task: str) -> pd.Series:
    """Read labels from a CSV, Parquet or other table with the columns `id` and the target.

    Returns:
        Labels by id: text for a classification, numbers for a regression.

    Raises:
        DataError: A column is missing, an id occurs twice, or no row has both an id and a label.
    """
    table = read_file(path, TableFile(), as_text=["id"])
    if missing := [name for name in ("id", target) if name not in table]:
        raise DataError(
            f"{path}: missing column {', '.join(map(repr, missing))}; labels need the columns 'id', as in the answers "
            f"of the endpoint, and {target!r}."
        )
    known = table[table["id"].notna() & table[target].notna()]
    labels: pd.Series = known[target].set_axis(pd.Index(to_text(known["id"])))
    if labels.empty:
        raise DataError(f"{path}: no row has both an id and a label.")
    if labels.index.has_duplicates:
        first = labels.index[labels.index.duplicated()][0]
        raise DataError(f"{path}: id {first!r} appears more than once; keep one label for each id.")
    if task == "regression":
        numbers = pd.to_numeric(labels, errors="coerce")
        if numbers.isna().any():
            value = labels[numbers.isna()].iloc[0]
            raise DataError(f"{path}: {target!r} holds {value!r}, and a regression needs numbers.")
        return numbers.astype(float)
    return to_text(labels)


def join_labels(labelled: pd.DataFrame, labels: pd.Series, reference: Reference) -> Predictions:
    """Make predictions with known labels; a label that is no class of the model counts as wrong.

    Args:
        labelled: Records whose id has a label, shape (n_rows, n_columns).
    """
    y_true = labels.reindex(labelled["id"]).to_numpy()
    if reference.task == "regression":
        return NumberPredictions(y_true.astype(float), labelled["prediction"].to_numpy(dtype=float))
    classes = np.array(list(reference.labels), dtype=object)
    found = [f"{PROBABILITY}{name}" for name in classes]
    has_scores = all(name in labelled for name in found) and not labelled[found].isna().to_numpy().any()
    scores = labelled[found].to_numpy(dtype=float) if has_scores else np.empty((len(labelled), 0))
    known = labelled["prediction"].astype(object).to_numpy()
    return encode_classes(y_true.astype(object), known, scores, classes, has_scores, reference.positive)


def score_periods(predictions: Predictions, times: pd.Series, config: Config) -> list[Score]:
    """Compute the metric of `train.scoring` for all rows and for each day, week or month.

    Returns:
        The score of all rows, then those of the periods in order; periods without a defined metric are left out.
    """
    metric = metric_of(config.train.scoring)
    for length in ("D", "W", "M"):
        periods = times.dt.tz_localize(None).dt.to_period(length)
        if periods.nunique() <= MAX_PERIODS:
            break
    groups = [("all", np.arange(len(times)))]
    groups += [
        (str(period.start_time.date()), np.flatnonzero(periods == period)) for period in sorted(periods.unique())
    ]
    scores = []
    for name, rows in groups:
        part = _take(predictions, rows)
        value = score_one(metric, part)
        if np.isfinite(value):
            interval = bootstrap_interval(metric, part, config.evaluate.n_bootstrap, config.base.random_state)
            scores.append(Score(name, len(rows), value, interval))
    return scores


def _take(predictions: Predictions, rows: Any) -> Predictions:
    if isinstance(predictions, NumberPredictions):
        return NumberPredictions(predictions.y_true[rows], predictions.y_pred[rows])
    return replace(
        predictions, y_true=predictions.y_true[rows], y_pred=predictions.y_pred[rows], scores=predictions.scores[rows]
    )
