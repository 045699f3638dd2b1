"""Test all columns together: can a classifier separate new rows from training rows (Lopez-Paz & Oquab 2017)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from src.report.predictions import Floats
from src.report.profile import Reference, encode_column
from src.service.monitoring.compare import Comparison, reference_sample

# Both groups need rows to learn from and to test on.
MIN_ROWS = 20
SETTINGS = {"max_iter": 40, "max_leaf_nodes": 8, "min_samples_leaf": 10, "early_stopping": False}


def compare_rows(reference: Reference, rows: pd.DataFrame, random_state: int) -> tuple[Comparison, float] | None:
    """Train a classifier on half of the rows, test it on the other half, and the other way round.

    On the rows that it was not trained on, the rank-sum test of its scores is exact in the sense that the classifier
    is fixed. Twice the mean of both p-values is a p-value, although they depend on each other (Rüschendorf 1982).

    Args:
        rows: Converted raw columns, shape (n_rows, n_columns). Of many rows, as many as in the sample are used.

    Returns:
        The comparison, with 2 AUC - 1 as its effect, and the AUC; None if there are too few rows or columns.
    """
    names = [name for name in reference.sample if name in rows]
    n_before = len(next(iter(reference.sample.values()), []))
    if not names or min(n_before, len(rows)) < MIN_ROWS:
        return None
    rng = np.random.default_rng(random_state)
    rows = rows.iloc[np.sort(rng.choice(len(rows), min(len(rows), n_before), replace=False))]
    X, y = _stack(reference, rows, names), np.repeat([0, 1], [n_before, len(rows)])
    halves = np.empty(len(y), dtype=int)
    for label in (0, 1):
        places = rng.permutation(np.flatnonzero(y == label))
        halves[places] = np.arange(len(places)) % 2
    # The endpoint may need the other cores. Threads do not change the result, and gain little on so few rows.
    with threadpool_limits(1):
        results = [_test(X, y, halves == half, random_state) for half in (0, 1)]
    auc, p = (float(np.mean(values)) for values in zip(*results, strict=True))
    effect = max(0.0, 2 * auc - 1)
    return Comparison("joint", "all columns", "rows", "classifier", min(1.0, 2 * p), effect), auc


def _stack(reference: Reference, rows: pd.DataFrame, names: Sequence[str]) -> Floats:
    before = np.column_stack([reference_sample(reference, name) for name in names])
    now = np.column_stack([encode_column(rows[name], reference.columns[name]) for name in names])
    return np.concatenate([before, now])


def _test(X: Floats, y: NDArray[np.intp], is_held_out: NDArray[np.bool_], random_state: int) -> tuple[float, float]:
    """Return the AUC on the rows that are held out, and its one-sided p-value."""
    # The classifier cannot bin a column without any value (scikit-learn 1.9).
    X = np.where(np.isnan(X[~is_held_out]).all(axis=0), 0, X)
    classifier = HistGradientBoostingClassifier(random_state=random_state, **SETTINGS)
    classifier.fit(X[~is_held_out], y[~is_held_out])
    scores, is_new = classifier.decision_function(X[is_held_out]), y[is_held_out] == 1
    found = stats.mannwhitneyu(scores[is_new], scores[~is_new], alternative="greater", method="asymptotic")
    return float(found.statistic) / (is_new.sum() * (~is_new).sum()), float(found.pvalue)
