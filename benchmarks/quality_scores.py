"""Scores of `benchmarks.quality`, and how much of a difference is luck."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss

# The score that decides, by task; fixed before anything was measured.
DECIDING = {"classification": "roc_auc_ovr", "regression": "r2"}
N_RESAMPLES = 500
# Of all weights of the resamples at a time, which bounds the memory.
_BLOCK = 50

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """What a model says about the test rows.

    Attributes:
        y: Predicted labels as text, or numbers, shape (n_rows,).
        proba: Probabilities by class, shape (n_rows, n_classes); None for a regression.
    """

    y: NDArray[np.object_] | Numbers
    proba: Numbers | None = None


def score(y_true: NDArray[np.object_] | Numbers, predictions: Predictions, labels: list[str]) -> dict[str, float]:
    """Score predictions; the first score decides.

    Args:
        y_true: Labels as text, or numbers.
        predictions: Of the same rows.
        labels: Classes in the order of the probabilities; none for a regression.
    """
    deciding = float(_deciding(y_true, predictions, labels, np.ones((1, len(y_true))))[0])
    if predictions.proba is None:
        error = np.asarray(y_true, np.float64) - np.asarray(predictions.y, np.float64)
        return {"r2": deciding, "rmse": float(np.sqrt(np.mean(error**2)))}
    codes = np.searchsorted(labels, y_true.astype(str))
    proba = np.clip(predictions.proba, 1e-15, 1)
    proba /= proba.sum(axis=1, keepdims=True)
    return {
        "roc_auc_ovr": deciding,
        "log_loss": float(log_loss(codes, proba, labels=range(len(labels)))),
        "accuracy": float(np.mean(y_true == predictions.y)),
    }


def bootstrap(
    y_true: NDArray[np.object_] | Numbers, ours: Predictions, others: Predictions, labels: list[str]
) -> tuple[float, float]:
    """Compare the deciding score of two models on the same resamples of the test rows.

    Returns:
        Mean and standard deviation of the difference, positive where `ours` is better.
    """
    rng = np.random.default_rng(0)
    n_rows, differences = len(y_true), []
    for _ in range(0, N_RESAMPLES, _BLOCK):
        weights = rng.multinomial(n_rows, np.full(n_rows, 1 / n_rows), size=_BLOCK).astype(np.float64)
        differences.append(_deciding(y_true, ours, labels, weights) - _deciding(y_true, others, labels, weights))
    found = np.concatenate(differences)
    return float(np.nanmean(found)), float(np.nanstd(found))


def _deciding(
    y_true: NDArray[np.object_] | Numbers, predictions: Predictions, labels: list[str], weights: Numbers
) -> Numbers:
    """Return ROC AUC (one versus rest, macro) or R² for each row of weights, shape (n_resamples, n_rows)."""
    if predictions.proba is None:
        y = np.asarray(y_true, np.float64)
        residual = weights @ (y - np.asarray(predictions.y, np.float64)) ** 2
        mean = weights @ y / weights.sum(axis=1)
        return np.asarray(1 - residual / (weights @ y**2 - weights.sum(axis=1) * mean**2))
    aucs = [
        _roc_auc(y_true == label, predictions.proba[:, number], weights)
        for number, label in enumerate(labels)
        if (y_true == label).any()
    ]
    return np.asarray(np.nanmean(aucs, axis=0))


def _roc_auc(positive: NDArray[np.bool_], scores: Numbers, weights: Numbers) -> Numbers:
    """Compute the ROC AUC for many weights of the rows at once; scikit-learn sorts anew for each."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    hits = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    misses = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    below = np.cumsum(misses, axis=1) - misses / 2
    n_pairs = hits.sum(axis=1) * misses.sum(axis=1)
    return np.asarray((hits * below).sum(axis=1) / np.where(n_pairs > 0, n_pairs, np.nan))
