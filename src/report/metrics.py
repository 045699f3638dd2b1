"""Metrics of the test rows."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from src.config.train import metric_of
from src.report.intervals import bootstrap_interval
from src.report.predictions import CHUNK, ClassPredictions, Floats, NumberPredictions, Predictions
from src.report.rows import TrainTarget

logger = logging.getLogger(__name__)

Metrics = dict[str, float | dict[str, float]]

N_CALIBRATION_BINS = 10
# Only the classes with the most test rows have their own metrics.
MAX_CLASSES = 30


def compute_metrics(
    predictions: Predictions, y_train: TrainTarget, scoring: str, n_bootstrap: int, random_state: int
) -> Metrics:
    """Compute the content of `metrics.json`.

    Args:
        y_train: Target of the training rows, for the baseline.
        scoring: What the search maximised: the headline metric, which gets an interval and a baseline.

    Returns:
        `test_<metric>`, `test_<headline>_ci95_low` and `_high`, `test_<headline>_baseline`, and for
        classes `test_f1_class: {<label>: …}` and so on. Only finite numbers.
    """
    scores = score(predictions)
    metrics, headline = Metrics(scores), metric_of(scoring)
    if headline in scores:
        if interval := bootstrap_interval(headline, predictions, n_bootstrap, random_state, scores[headline]):
            metrics[f"{headline}_ci95_low"], metrics[f"{headline}_ci95_high"] = interval
        baseline = score_one(headline, predict_baseline(predictions, y_train, headline))
        if np.isfinite(baseline):
            metrics[f"{headline}_baseline"] = baseline
    if isinstance(predictions, ClassPredictions):
        metrics |= _name_scores(predictions)
    return {f"test_{name}": value for name, value in sorted(metrics.items())}


def score(predictions: Predictions) -> dict[str, float]:
    """Compute every metric that is defined for these rows, and log those that are not."""
    scores = {name: score_one(name, predictions) for name in _metrics(predictions)}
    if isinstance(predictions, ClassPredictions) and not predictions.scores.shape[1]:
        logger.info("the model predicts labels only: metrics that need scores of each class are left out")
    if isinstance(predictions, ClassPredictions) and not predictions.is_known.all():
        logger.warning(
            "%d of %d rows have a label that does not occur in the training rows (%s): they count as wrong, and "
            "metrics of probabilities leave them out",
            (~predictions.is_known).sum(), len(predictions.y_true),
            ", ".join(repr(label) for label in predictions.labels[predictions.n_classes :][:5]),
        )  # fmt: skip
    if undefined := [name for name, value in scores.items() if not np.isfinite(value)]:
        logger.info("undefined for these rows, and left out: %s", ", ".join(undefined))
    return {name: value for name, value in scores.items() if name not in undefined}


def score_one(metric: str, predictions: Predictions) -> float:
    """Compute one metric; NaN if it is undefined."""
    function = _metrics(predictions).get(metric)
    return float(function(predictions)) if function else float("nan")


def predict_baseline(predictions: Predictions, y_train: TrainTarget, metric: str) -> Predictions:
    """Predict the same rows with a constant, as scikit-learn's `DummyClassifier` and `DummyRegressor` do.

    Classes: the most frequent one, with the class shares as probabilities. Numbers: the median
    for metrics of absolute errors, else the mean.
    """
    n_rows = len(predictions.y_true)
    if isinstance(predictions, NumberPredictions):
        constant = y_train.median if metric in ("mae", "median_absolute_error") else y_train.mean
        return NumberPredictions(predictions.y_true, np.full(n_rows, constant))
    # The labels that the model knows are those of the training rows.
    counts = (
        np.zeros(predictions.n_classes)
        if y_train.counts is None
        else y_train.counts.reindex(predictions.labels[: predictions.n_classes], fill_value=0).to_numpy(dtype=float)
    )
    shares = np.broadcast_to(counts / counts.sum(), (n_rows, len(counts)))
    y_pred = np.full(n_rows, counts.argmax())
    return replace(predictions, y_pred=y_pred, scores=shares, is_probability=True)


def calibration_bins(predictions: ClassPredictions) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Compare predicted probabilities with outcomes, in bins of equal width.

    With two classes, the probability of the positive one is compared with its share (Naeini et al. 2015);
    with more, that of the predicted class with the accuracy (Guo et al. 2017).

    Returns:
        Mean probability, observed share and number of rows of each bin that is not empty.
    """
    y_true, probabilities = predictions.known
    if predictions.n_classes == 2:
        code = predictions.positive_code
        predicted, observed = probabilities[:, code], y_true == code
    else:
        predicted, observed = probabilities.max(axis=1), y_true == probabilities.argmax(axis=1)
    # scikit-learn's calibration_curve does not return the number of rows.
    bins = np.minimum((predicted * N_CALIBRATION_BINS).astype(int), N_CALIBRATION_BINS - 1)
    n_rows = np.bincount(bins, minlength=N_CALIBRATION_BINS)
    filled = n_rows > 0
    sums = [np.bincount(bins, values, N_CALIBRATION_BINS)[filled] for values in (predicted, observed)]
    return sums[0] / n_rows[filled], sums[1] / n_rows[filled], n_rows[filled]


