"""How far luck in the choice of test rows moves a metric: 95 % bootstrap intervals.

Percentile intervals over resamples of rows (Efron & Tibshirani 1993, chapter 13). Each
kind of metric has a way to resample that costs far less than scoring rows again:

- of labels: a resample of rows is a multinomial draw of the cells of the confusion
  matrix, exactly;
- of means (log loss, MAE, RMSE, R²): the means of a resample; beyond `MANY_ROWS`, where
  the central limit theorem leaves no difference to see, as normal draws;
- the median: of n sorted values the place of a resample's median follows a beta
  distribution, exactly;
- of ranks (ROC AUC): weighted areas; beyond `MANY_RANKED_ROWS` to first order, by the
  means of the rows' influences (DeLong et al. 1988).
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from src.report.metrics import log_losses, roc_auc, score_matrix, share
from src.report.predictions import ClassPredictions, Predictions
from src.report.ranking import Floats, placements

LEVEL = 0.95
MANY_ROWS, MANY_RANKED_ROWS = 20_000, 5_000
# Numbers held at once.
_CHUNK = 4_000_000


def bootstrap_interval(
    metric: str, predictions: Predictions, n_bootstrap: int, random_state: int
) -> tuple[float, float] | None:
    """Find between which values a metric lies in 95 % of the resamples.

    Args:
        metric: A name of `src.report.metrics` that a search can maximise.
        predictions: What was predicted.
        n_bootstrap: Number of resamples.
        random_state: Seed of the resamples.

    Returns:
        Low and high end; None if the metric is not defined in any resample.

    Raises:
        ValueError: The metric is none that a search can maximise.
    """
    values = _resample(metric, predictions, n_bootstrap, np.random.default_rng(random_state))
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _resample(metric: str, predictions: Predictions, n: int, rng: Generator) -> Floats:
    if isinstance(predictions, ClassPredictions):
        if metric == "roc_auc_ovr":
            return _resample_area(predictions, n, rng)
        if metric == "log_loss":
            return _resample_means(log_losses(predictions)[:, None], n, rng)[:, 0]
        return _resample_matrix(metric, predictions.counts, n, rng)
    errors, y_true = predictions.losses, predictions.y_true - predictions.y_true.mean()
    if metric == "median_absolute_error":
        return _resample_median(errors, n, rng)
    if metric == "mae":
        return _resample_means(errors[:, None], n, rng)[:, 0]
    squares, of_truth, truth = _resample_means(np.column_stack([errors**2, y_true**2, y_true]), n, rng).T
    if metric == "rmse":
        return np.asarray(np.sqrt(np.maximum(squares, 0)))
    if metric != "r2":
        raise ValueError(f"no interval of {metric!r} is known; write how it is resampled")
    spread = of_truth - truth**2
    # A resample of one row again and again has no spread.
    return np.where(spread > 1e-12 * max((y_true**2).mean(), 1e-300), 1 - squares / np.where(spread, spread, 1), np.nan)


def _resample_matrix(metric: str, counts: NDArray[np.int64], n: int, rng: Generator) -> Floats:
    filled = np.flatnonzero(counts)
    shares = counts.ravel()[filled] / counts.sum()
    values = []
    for size in _chunks(n, counts.size):
        matrices = np.zeros((size, counts.size), dtype=np.int64)
        matrices[:, filled] = rng.multinomial(int(counts.sum()), shares, size=size)
        values.append(score_matrix(matrices.reshape(size, *counts.shape))[metric])
    return np.concatenate(values)


def _resample_means(values: Floats, n: int, rng: Generator) -> Floats:
    """Draw means of resamples of rows, shape (n, n_quantities)."""
    n_rows, n_quantities = values.shape
    if n_rows <= MANY_ROWS:
        return np.concatenate([weights @ values / n_rows for weights in _weights(n_rows, n, rng)])
    covariance = np.cov(values, rowvar=False, ddof=0).reshape(n_quantities, n_quantities) / n_rows
    # By eigenvectors and not by Cholesky, which quantities that depend on each other break.
    return rng.multivariate_normal(values.mean(axis=0), covariance, size=n, method="eigh")


def _resample_median(values: Floats, n: int, rng: Generator) -> Floats:
    """Draw medians of resamples: order statistics of uniform places."""
    ordered, n_rows = np.sort(values), len(values)
    lower = (n_rows + 1) // 2
    places = rng.beta(lower, n_rows + 1 - lower, size=n)
    medians = ordered[_row_at(places, n_rows)]
    if n_rows % 2:
        return medians
    # The next one is the smallest of those above, which are uniform again.
    above = 1 - (1 - places) * rng.uniform(size=n) ** (1 / (n_rows - lower))
    return (medians + ordered[_row_at(above, n_rows)]) / 2


def _row_at(places: Floats, n_rows: int) -> NDArray[np.intp]:
    return np.minimum((places * n_rows).astype(np.intp), n_rows - 1)


def _resample_area(predictions: ClassPredictions, n: int, rng: Generator) -> Floats:
    n_rows = int(predictions.is_known.sum())
    if not predictions.one_vs_rest:
        return np.array([])
    if n_rows > MANY_RANKED_ROWS:
        means = _resample_means(_influences(predictions)[:, None], n, rng)[:, 0]
        return np.clip(roc_auc(predictions) + means, 0, 1)
    areas = [_weighted_area(scores, positive) for _, scores, positive in predictions.one_vs_rest]
    values = []
    for weights in _weights(n_rows, n, rng):
        by_class = np.stack([area(weights) for area in areas])
        # As without weights: only classes that some rows have and some lack.
        defined = np.isfinite(by_class)
        mean = share(np.where(defined, by_class, 0).sum(axis=0), defined.sum(axis=0))
        values.append(np.where(defined.any(axis=0), mean, np.nan))
    return np.concatenate(values)


def _influences(predictions: ClassPredictions) -> Floats:
    """Tell how much one more of each row would move the area, up to 1 / n_samples; their mean is 0.

    To first order, the area of a resample is the area plus the mean of its rows' influences.
    """
    total = np.zeros(int(predictions.is_known.sum()))
    for _, scores, positive in predictions.one_vs_rest:
        shares = placements(scores, positive)
        weight = np.where(positive, 1 / positive.mean(), 1 / (1 - positive.mean()))
        total += weight * (shares - shares[positive].mean())
    return total / len(predictions.one_vs_rest)


def _weighted_area(scores: Floats, positive: NDArray[np.bool_]) -> Callable[[Floats], Floats]:
    """Prepare the area under the ROC curve for weights of shape (n_resamples, n_samples)."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
    is_positive = positive[order]

    def area(weights: Floats) -> Floats:
        ordered = weights[:, order]
        above = np.add.reduceat(ordered * is_positive, starts, axis=1)
        below = np.add.reduceat(ordered * ~is_positive, starts, axis=1)
        pairs = above.sum(axis=1) * below.sum(axis=1)
        won = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        return np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)

    return area


def _weights(n_rows: int, n: int, rng: Generator) -> Iterator[Floats]:
    """Draw how often each row is in each resample, in chunks of shape (n_resamples, n_rows)."""
    for size in _chunks(n, n_rows):
        drawn = rng.integers(0, n_rows, size=(size, n_rows)) + np.arange(size)[:, None] * n_rows
        yield np.bincount(drawn.ravel(), minlength=size * n_rows).reshape(size, n_rows).astype(float)


def _chunks(n: int, width: int) -> Iterator[int]:
    most = max(1, _CHUNK // width)
    yield from (min(most, n - start) for start in range(0, n, most))
