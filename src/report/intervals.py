"""95 % bootstrap intervals: how much the choice of test rows moves a metric.

Percentile intervals over resamples of rows (Efron & Tibshirani 1993, chapter 13).
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap

from src.report.predictions import ClassPredictions, Floats, OneVsRest, Predictions

LEVEL = 0.95
LABEL_METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted")
# Of more rows a random sample is resampled.
MAX_ROWS = 20_000
# Numbers held in memory at once.
_BATCH = 4_000_000

Statistic = Callable[..., Any]


def bootstrap_interval(
    metric: str, predictions: Predictions, n_bootstrap: int, random_state: int
) -> tuple[float, float] | None:
    """Compute the interval that holds a metric in 95 % of the resamples.

    Metrics of labels take any number of rows. For the others at most `MAX_ROWS` random rows are
    resampled, and the interval is scaled to all rows, as its width falls with the root of their
    number (m out of n bootstrap, Bickel et al. 1997).

    Args:
        metric: Headline metric of `src.report.metrics`.
        predictions: Predictions of all rows.
        n_bootstrap: Number of resamples.
        random_state: Seed of the resamples.

    Returns:
        Low and high end; None if no resample defines the metric.

    Raises:
        ValueError: The metric is not one that a search can maximise.
    """
    rng, ends = np.random.default_rng(random_state), ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    if isinstance(predictions, ClassPredictions) and metric in LABEL_METRICS:
        low, high = np.quantile(_resample_labels(metric, predictions, n_bootstrap, rng), ends)
        return float(low), float(high)
    statistic, n_rows = _statistic_of_rows(metric, predictions)
    rows, n_resampled = np.arange(n_rows), count_resampled_rows(metric, predictions)
    # One row has no other resample than itself.
    if n_rows < 2:
        return None
    sample = rows if n_resampled == n_rows else rng.choice(rows, n_resampled, replace=False)
    options: dict[str, Any] = {"method": "percentile", "n_resamples": n_bootstrap, "vectorized": True, "rng": rng}
    with warnings.catch_warnings():
        # Some resamples do not define the metric; they are left out below.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap((sample,), statistic, batch=max(1, _BATCH // n_resampled), **options).bootstrap_distribution
    found = found[np.isfinite(found)]
    if not len(found):
        return None
    if n_resampled < n_rows:
        found = statistic(rows) + (found - statistic(sample)) * np.sqrt(n_resampled / n_rows)
    low, high = np.quantile(found, ends)
    return float(low), float(high)


def count_resampled_rows(metric: str, predictions: Predictions) -> int:
    """Return how many rows the resamples are drawn from."""
    n_rows = len(predictions.y_true)
    if metric in LABEL_METRICS:
        return n_rows
    n_curves = 1
    if isinstance(predictions, ClassPredictions):
        n_rows = int(predictions.is_known.sum())
        n_curves = max(1, len(predictions.one_vs_rest)) if metric == "roc_auc_ovr" else 1
    return min(n_rows, max(1000, MAX_ROWS // n_curves))


def _resample_labels(metric: str, predictions: ClassPredictions, n_bootstrap: int, rng: Generator) -> Floats:
    """Draw confusion matrices: a resample of rows is a multinomial draw of the cells, exactly."""
    n_labels = len(predictions.labels)
    counts = np.bincount(predictions.y_true * n_labels + predictions.y_pred, minlength=n_labels**2)
    filled, batch = np.flatnonzero(counts), max(1, _BATCH // n_labels**2)
    scores = []
    for start in range(0, n_bootstrap, batch):
        cells = np.zeros((min(batch, n_bootstrap - start), n_labels**2))
        cells[:, filled] = rng.multinomial(counts.sum(), counts[filled] / counts.sum(), size=len(cells))
        scores.append(_score_matrices(metric, cells.reshape(-1, n_labels, n_labels)))
    return np.concatenate(scores)


def _score_matrices(metric: str, matrices: Floats) -> Floats:
    """Score confusion matrices of shape (n, n_labels, n_labels), true labels down, as scikit-learn does."""
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    true, either = matrices.sum(axis=2), matrices.sum(axis=2) + matrices.sum(axis=1)
    if metric == "accuracy":
        return np.asarray(hits.sum(axis=1) / true.sum(axis=1))
    if metric == "balanced_accuracy":
        values, weights = hits / np.maximum(true, 1), true > 0
    else:
        values, weights = 2 * hits / np.maximum(either, 1), true if metric == "f1_weighted" else either > 0
    return np.asarray((values * weights).sum(axis=1) / weights.sum(axis=1))


def _statistic_of_rows(metric: str, predictions: Predictions) -> tuple[Statistic, int]:
    """Return a function of row numbers, shape (…, n_samples), and how many rows there are."""
    if isinstance(predictions, ClassPredictions):
        if not predictions.one_vs_rest:
            return np.mean, 0
        y_true, scores = predictions.known
        if metric == "roc_auc_ovr":
            return _mean_area(predictions.one_vs_rest), len(y_true)
        smallest = np.finfo(float).eps
        losses = -np.log(np.clip(scores[np.arange(len(y_true)), y_true], smallest, 1 - smallest))
        return lambda rows, axis=-1: losses[rows].mean(axis), len(y_true)
    errors, centred = predictions.losses, predictions.y_true - predictions.y_true.mean()

    def r2(rows: NDArray[np.intp], axis: int = -1) -> Any:
        spread = centred[rows].var(axis)
        # A resample of one row again and again has no spread.
        defined = spread > 1e-12 * centred.var()
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(defined, 1 - (errors[rows] ** 2).mean(axis) / spread, np.nan)

    statistics: dict[str, Statistic] = {
        "mae": lambda rows, axis=-1: errors[rows].mean(axis),
        "median_absolute_error": lambda rows, axis=-1: np.median(errors[rows], axis),
        "r2": r2,
        "rmse": lambda rows, axis=-1: np.sqrt((errors[rows] ** 2).mean(axis)),
    }
    if metric not in statistics:
        raise ValueError(f"no interval of {metric!r} is known; add how to compute it from resampled rows")
    return statistics[metric], len(errors)


def _mean_area(classes: list[OneVsRest]) -> Statistic:
    """Average the areas under the ROC curves, over the classes that both kinds of resampled rows define."""
    codes = [np.unique(each.y_score, return_inverse=True)[1] for each in classes]

    def mean_area(rows: NDArray[np.intp], axis: int = -1) -> Any:  # noqa: ARG001 - scipy passes -1
        areas = np.array([_area(code[rows], each.y_true[rows]) for code, each in zip(codes, classes, strict=True)])
        with np.errstate(invalid="ignore"):
            return np.nansum(areas, axis=0) / np.isfinite(areas).sum(axis=0)

    return mean_area


def _area(ranks: NDArray[np.intp], is_positive: NDArray[np.bool_]) -> Any:
    """Compute the share of ordered pairs, where a tie counts half, along the last axis; NaN without pairs."""
    n_ranks, n_samples = int(ranks.max()) + 1, int(np.prod(ranks.shape[:-1]))
    cells = np.where(is_positive, ranks + n_ranks, ranks).reshape(n_samples, -1)
    cells += np.arange(n_samples)[:, None] * 2 * n_ranks
    counts = np.bincount(cells.ravel(), minlength=n_samples * 2 * n_ranks).reshape(n_samples, 2, n_ranks)
    negative, positive = counts[:, 0], counts[:, 1]
    ordered = (positive * (np.cumsum(negative, axis=1) - negative / 2)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        areas = ordered / (positive.sum(axis=1) * negative.sum(axis=1))
    return areas.reshape(ranks.shape[:-1])
