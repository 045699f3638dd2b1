"""Find columns that predict the target almost perfectly, alone or together, because they may contain it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_datetime64_any_dtype, is_numeric_dtype

from src.config.train import Task
from src.data.kinds import convert, holds_text, to_text
from src.data_split.arithmetic import MAX_NAME, MISSED, find_relations
from src.text import one_line

# Balanced accuracy, or R². The best single columns of well-known tables stay below: petal width of
# iris 0.96, worst perimeter of breast_cancer 0.91. An easy task may reach it without a leak, such as
# setosa against the rest, so the default is a warning.
ALMOST_PERFECT = 0.99
MAX_ROWS, MIN_ROWS, N_FOLDS = 20_000, 20, 3
# Few rows rule out most columns of a large table.
SCREEN_ROWS, SCREEN_SCORE = 1_000, 0.9
# Larger numbers overflow the 32-bit floats of a tree.
LARGEST = 1e30

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


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
    target = pd.factorize(sample)[0]
    if task == "regression":
        target = sample.to_numpy(dtype=float).clip(-LARGEST, LARGEST)
    if task == "classification":
        # Classes too rare for every fold are reported by another check.
        common = np.bincount(target)[target] >= N_FOLDS
        rows, target = rows[common], pd.factorize(target[common])[0]
    if len(rows) < MIN_ROWS or len(np.unique(target)) < 2:
        return {}
    # Importing scikit-learn takes 1 s.
    from sklearn import config_context
    from sklearn.model_selection import KFold, StratifiedKFold

    # For many small columns, validating the parameters of the trees takes longer than fitting them.
    with config_context(skip_parameter_validation=True):
        if len(rows) > SCREEN_ROWS:
            few, halves = _balanced_halves(target, task)
            screened = {name: _score(X[name].iloc[rows[few]], target[few], task, [halves]) for name in names}
            names = [name for name, score in screened.items() if score >= SCREEN_SCORE]
        splitter = StratifiedKFold if task == "classification" else KFold
        folds = list(splitter(N_FOLDS).split(rows[:, None], target))
        scores = {name: _score(X[name].iloc[rows], target, task, folds) for name in names}
    return {name: score for name, score in scores.items() if score >= ALMOST_PERFECT}


def describe_score(task: Task) -> str:
    """Describe what the scores of `find_leaks` mean."""
    measure = "balanced accuracy" if task == "classification" else "R²"
    return f"predicts the target almost perfectly on its own ({measure} of a small tree, cross-validated)"


def find_suspects(X: pd.DataFrame, y: pd.Series, task: Task, random_state: int = 0) -> list[str]:
    """Describe columns of a raw table that may contain the target, alone or together, each in one line.

    Args:
        X: Raw rows without the target, of any dtype, shape (n_samples, n_columns); not modified.
        y: Target, shape (n_samples,); rows where it is missing are left out.
        random_state: Seed of the samples of rows.
    """
    target = convert(y, {"kind": "number"})[0] if task == "regression" else y
    rows = np.flatnonzero(target.notna())
    rows = np.sort(np.random.default_rng(random_state).permutation(rows)[:MAX_ROWS])
    sample = pd.DataFrame({name: _plain(X[name].iloc[rows]) for name in X.columns})
    target = target.iloc[rows]
    if task == "classification":
        # Numbers and a few words are classes, too.
        plain = _plain(target)
        target = plain if plain.notna().all() else to_text(target)
    scores = find_leaks(sample, list(X.columns), target, task, random_state)
    others = [name for name in X.columns if name not in scores]
    relations = find_relations(sample, others, target, task, random_state)
    alone = [
        f"{one_line(repr(name), MAX_NAME)} ({score:.3f}): {describe_score(task)}" for name, score in scores.items()
    ]
    return [*alone, *(relation.message for relation in relations)]


def _plain(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Convert text that is mostly numbers to numbers, and what is neither number nor date to text."""
    if is_bool_dtype(column) or (is_numeric_dtype(column) and not is_complex_dtype(column)):
        return column
    if is_datetime64_any_dtype(column):
        return column
    if not holds_text(column):
        return column.astype(str).where(column.notna())
    numbers, _ = convert(column, {"kind": "number"})
    known = column.notna().sum()
    return numbers if known and numbers.notna().sum() >= (1 - MISSED) * known else to_text(column)


def _balanced_halves(target: NDArray[Any], task: Task) -> tuple[NDArray[np.intp], Fold]:
    """Choose a few rows in two halves, with equally many of each class, so that a leak of a rare class counts."""
    if task == "classification":
        place = pd.Series(target).groupby(target).cumcount().to_numpy()
        rows = np.flatnonzero(place < max(2, SCREEN_ROWS // (target.max() + 1)))
    else:
        place = np.arange(len(target))
        rows = np.flatnonzero(place < SCREEN_ROWS)
    first = place[rows] % 2 == 0
    return rows, (np.flatnonzero(first), np.flatnonzero(~first))


def _score(column: "pd.Series[Any]", target: NDArray[Any], task: Task, folds: Sequence[Fold]) -> float:
    """Cross-validate predictions from one column: balanced accuracy, or R²."""
    if is_datetime64_any_dtype(column):
        days = (column - column.min()) / pd.Timedelta(1, "D")
        x, predict = days.to_numpy(dtype=float, na_value=np.nan), _predict_by_tree
    elif is_numeric_dtype(column) and not is_bool_dtype(column):
        x, predict = column.to_numpy(dtype=float, na_value=np.nan).clip(-LARGEST, LARGEST), _predict_by_tree
    else:
        x, predict = pd.factorize(column, use_na_sentinel=False)[0], _predict_by_level
    y_true = np.concatenate([target[test] for _, test in folds])
    y_pred = np.concatenate([predict(x[train], target[train], x[test], task) for train, test in folds])
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
