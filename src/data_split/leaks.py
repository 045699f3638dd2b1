"""Columns that alone tell the target almost perfectly: often the answer in other words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from sklearn import config_context
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from src.config.train import Task

# Balanced accuracy, or R². The best single columns of known tables stay below: petal
# width of iris 0.96, worst perimeter of breast_cancer 0.91. An easy task may reach it
# honestly, as setosa against the rest: hence a warning, which asks a question.
ALMOST_PERFECT = 0.99
MAX_ROWS, MIN_ROWS, N_FOLDS = 20_000, 20, 3
# A first look at few rows spares most columns the long one.
SCREEN_ROWS, SCREEN_SCORE = 1_000, 0.9
LARGEST = 1e30


def find_leaks(
    X: pd.DataFrame, names: Sequence[str], y: NDArray[Any], task: Task, random_state: int
) -> dict[str, float]:
    """Score each column alone, cross-validated: numbers by a small tree, categories by level.

    A missing value is a value too.

    Args:
        X: Rows, shape (n_samples, n_columns).
        names: Columns to look at.
        y: Target, shape (n_samples,).
        task: Whether the target holds classes, scored by balanced accuracy, or numbers, by R².
        random_state: Seed of the rows that are looked at, at most `MAX_ROWS`, and of the folds.

    Returns:
        Scores of the columns that reach `ALMOST_PERFECT`.
    """
    rows = np.random.default_rng(random_state).permutation(len(X))[:MAX_ROWS]
    target = y[rows].astype(float) if task == "regression" else pd.factorize(y[rows])[0]
    if task == "classification":
        # Classes too rare for every fold are a finding of their own.
        common = np.bincount(target)[target] >= N_FOLDS
        rows, target = rows[common], pd.factorize(target[common])[0]
    if len(rows) < MIN_ROWS or len(np.unique(target)) < 2:
        return {}
    screen, halves = _balanced_halves(target, task)
    splitter = StratifiedKFold if task == "classification" else KFold
    folds = list(splitter(N_FOLDS).split(rows[:, None], target))
    leaks = {}
    # Columns are many and small: checks of their parameters would cost more than the trees.
    with config_context(skip_parameter_validation=True):
        for name in names:
            column = _values(X[name].iloc[rows])
            if len(rows) > SCREEN_ROWS and _score(column[screen], target[screen], task, [halves]) < SCREEN_SCORE:
                continue
            score = _score(column, target, task, folds)
            if score >= ALMOST_PERFECT:
                leaks[name] = score
    return leaks


def _balanced_halves(
    target: NDArray[Any], task: Task
) -> tuple[NDArray[np.intp], tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Take few rows, as many of each class as there are: a leak of a rare class is one too."""
    if task == "classification":
        place = pd.Series(target).groupby(target).cumcount().to_numpy()
        rows = np.flatnonzero(place < max(2, SCREEN_ROWS // (target.max() + 1)))
    else:
        place = np.arange(len(target))
        rows = np.flatnonzero(place < SCREEN_ROWS)
    first = place[rows] % 2 == 0
    return rows, (np.flatnonzero(first), np.flatnonzero(~first))


def _score(
    column: NDArray[Any], target: NDArray[Any], task: Task, folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]]
) -> float:
    """Predict rows from others by the column alone, and compare."""
    predict = _predict_by_tree if column.dtype == float else _predict_by_level
    y_true = np.concatenate([target[test] for _, test in folds])
    y_pred = np.concatenate([predict(column[train], target[train], column[test], task) for train, test in folds])
    if task == "regression":
        return float(r2_score(y_true, y_pred))
    rows = np.bincount(y_true)
    right = np.bincount(y_true, y_true == y_pred)
    return float((right[rows > 0] / rows[rows > 0]).mean())


def _predict_by_tree(known: NDArray[Any], target: NDArray[Any], asked: NDArray[Any], task: Task) -> NDArray[Any]:
    if task == "classification":
        tree: Any = DecisionTreeClassifier(max_leaf_nodes=max(16, 2 * (int(target.max()) + 1)), random_state=0)
    else:
        tree = DecisionTreeRegressor(max_leaf_nodes=256, random_state=0)
    return np.asarray(tree.fit(known[:, None], target).predict(asked[:, None]))


def _predict_by_level(known: NDArray[Any], target: NDArray[Any], asked: NDArray[Any], task: Task) -> NDArray[Any]:
    """Give the most frequent class or the mean of each level, and of all rows where the level is new."""
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
    """Give numbers whose sum a tree's floats can hold, or the codes of levels."""
    if is_numeric_dtype(column) and not is_bool_dtype(column):
        return column.to_numpy(dtype=float, na_value=np.nan).clip(-LARGEST, LARGEST)
    codes: NDArray[np.intp] = pd.factorize(column, use_na_sentinel=False)[0]
    return codes