def score_classes(predictions: ClassPredictions) -> tuple[NDArray[np.intp], tuple[Floats, ...]]:
    """Score the classes with the most test rows.

    Returns:
        Codes of these classes, shape (n,), and their precision, recall, F1 and number of test rows, each of shape (n,).
    """
    confusion = predictions.confusion
    codes = np.sort(np.argsort(-confusion.sum(axis=1), kind="stable")[:MAX_CLASSES])
    score_cells = _weighted(sklearn_metrics.precision_recall_fscore_support, labels=codes, zero_division=0.0)
    return codes, score_cells(predictions)


def _name_scores(predictions: ClassPredictions) -> dict[str, dict[str, float]]:
    codes, scores = score_classes(predictions)
    if len(codes) < len(predictions.labels):
        n_labels = len(predictions.labels)
        logger.info("%d classes: only the %d with the most test rows have their own metrics", n_labels, len(codes))
    names = safe_names([predictions.labels[code] for code in codes])
    return {
        f"{metric}_class": dict(zip(names, values.astype(float).tolist(), strict=True))
        for metric, values in zip(("precision", "recall", "f1", "support"), scores, strict=True)
    }


def safe_names(labels: list[Any]) -> list[str]:
    """Make labels unique names of metrics: letters, digits, `_`, `-` and single spaces.

    >>> safe_names(["a.b", "a/b", " ", 1.5, True])
    ['a_b', 'a_b_2', '_', '1_5', 'True']
    """
    names: list[str] = []
    for label in labels:
        words = " ".join(str(label).split())[:60]
        base = "".join(letter if letter.isalnum() or letter in "_- " else "_" for letter in words).strip() or "_"
        name, number = base, 1
        while name in names:
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return names


def _metrics(predictions: Predictions) -> Mapping[str, Callable[[Any], float]]:
    if isinstance(predictions, NumberPredictions):
        return _OF_NUMBERS
    is_binary = predictions.n_classes == 2
    of_labels = _OF_LABELS | (_OF_POSITIVE_LABELS if is_binary else {})
    if not predictions.has_scores:
        return of_labels
    of_ranks = _OF_RANKS | (_OF_POSITIVE_RANKS if is_binary else {})
    return of_labels | of_ranks | (_OF_PROBABILITIES if predictions.is_probability else {})


def _weighted(function: Callable[..., Any], **options: Any) -> Callable[[ClassPredictions], Any]:
    """Apply a metric of labels to the cells of the confusion matrix, weighted by counts; the result is the same."""

    def score_cells(p: ClassPredictions) -> Any:
        y_true, y_pred = np.nonzero(p.confusion)
        return function(y_true, y_pred, sample_weight=p.confusion[y_true, y_pred], **options)

    return score_cells


