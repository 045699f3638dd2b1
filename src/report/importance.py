"""What the model relies on: permutation importance (Breiman 2001)."""

import logging
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from src.report.figures import COLOURS, fit_labels, new_axes

logger = logging.getLogger(__name__)

MIN_ROWS, MAX_ROWS, N_REPEATS, MAX_FEATURES, N_SHOWN = 5, 1000, 5, 500, 20


def measure_importance(
    model: Pipeline, X: pd.DataFrame, y: NDArray[Any], scoring: str, random_state: int
) -> pd.DataFrame:
    """Measure how much the score falls when the values of one column are shuffled.

    On at most `MAX_ROWS` rows, since each column costs `N_REPEATS` predictions of them.
    Of columns that tell the same, neither may look important.

    Args:
        model: Takes X.
        X: Columns that the model uses, shape (n_samples, n_features).
        y: Target, shape (n_samples,).
        scoring: Name of scikit-learn's scorer.
        random_state: Seed of the rows and of the shuffling.

    Returns:
        Columns `feature`, `mean` and `std` of the fall over the repeats, most important
        first; empty for fewer than `MIN_ROWS` rows, for more than `MAX_FEATURES` columns, or
        if the score is undefined: a class has no rows, or it is of probabilities and the
        model gives none.
    """
    empty = pd.DataFrame({"feature": [], "mean": [], "std": []})
    if not 0 < X.shape[1] <= MAX_FEATURES:
        logger.info("no permutation importance: %d columns, it is measured for 1 to %d", X.shape[1], MAX_FEATURES)
        return empty
    classes = getattr(model, "classes_", None)
    rows = np.arange(len(X)) if classes is None else np.flatnonzero(pd.Index(classes).get_indexer(pd.Index(y)) >= 0)
    if len(rows) > MAX_ROWS:
        drawn = np.random.default_rng(random_state).choice(rows, MAX_ROWS, replace=False)
        # One of each class at least: scikit-learn's scores of probabilities need that.
        firsts = drawn if classes is None else rows[~pd.Series(y[rows]).duplicated().to_numpy()]
        rows = np.union1d(drawn, firsts)
    if len(rows) < MIN_ROWS:
        logger.info("no permutation importance: %d test rows, it is measured on %d or more", len(rows), MIN_ROWS)
        return empty
    X, y = X.iloc[rows], y[rows]
    if classes is not None and scoring in ("roc_auc_ovr", "neg_log_loss"):
        if not hasattr(model, "predict_proba"):
            logger.info("no permutation importance: %s needs probabilities, which the model does not give", scoring)
            return empty
        if len(pd.unique(y)) < len(classes):
            logger.info("no permutation importance: not every class of the model has a test row")
            return empty
    # Threads that wait for each other cost more than they give on so few rows: on a machine
    # where others compute, 1.1 s a prediction instead of 0.02 s.
    with threadpool_limits(1):
        found = permutation_importance(model, X, y, scoring=scoring, n_repeats=N_REPEATS, random_state=random_state)
    table = pd.DataFrame(
        {"feature": list(X.columns), "mean": found["importances_mean"], "std": found["importances_std"]}
    )
    return table.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def plot_importance(importance: pd.DataFrame, scoring: str) -> Figure:
    """Draw the most important columns, with the standard deviation over the repeats."""
    shown = importance.head(N_SHOWN)
    of_all = f" of {len(importance)}" if len(importance) > len(shown) else ""
    title = f"Permutation importance, {len(shown)}{of_all} columns"
    figure, axes = new_axes(7, 1.6 + 0.28 * len(shown), title, f"Fall of {scoring} when shuffled", "")
    axes.barh(range(len(shown)), shown["mean"], xerr=shown["std"], color=COLOURS[0], ecolor="black", capsize=2)
    axes.set_yticks(range(len(shown)), fit_labels(list(shown["feature"]), 36), parse_math=False)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    return figure
