"""The column to predict: found, complete, and with at least two classes."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.config.training import Task
from src.errors import DataError


def split_target(table: pd.DataFrame, target_column: str, task: Task) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Separate the features from the target.

    Args:
        table: Shape (n_rows, n_features + 1).
        target_column: Name of the column to predict.
        task: Whether it holds classes or numbers.

    Returns:
        X, shape (n_rows, n_features), and y, shape (n_rows,), class labels.

    Raises:
        DataError: The column is missing, lacks values or holds fewer than two classes.
    """
    if target_column not in table.columns:
        columns = ", ".join(map(str, table.columns))
        raise DataError(f"base.target_column = {target_column!r} is not in the table; it has {columns}.")
    target = table[target_column]
    n_missing = int(target.isna().sum())
    if n_missing:
        raise DataError(f"target {target_column!r} lacks a value in {n_missing} of {len(table)} rows; drop these rows.")
    if task == "regression":
        return table.drop(columns=target_column), target.to_numpy()
    n_classes = target.nunique()
    if n_classes < 2:
        found = f"only the class {target.iloc[0]!r}" if n_classes else "no rows"
        raise DataError(f"target {target_column!r} holds {found}; a classifier needs at least two classes.")
    return table.drop(columns=target_column), target.to_numpy()


def check_class_counts(y: NDArray[Any], at_least: int, reason: str) -> None:
    """Refuse classes with too few rows.

    Args:
        y: Class labels, shape (n_rows,).
        at_least: Rows that each class needs, at least 1.
        reason: What needs them, for the message.

    Raises:
        DataError: Names each class with fewer rows, and how many it has.
    """
    classes, counts = np.unique(y, return_counts=True)
    rare = [f"{label!r} ({count})" for label, count in zip(classes, counts, strict=True) if count < at_least]
    if rare:
        raise DataError(f"too few rows of class {', '.join(rare)}: {reason} needs at least {at_least} of each class.")