def _macro(function: Callable[..., float], average: str = "macro") -> Callable[[ClassPredictions], float]:
    return _weighted(function, average=average, zero_division=0.0)


def _of_positive(function: Callable[..., float]) -> Callable[[ClassPredictions], float]:
    return lambda p: _weighted(function, labels=[p.positive_code], average="macro", zero_division=0.0)(p)


def _mean_of_chunks(function: Callable[..., float]) -> Callable[[ClassPredictions], float]:
    """Average a loss of probabilities over chunks of rows, because scikit-learn copies them several times."""

    def score_chunks(p: ClassPredictions) -> float:
        y_true, probabilities = p.known
        chunks = [slice(start, start + CHUNK) for start in range(0, len(y_true), CHUNK)]
        losses = [
            function(y_true[rows], probabilities[rows], labels=range(p.n_classes)) * len(y_true[rows])
            for rows in chunks
        ]
        return math.fsum(losses) / len(y_true)

    return score_chunks


def _calibration_error(p: ClassPredictions) -> float:
    predicted, observed, n_rows = calibration_bins(p)
    return float(np.average(np.abs(predicted - observed), weights=n_rows))


_OF_LABELS: dict[str, Callable[[Any], float]] = {
    "accuracy": _weighted(sklearn_metrics.accuracy_score),
    # balanced_accuracy_score warns of every class without a test row.
    "balanced_accuracy": lambda p: _weighted(
        sklearn_metrics.recall_score, labels=np.flatnonzero(p.confusion.any(axis=1)), average="macro"
    )(p),
    "f1_macro": _macro(sklearn_metrics.f1_score),
    "f1_weighted": _macro(sklearn_metrics.f1_score, "weighted"),
    "precision_macro": _macro(sklearn_metrics.precision_score),
    "recall_macro": _macro(sklearn_metrics.recall_score),
}
_OF_POSITIVE_LABELS: dict[str, Callable[[Any], float]] = {
    "f1": _of_positive(sklearn_metrics.f1_score),
    "precision": _of_positive(sklearn_metrics.precision_score),
    "recall": _of_positive(sklearn_metrics.recall_score),
}
# Averages over the classes, each against the rest, with equal weights; NaN without any.
_OF_RANKS: dict[str, Callable[[Any], float]] = {
    "pr_auc": lambda p: float(np.mean([each.average_precision for each in p.one_vs_rest] or [np.nan])),
    "roc_auc_ovr": lambda p: float(np.mean([each.roc_auc for each in p.one_vs_rest] or [np.nan])),
}
# Of two classes, the average is that of the positive one: the names are those of scikit-learn's scorers.
_OF_POSITIVE_RANKS = {"average_precision": _OF_RANKS["pr_auc"], "roc_auc": _OF_RANKS["roc_auc_ovr"]}
_OF_PROBABILITIES: dict[str, Callable[[Any], float]] = {
    "brier": _mean_of_chunks(sklearn_metrics.brier_score_loss),
    "calibration_error": _calibration_error,
    "log_loss": _mean_of_chunks(sklearn_metrics.log_loss),
}
_OF_NUMBERS: dict[str, Callable[[Any], float]] = {
    "mae": lambda p: sklearn_metrics.mean_absolute_error(p.y_true, p.y_pred),
    "mape": lambda p: sklearn_metrics.mean_absolute_percentage_error(p.y_true, p.y_pred) if p.y_true.all() else np.nan,
    "median_absolute_error": lambda p: sklearn_metrics.median_absolute_error(p.y_true, p.y_pred),
    "r2": lambda p: sklearn_metrics.r2_score(p.y_true, p.y_pred) if np.ptp(p.y_true) > 0 else np.nan,
    "rmse": lambda p: sklearn_metrics.root_mean_squared_error(p.y_true, p.y_pred),
}
