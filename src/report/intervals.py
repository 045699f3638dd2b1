"""95 % bootstrap intervals: how much the choice of test rows moves a metric.

Percentile intervals over resamples of rows (Efron & Tibshirani 1993, chapter 13).
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap

from src.report.predictions import ClassPredictions, Floats, Predictions

LABEL_METRICS = ("accuracy", "balanced_accuracy", "f1", "f1_macro", "f1_weighted", "precision", "recall")
AREA_METRICS = ("average_precision", "roc_auc", "roc_auc_ovr")
# Of more rows, a random sample is resampled.
MAX_ROWS = 20_000
# Numbers computed at once, which fit into a processor's cache.
_BATCH = 200_000

Statistic = Callable[..., Any]
# Of the negative and positive rows of each rank, both of shape (n_samples, n_ranks).
Area = Callable[[NDArray[np.intp], NDArray[np.intp]], Floats]


def bootstrap_interval(
    metric: str, predictions: Predictions, n_bootstrap: int, random_state: int, value: float | None = None
) -> tuple[float, float] | None:
    """Compute the interval that holds a metric in 95 % of the resamples.

    Metrics of labels resample all rows. The others resample at most `MAX_ROWS` random rows, and the
    interval is scaled to all rows, as its width falls with the root of their number (m out of n
    bootstrap, Bickel et al. 1997).

    Args:
        value: The metric on all rows, if it is known.

    Returns:
        Low and high end; None if no resample defines the metric.
    """
    rng = np.random.default_rng(random_state)
    if isinstance(predictions, ClassPredictions) and metric in LABEL_METRICS:
        values = _resample_labels(metric, predictions, n_bootstrap, rng)
    else:
        values = _resample_rows(metric, predictions, n_bootstrap, rng, value)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def difference_interval(
    metric: str, first: Predictions, second: Predictions, n_bootstrap: int, random_state: int, confidence: float
) -> tuple[float, float] | None:
    """Compute the interval of how much higher a metric is for the first of two models, on the same rows.

    Each resample draws the same rows for both (paired bootstrap), so that rows that are difficult for both cancel out.

    Args:
        first: Predictions on rows whose target is known. Both models know the same classes.
        second: Predictions on the same rows.
        confidence: Share of the resamples in the interval.

    Returns:
        Low and high end; None if no resample defines the metric for both.
    """
    rng = np.random.default_rng(random_state)
    if isinstance(first, ClassPredictions) and isinstance(second, ClassPredictions) and metric in LABEL_METRICS:
        values = _resample_label_pairs(metric, first, second, n_bootstrap, rng)
    else:
        values = _resample_row_pairs(metric, first, second, n_bootstrap, rng)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)


def count_rows(metric: str, predictions: Predictions) -> tuple[int, int]:
    """Return how many rows a metric uses, and how many of them are resampled."""
    if not isinstance(predictions, ClassPredictions):
        return len(predictions.y_true), min(len(predictions.y_true), MAX_ROWS)
    if metric in LABEL_METRICS:
        return len(predictions.y_true), len(predictions.y_true)
    n_rows, n_curves = len(predictions.known[0]), len(predictions.one_vs_rest)
    if metric not in AREA_METRICS:
        return n_rows, min(n_rows, MAX_ROWS)
    return (n_rows, min(n_rows, max(1000, MAX_ROWS // n_curves))) if n_curves else (0, 0)


def _resample_labels(metric: str, predictions: ClassPredictions, n_bootstrap: int, rng: Generator) -> Floats:
    """Draw confusion matrices: a resample of rows is a multinomial draw of the cells, exactly."""
    n_labels = len(predictions.labels)
    counts = predictions.confusion.ravel()
    filled, batch = np.flatnonzero(counts), max(1, _BATCH // n_labels**2)
    scores = []
    for start in range(0, n_bootstrap, batch):
        cells = np.zeros((min(batch, n_bootstrap - start), n_labels**2))
        cells[:, filled] = rng.multinomial(counts.sum(), counts[filled] / counts.sum(), size=len(cells))
        matrices = cells.reshape(-1, n_labels, n_labels)
        scores.append(_score_matrices(metric, matrices, predictions.positive_code))
    return np.concatenate(scores)


def _resample_label_pairs(
    metric: str, first: ClassPredictions, second: ClassPredictions, n_bootstrap: int, rng: Generator
) -> Floats:
    """Draw pairs of confusion matrices, as `_resample_labels`, from cells of the true and both predicted labels."""
    n_labels = len(first.labels)
    cells = (first.y_true.astype(np.intp) * n_labels + first.y_pred) * n_labels + second.y_pred
    filled, counts = np.unique(cells, return_counts=True)
    pairs, seconds = np.divmod(filled, n_labels)
    positions = (pairs, pairs // n_labels * n_labels + seconds)
    batch, scores = max(1, _BATCH // n_labels**2), []
    for start in range(0, n_bootstrap, batch):
        drawn = rng.multinomial(counts.sum(), counts / counts.sum(), size=min(batch, n_bootstrap - start))
        found = []
        for position in positions:
            matrices = np.zeros((n_labels**2, len(drawn)))
            # Several cells of the pair are one cell of a matrix.
            np.add.at(matrices, position, drawn.T)
            found.append(_score_matrices(metric, matrices.T.reshape(-1, n_labels, n_labels), first.positive_code))
        scores.append(found[0] - found[1])
    return np.concatenate(scores)


def _score_matrices(metric: str, matrices: Floats, positive_code: int) -> Floats:
    """Score confusion matrices of shape (n, n_labels, n_labels), true labels down, as scikit-learn does."""
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    true, either = matrices.sum(axis=2), matrices.sum(axis=2) + matrices.sum(axis=1)
    if metric == "accuracy":
        return np.asarray(hits.sum(axis=1) / true.sum(axis=1))
    if metric in ("f1", "precision", "recall"):
        rows = {"f1": either / 2, "precision": either - true, "recall": true}[metric][:, positive_code]
        return np.asarray(hits[:, positive_code] / np.maximum(rows, 0.5))
    if metric == "balanced_accuracy":
        values, weights = hits / np.maximum(true, 1), true > 0
    else:
        values, weights = 2 * hits / np.maximum(either, 1), true if metric == "f1_weighted" else either > 0
    return np.asarray((values * weights).sum(axis=1) / weights.sum(axis=1))


def _resample_rows(
    metric: str, predictions: Predictions, n_bootstrap: int, rng: Generator, value: float | None
) -> Floats:
    make = partial(_make_statistic, metric, predictions)
    values = _bootstrap(make, *count_rows(metric, predictions), n_bootstrap, rng, value)
    return np.minimum(values, 1) if metric in ("r2", *AREA_METRICS) else values


def _resample_row_pairs(
    metric: str, first: Predictions, second: Predictions, n_bootstrap: int, rng: Generator
) -> Floats:
    def make(rows: NDArray[np.intp]) -> Statistic:
        one, other = (_make_statistic(metric, predictions, rows) for predictions in (first, second))
        return lambda places, axis=-1: one(places, axis) - other(places, axis)

    return _bootstrap(make, *count_rows(metric, first), n_bootstrap, rng)


def _bootstrap(
    make: Callable[[NDArray[np.intp]], Statistic],
    n_rows: int,
    n_resampled: int,
    n_bootstrap: int,
    rng: Generator,
    value: float | None = None,
) -> Floats:
    # All resamples of a single row are equal.
    if n_rows < 2:
        return np.array([])
    rows = np.arange(n_rows)
    sample = rows if n_resampled == n_rows else rng.choice(rows, n_resampled, replace=False)
    statistic = make(sample)
    options: dict[str, Any] = {"method": "percentile", "vectorized": True, "batch": max(1, _BATCH // n_resampled)}
    with warnings.catch_warnings():
        # The caller leaves out resamples that do not define the metric.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap((np.arange(n_resampled),), statistic, n_resamples=n_bootstrap, rng=rng, **options)
    values = np.asarray(found.bootstrap_distribution)
    if n_resampled < n_rows:
        center = make(rows)(rows) if value is None else value
        values = center + (values - statistic(np.arange(n_resampled))) * np.sqrt(n_resampled / n_rows)
    return values


def _make_statistic(metric: str, predictions: Predictions, rows: NDArray[np.intp]) -> Statistic:
    """Return a function of indices into `rows`, shape (…, n_samples), that reduces the last axis to the metric."""
    if isinstance(predictions, ClassPredictions):
        if metric in AREA_METRICS:
            area = _average_precision if metric == "average_precision" else _roc_area
            return _make_mean_area([(each.y_true[rows], each.y_score[rows]) for each in predictions.one_vs_rest], area)
        y_true, scores = (values[rows] for values in predictions.known)
        smallest = np.finfo(float).eps
        losses = -np.log(np.clip(scores[np.arange(len(rows)), y_true], smallest, 1 - smallest))
        return lambda places, axis=-1: losses[places].mean(axis)
    errors, y_true = predictions.losses[rows], predictions.y_true[rows]
    centred = y_true - y_true.mean()

    def r2(places: NDArray[np.intp], axis: int = -1) -> Any:
        spread = centred[places].var(axis)
        # A resample of equal rows has no spread.
        defined = spread > 1e-12 * centred.var()
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(defined, 1 - (errors[places] ** 2).mean(axis) / spread, np.nan)

    return {
        "mae": lambda places, axis=-1: errors[places].mean(axis),
        "median_absolute_error": lambda places, axis=-1: np.median(errors[places], axis),
        "r2": r2,
        "rmse": lambda places, axis=-1: np.sqrt((errors[places] ** 2).mean(axis)),
    }[metric]


def _make_mean_area(classes: list[tuple[NDArray[np.bool_], Floats]], area: Area) -> Statistic:
    """Return a function for the mean area under the curves, over the classes that a resample defines."""
    ranked = [(np.unique(y_score, return_inverse=True)[1], y_true) for y_true, y_score in classes]

    def mean_area(places: NDArray[np.intp], axis: int = -1) -> Any:  # noqa: ARG001 - scipy passes -1
        areas = np.array([_compute_area(ranks[places], y_true[places], area) for ranks, y_true in ranked])
        with np.errstate(invalid="ignore"):
            return np.nansum(areas, axis=0) / np.isfinite(areas).sum(axis=0)

    return mean_area


def _compute_area(ranks: NDArray[np.intp], is_positive: NDArray[np.bool_], area: Area) -> Any:
    """Compute an area along the last axis from the rows of each rank; NaN if it is undefined."""
    n_ranks, n_samples = int(ranks.max()) + 1, int(np.prod(ranks.shape[:-1]))
    cells = np.where(is_positive, ranks + n_ranks, ranks).reshape(n_samples, -1)
    cells += np.arange(n_samples)[:, None] * 2 * n_ranks
    counts = np.bincount(cells.ravel(), minlength=n_samples * 2 * n_ranks).reshape(n_samples, 2, n_ranks)
    with np.errstate(divide="ignore", invalid="ignore"):
        areas = area(counts[:, 0], counts[:, 1])
    return areas.reshape(ranks.shape[:-1])


def _roc_area(negative: NDArray[np.intp], positive: NDArray[np.intp]) -> Floats:
    """Compute the share of ordered pairs, where a tie counts half."""
    ordered = (positive * (np.cumsum(negative, axis=1) - negative / 2)).sum(axis=1)
    return np.asarray(ordered / (positive.sum(axis=1) * negative.sum(axis=1)))


def _average_precision(negative: NDArray[np.intp], positive: NDArray[np.intp]) -> Floats:
    """Compute the precision at each rank, from the highest on, weighted by its positive rows."""
    hits, rows = (np.cumsum(counts[:, ::-1], axis=1)[:, ::-1] for counts in (positive, positive + negative))
    precisions = hits / np.maximum(rows, 1)
    # Without a negative row the curve is undefined, as in `one_vs_rest`.
    defined = np.where(negative.sum(axis=1) > 0, positive.sum(axis=1), 0)
    return np.asarray((precisions * positive).sum(axis=1) / defined)
