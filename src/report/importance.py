"""Permutation importance: how much the model relies on each column (Breiman 2001)."""

import logging
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from src.data.scoring import make_scoring

logger = logging.getLogger(__name__)

MIN_ROWS, MAX_ROWS, N_REPEATS, MAX_FEATURES = 5, 1000, 5, 500


def measure_importance(
    model: Pipeline, X: pd.DataFrame, y: NDArray[Any], scoring: str, random_state: int, positive: Any = None
) -> pd.DataFrame:
    """Measure how much the score drops when the values of one column are shuffled.

    Each column costs `N_REPEATS` predictions of at most `MAX_ROWS` rows. Columns that carry the same
    information may both look unimportant.

    Args:
        X: Columns that the model uses, shape (n_samples, n_features).
        y: Target, shape (n_samples,).
        positive: Label of the positive class, if the scoring is about one.

    Returns:
        Columns `feature`, `mean` and `std` of the drop over the repeats, most important first;
        empty if the importance cannot be measured, which is logged.
    """
    classes = getattr(model, "classes_", None)
    rows = np.arange(len(X)) if classes is None else np.flatnonzero(pd.Index(classes).get_indexer(pd.Index(y)) >= 0)
    if len(rows) > MAX_ROWS:
        drawn = np.random.default_rng(random_state).choice(rows, MAX_ROWS, replace=False)
        # scikit-learn's scores of probabilities need at least one row of each class.
        firsts = drawn if classes is None else rows[~pd.Series(y[rows]).duplicated().to_numpy()]
        rows = np.union1d(drawn, firsts)
    X, y = X.iloc[rows], y[rows]
    if reason := _find_obstacle(model, X, y, scoring):
        logger.info("no permutation importance: %s", reason)
        return pd.DataFrame({"feature": [], "mean": [], "std": []})
    # On so few rows, threads and n_jobs cost more than they gain: on a busy machine, a prediction
    # took 1.1 s instead of 0.02 s.
    with threadpool_limits(1):
        scorer = make_scoring(scoring, positive)
        found = permutation_importance(model, X, y, scoring=scorer, n_repeats=N_REPEATS, random_state=random_state)
    columns = {"feature": list(X.columns), "mean": found["importances_mean"], "std": found["importances_std"]}
    return pd.DataFrame(columns).sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def _find_obstacle(model: Pipeline, X: pd.DataFrame, y: NDArray[Any], scoring: str) -> str | None:
    if not 0 < X.shape[1] <= MAX_FEATURES:
        return f"{X.shape[1]} columns, expected 1 to {MAX_FEATURES}"
    if len(X) < MIN_ROWS:
        return f"{len(X)} test rows, expected {MIN_ROWS} or more"
    if scoring in ("average_precision", "neg_log_loss", "roc_auc", "roc_auc_ovr") and hasattr(model, "classes_"):
        needs_probabilities = scoring in ("neg_log_loss", "roc_auc_ovr")
        if needs_probabilities and not hasattr(model, "predict_proba"):
            return f"{scoring} needs probabilities, which the model does not predict"
        if not (hasattr(model, "predict_proba") or hasattr(model, "decision_function")):
            return f"{scoring} needs scores, and the model predicts labels only"
        if len(pd.unique(y)) < len(model.classes_):
            return f"not every class of the model is among {len(y)} test rows"
    return None
