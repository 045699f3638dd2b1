"""Metrics: each name, average and source is written once, here."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.report.predictions import ClassPredictions, NumberPredictions, Predictions
from src.report.ranking import Floats

logger = logging.getLogger(__name__)

# Metric by what scikit-learn calls its scorer, where the names differ.
_METRIC_OF_SCORING = {
    "neg_log_loss": "log_loss",
    "neg_mean_absolute_error": "mae",
    "neg_median_absolute_error": "median_absolute_error",
    "neg_root_mean_squared_error": "rmse",
}
N_CALIBRATION_BINS = 10


def metric_of(scoring: str) -> str:
    """Name the metric that a search maximises or whose opposite it does."""
    return _METRIC_OF_SCORING.get(scoring, scoring)


def score(predictions: Predictions) -> dict[str, float]:
    """Score predictions by every metric of their task that is defined for them.

    Returns:
        Names without their split. What is undefined, as a ranking without one class, is
        left out and said in the log.
    """
    scores = {name: score_one(name, predictions) for name in _metrics(predictions)}
    if isinstance(predictions, ClassPredictions) and not predictions.is_known.all():
        logger.warning(
            "%d of %d rows have a label that is not in the training rows (%s): they count as wrong, and metrics of "
            "probabilities leave them out",
            (~predictions.is_known).sum(), len(predictions.y_true),
            ", ".join(repr(label) for label in predictions.labels[predictions.n_classes :][:5]),
        )  # fmt: skip
    if undefined := [name for name, value in scores.items() if not np.isfinite(value)]:
        logger.info("not defined for these rows, and left out: %s", ", ".join(undefined))
    return {name: value for name, value in scores.items() if name not in undefined}


def score_one(metric: str, predictions: Predictions) -> float:
    """Score predictions by one metric; NaN where it is undefined."""
    if isinstance(predictions, ClassPredictions) and metric in score_matrix(np.eye(1)):
        return float(score_matrix(predictions.counts)[metric])
    function = _metrics(predictions).get(metric)
    return float(function(predictions)) if function else float("nan")


def score_matrix(counts: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Score confusion matrices.

    As scikit-learn, averages are over labels that occur, true or predicted, and a share
    of nothing is 0. The balanced accuracy is the mean recall of labels that are true.

    Args:
        counts: True labels down, shape (…, n_labels, n_labels).

    Returns:
        Each metric with shape (…).
    """
    by_class = score_classes(counts)
    true, occurs = by_class["support"], counts.sum(axis=-1) + counts.sum(axis=-2) > 0

    def macro(values: NDArray[Any], where: NDArray[Any] = occurs) -> NDArray[Any]:
        return share((values * where).sum(axis=-1), where.sum(axis=-1))

    return {
        "accuracy": share(np.trace(counts, axis1=-2, axis2=-1), true.sum(axis=-1)),
        "balanced_accuracy": macro(by_class["recall"], true > 0),
        "f1_macro": macro(by_class["f1"]),
        "f1_weighted": share((by_class["f1"] * true).sum(axis=-1), true.sum(axis=-1)),
        "precision_macro": macro(by_class["precision"]),
        "recall_macro": macro(by_class["recall"]),
    }


def score_classes(counts: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Give precision, recall, F1 and number of true rows of each label, shape (…, n_labels)."""
    hits, true, predicted = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1), counts.sum(axis=-2)
    return {
        "precision": share(hits, predicted),
        "recall": share(hits, true),
        "f1": share(2 * hits, true + predicted),
        "support": true,
    }


def share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Divide, with 0 for a share of nothing."""
    return np.asarray(part / np.maximum(whole, np.finfo(float).tiny) * (whole != 0), dtype=float)


def log_losses(predictions: ClassPredictions) -> Floats:
    """Give the negative logarithm (nats) of what each known row's true class was given."""
    known = predictions.is_known
    given = predictions.confidence[known, predictions.y_true[known]]
    smallest = np.finfo(float).eps
    losses: Floats = -np.log(np.clip(given, smallest, 1 - smallest))
    return losses


def calibration_bins(predictions: ClassPredictions) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Compare what was promised with what came true, in bins of equal width.

    With two classes, the probability of the second against its share (Naeini et al.
    2015); with more, that of the likeliest class against the accuracy (Guo et al. 2017).

    Returns:
        Mean probability, share that came true, and rows of each bin that has rows.
    """
    known = predictions.is_known
    confidence, y_true = predictions.confidence[known], predictions.y_true[known]
    binary = predictions.n_classes == 2
    promised = confidence[:, 1] if binary else confidence.max(axis=1)
    kept = y_true == (1 if binary else confidence.argmax(axis=1))
    bins = np.minimum((promised * N_CALIBRATION_BINS).astype(int), N_CALIBRATION_BINS - 1)
    rows = np.bincount(bins, minlength=N_CALIBRATION_BINS)
    filled = rows > 0
    mean, came_true = (np.bincount(bins, values, N_CALIBRATION_BINS)[filled] for values in (promised, kept))
    return mean / rows[filled], came_true / rows[filled], rows[filled]


def _calibration_error(predictions: ClassPredictions) -> float:
    mean, came_true, rows = calibration_bins(predictions)
    return float(np.average(np.abs(mean - came_true), weights=rows))


def _brier(predictions: ClassPredictions) -> float:
    """Mean squared error of the probabilities (Brier 1950); of two classes half of it, as is usual."""
    known = predictions.is_known
    errors = predictions.confidence[known].copy()
    errors[np.arange(len(errors)), predictions.y_true[known]] -= 1
    return float((errors**2).sum(axis=1).mean() / (2 if predictions.n_classes == 2 else 1))


def roc_auc(predictions: ClassPredictions) -> float:
    """Average the areas one-vs-rest with equal weight per class; NaN if there is none."""
    return float(np.mean([each.roc_auc for each in predictions.separations] or [np.nan]))


def _pr_auc(predictions: ClassPredictions) -> float:
    """Average the average precisions, as the ROC AUC."""
    return float(np.mean([each.average_precision for each in predictions.separations] or [np.nan]))


def _r2(predictions: NumberPredictions) -> float:
    spread = ((predictions.y_true - predictions.y_true.mean()) ** 2).sum()
    return float(1 - (predictions.losses**2).sum() / spread) if spread else float("nan")


def _mape(predictions: NumberPredictions) -> float:
    y_true = predictions.y_true
    return float((predictions.losses / np.abs(y_true)).mean()) if (y_true != 0).all() else float("nan")


_OF_NUMBERS: dict[str, Callable[[Any], float]] = {
    "mae": lambda p: p.losses.mean(),
    "mape": _mape,
    "median_absolute_error": lambda p: np.median(p.losses),
    "r2": _r2,
    "rmse": lambda p: np.sqrt((p.losses**2).mean()),
}
_OF_PROBABILITIES: dict[str, Callable[[Any], float]] = {
    "brier": _brier,
    "calibration_error": _calibration_error,
    "log_loss": lambda p: log_losses(p).mean(),
}
_OF_RANKS: dict[str, Callable[[Any], float]] = {"pr_auc": _pr_auc, "roc_auc_ovr": roc_auc}


def _metrics(predictions: Predictions) -> Mapping[str, Callable[[Any], float] | None]:
    if isinstance(predictions, NumberPredictions):
        return _OF_NUMBERS
    of_labels = dict.fromkeys(score_matrix(np.eye(1)))
    if not (predictions.is_order and predictions.is_known.any()):
        return of_labels
    return {**of_labels, **_OF_RANKS, **(_OF_PROBABILITIES if predictions.is_probability else {})}
