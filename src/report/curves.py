"""The data of DVC's plots, in small files with the same names for every task.

`dvc plots diff` draws one curve for each version. It reports a file that is missing, but leaves out a
plot without rows, so every file is always written.
"""

import itertools
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.atomic import atomic_path
from src.config.schema import CURVES
from src.report.metrics import calibration_bins
from src.report.predictions import ClassPredictions, Floats, NumberPredictions, OneVsRest, Predictions
from src.report.visualizing import N_FEATURES_SHOWN, fit_label, merge_rarest

logger = logging.getLogger(__name__)

# DVC's template counts the rows of a confusion matrix, so they are repeated.
MAX_ROWS = 1000
GRID = np.linspace(0, 1, 101)
N_LETTERS = 60

Rows = list[dict[str, Any]]


def compute_curves(
    predictions: Predictions, shown: Predictions, importance: pd.DataFrame, random_state: int
) -> dict[str, Rows]:
    """Compute the points of each plot that the predictions allow.

    ROC and precision-recall are curves of the positive of two classes, otherwise means over the classes, each against
    the rest.

    Args:
        predictions: Predictions of all test rows, for the confusion matrix.
        shown: Predictions of the same rows or of a sample, for points and curves.
    """
    curves: dict[str, Rows] = {}
    if isinstance(predictions, ClassPredictions):
        curves["confusion_matrix"] = _confusion_matrix(predictions)
    if isinstance(shown, NumberPredictions):
        curves["predicted_against_true"] = _predicted_against_true(shown, random_state)
    else:
        if shown.one_vs_rest:
            rates = np.mean([_true_positive_rates(each) for each in shown.one_vs_rest], axis=0)
            precisions = np.mean([_precisions(each) for each in shown.one_vs_rest], axis=0)
            curves["roc"] = _rows(false_positive_rate=[0, *GRID], true_positive_rate=[0, *rates])
            curves["precision_recall"] = _rows(recall=GRID, precision=precisions)
        if shown.has_scores and shown.is_probability:
            predicted, observed, n_rows = calibration_bins(shown)
            curves["calibration"] = _rows(probability=predicted, observed_share=observed, n_rows=n_rows)
    if len(importance):
        first = importance.head(N_FEATURES_SHOWN)
        curves["permutation_importance"] = _rows(column=_labels(first["feature"]), drop_of_score=first["mean"])
    return curves


def write_curves(curves: dict[str, Rows], curves_dir: Path) -> None:
    """Write a JSON file for each of DVC's plots, without rows if it is not in `curves`."""
    for name in CURVES:
        lines = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in curves.get(name, []))
        with atomic_path(curves_dir / f"{name}.json") as partial:
            partial.write_text(f"[\n{lines}\n]\n" if lines else "[]\n", encoding="utf-8")
    logger.info("wrote the data of %d plots to %s", len(curves), curves_dir)


def _confusion_matrix(predictions: ClassPredictions) -> Rows:
    """Repeat the labels of each cell once per row, or in proportion if there are many rows."""
    counts, labels = merge_rarest(predictions.confusion, predictions.labels)
    names = _labels(labels)
    if (n_rows := counts.sum()) > MAX_ROWS:
        counts = np.where(counts, np.maximum(np.rint(counts * (MAX_ROWS / n_rows)), 1), 0).astype(int)
    cells = [cell for cell in np.argwhere(counts) for _ in range(counts[tuple(cell)])]
    return [{"true_label": names[true], "predicted_label": names[predicted]} for true, predicted in cells]


def _true_positive_rates(each: OneVsRest) -> Floats:
    """Interpolate a ROC curve on the grid; at a vertical step, take the upper end."""
    x, y = each.roc
    is_last = np.append(np.diff(x) > 0, True)
    return np.asarray(np.interp(GRID, x[is_last], y[is_last]))


def _precisions(each: OneVsRest) -> Floats:
    """Look up the precision of the highest threshold that reaches each recall of the grid."""
    recall, precision = (values[::-1] for values in each.recall_precision)
    # The first point has a recall of 0 and no threshold.
    return np.asarray(precision[1:][np.searchsorted(recall[1:], GRID - 1e-9)])


def _predicted_against_true(predictions: NumberPredictions, random_state: int) -> Rows:
    n_rows = len(predictions.y_true)
    rows = np.arange(n_rows)
    if n_rows > MAX_ROWS:
        rows = np.sort(np.random.default_rng(random_state).choice(rows, MAX_ROWS, replace=False))
    return _rows(true_value=predictions.y_true[rows], predicted_value=predictions.y_pred[rows])


def _labels(names: Iterable[Any]) -> list[str]:
    """Shorten names, replace what would end the script of DVC's page, and keep them unique."""
    labels: list[str] = []
    for name in names:
        label = short = fit_label(name, N_LETTERS).replace("<", "‹")
        numbers = itertools.count(2)
        while label in labels:
            label = f"{short} ({next(numbers)})"
        labels.append(label)
    return labels


def _rows(**columns: Sequence[Any] | Any) -> Rows:
    """Turn columns into rows, with numbers rounded to six digits, which are the same on most machines."""
    table = [[_plain(value) for value in values] for values in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*table, strict=True)]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else float(f"{value:.6g}")
