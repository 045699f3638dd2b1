"""Find columns that predict the target almost perfectly on their own: they often hold the answer."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from src.config.train import Task

# Balanced accuracy, or R². The best single columns of well-known tables stay below: petal width of
# iris 0.96, worst perimeter of breast_cancer 0.91. An easy task may reach it without a leak, such as
# setosa against the rest; hence the default is a warning.
ALMOST_PERFECT = 0.99
MAX_ROWS, MIN_ROWS, N_FOLDS = 20_000, 20, 3
# Few rows rule out most columns at once, and then scikit-learn, which takes 1 s to import, is not needed.
SCREEN_ROWS, SCREEN_SCORE = 1_000, 0.9
# Numbers whose sum the floats of a tree can hold.
LARGEST = 1e30

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]
# Predicts rows from the column and the target of other rows.
Predict = Callable[[NDArray[Any], NDArray[Any], NDArray[Any], Task], NDArray[Any]]


def find_leaks(X: pd.DataFrame, names: Sequence[str], y: pd.Series, task: Task, random_state: int) -> dict[str, float]:
    """Score each column on its own by cross-validation: numbers by a small tree, categories by level.

    A missing value counts as a value.

    Args:
        X: Rows, shape (n_samples, n_columns).
        names: Columns to score.
        y: Target, shape (n_samples,).
        task: Classification is scored by balanced accuracy, regression by R².
        random_state: Seed of the sample of at most `MAX_ROWS` rows.

    Returns:
        The scores of at least `ALMOST_PERFECT`, by column.
    """
    rows = np.random.default_rng(random_state).permutation(len(X))[:MAX_ROWS]
    sample = y.iloc[rows]
    target = sample.to_numpy(dtype=float) if task == "regression" else pd.factorize(sample)[0]
    if task == "classification":
        # Classes too rare for every fold are a finding of their own.
        common = np.bincount(target)[target] >= N_FOLDS
        rows, target = rows[common], pd.factorize(target[common])[0]
    if len(rows) < MIN_ROWS or len(np.unique(target)) < 2:
        return {}
    if len(rows) > SCREEN_ROWS:
        screen, halves = _balanced_halves(target, task)
        few, few_targets = rows[screen], target[screen]
        names = [
            name
            for name in names
            if _score(_values(X[name].iloc[few]), few_targets, task, [halves], _predict_by_neighbor) >= SCREEN_SCORE
        ]
    if not names:
        return {}
    from sklearn import config_context
    from sklearn.model_selection import KFold, StratifiedKFold

    splitter = StratifiedKFold if task == "classification" else KFold
    folds = list(splitter(N_FOLDS).split(rows[:, None], target))
    # For many small columns, validating the parameters of the trees takes longer than fitting them.
    with config_context(skip_parameter_validation=True):
        scores = {name: _score(_values(X[name].iloc[rows]), target, task, folds, _predict_by_tree) for name in names}
    return {name: score for name, score in scores.items() if score >= ALMOST_PERFECT}


def _balanced_halves(target: NDArray[Any], task: Task) -> tuple[NDArray[np.intp], Fold]:
    """Choose few rows, with equally many of each class, so that a leak of a rare class counts."""
    if task == "classification":
        place = pd.Series(target).groupby(target).cumcount().to_numpy()
        rows = np.flatnonzero(place < max(2, SCREEN_ROWS // (target.max() + 1)))
    else:
        place = np.arange(len(target))
        rows = np.flatnonzero(place < SCREEN_ROWS)
    first = place[rows] % 2 == 0
    return rows, (np.flatnonzero(first), np.flatnonzero(~first))


def _score(
    column: NDArray[Any], target: NDArray[Any], task: Task, folds: Sequence[Fold], predict_number: Predict
) -> float:
    """Cross-validate predictions from one column: balanced accuracy, or R²."""
    predict = predict_number if column.dtype == float else _predict_by_level
    y_true = np.concatenate([target[test] for _, test in folds])
    y_pred = np.concatenate([predict(column[train], target[train], column[test], task) for train, test in folds])
    if task == "regression":
        total = float(((y_true - y_true.mean()) ** 2).sum())
        return 1 - float(((y_true - y_pred) ** 2).sum()) / total if total else 1.0
    rows = np.bincount(y_true)
    right = np.bincount(y_true, y_true == y_pred)
    return float((right[rows > 0] / rows[rows > 0]).mean())


def _predict_by_tree(known: NDArray[Any], target: NDArray[Any], asked: NDArray[Any], task: Task) -> NDArray[Any]:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if task == "classification":
        tree: Any = DecisionTreeClassifier(max_leaf_nodes=max(16, 2 * (int(target.max()) + 1)), random_state=0)
    else:
        tree = DecisionTreeRegressor(max_leaf_nodes=256, random_state=0)
    return np.asarray(tree.fit(known[:, None], target).predict(asked[:, None]))


def _predict_by_neighbor(known: NDArray[Any], target: NDArray[Any], asked: NDArray[Any], _: Task) -> NDArray[Any]:
    """Predict the target of the nearest number.

    The error is at most about twice that of the best rule (Cover and Hart, 1967), so a column
    that reaches `ALMOST_PERFECT` reaches `SCREEN_SCORE`.
    """
    # A missing value is nearest to the others.
    known, asked = (np.where(np.isnan(values), 3 * LARGEST, values) for values in (known, asked))
    order = np.argsort(known, kind="stable")
    above = np.searchsorted(known[order], asked).clip(1, len(known) - 1)
    nearer_below = asked - known[order][above - 1] <= known[order][above] - asked
    return np.asarray(target[order][above - nearer_below])


def _predict_by_level(known: NDArray[Any], target: NDArray[Any], asked: NDArray[Any], task: Task) -> NDArray[Any]:
    """Predict the most frequent class or the mean of each level; for a new level, that of all rows."""
    n_levels = max(known.max(), asked.max()) + 1
    rows = np.bincount(known, minlength=n_levels)
    if task == "regression":
        of_level, of_all = np.bincount(known, target, n_levels) / np.maximum(rows, 1), target.mean()
    else:
        n_classes = int(target.max()) + 1
        counts = np.bincount(known * n_classes + target, minlength=n_levels * n_classes).reshape(n_levels, n_classes)
        of_level, of_all = counts.argmax(axis=1), np.bincount(target).argmax()
    return np.asarray(np.where(rows[asked] > 0, of_level[asked], of_all))


def _values(column: "pd.Series[Any]") -> NDArray[Any]:
    """Return numbers, or the codes of levels."""
    if is_numeric_dtype(column) and not is_bool_dtype(column):
        return column.to_numpy(dtype=float, na_value=np.nan).clip(-LARGEST, LARGEST)
    codes: NDArray[np.intp] = pd.factorize(column, use_na_sentinel=False)[0]
    return codes
