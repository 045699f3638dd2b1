"""The column to predict: found, complete, and of what the task needs."""

import logging
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype

from src.config.train import Task
from src.data.conform import describe_invalid
from src.data.kinds import convert, holds_text, to_text
from src.errors import DataError

logger = logging.getLogger(__name__)


def prepare_target(
    table: pd.DataFrame, target_column: str, task: Task, missing_target: Literal["drop", "error"]
) -> tuple[pd.DataFrame, int]:
    """Give the target the dtype of its task, and drop rows that lack it or refuse them.

    Numbers to predict are float64. Labels stay text, integers or booleans; whole numbers
    that were read as floats because some were missing are integers again.

    Args:
        table: Shape (n_rows, n_columns), as it was read.
        target_column: Name of the column to predict.
        task: Whether it holds classes or numbers.
        missing_target: What is done with rows that lack it.

    Returns:
        The table, and how many rows were dropped.

    Raises:
        DataError: As `split_target`; or the labels are fractions.
    """
    _check_it_is_there(table, target_column)
    missing = table[target_column].isna()
    n_missing = int(missing.sum())
    if n_missing and missing_target == "drop":
        logger.warning("dropped %d of %d rows, which lack target %r", n_missing, len(table), target_column)
        table = table[~missing].reset_index(drop=True)
    target = table[target_column]
    if task == "regression":
        target, wrong = convert(target, {"kind": "number"})
        if wrong is not None or is_bool_dtype(table[target_column]):
            told = "holds booleans" if wrong is None else describe_invalid(table[target_column], wrong, "number")
            raise DataError(
                f"base.target_column = {target_column!r} {told}; mend them, or set base.task to classification."
            )
    elif holds_text(target):
        target = to_text(target)[0]
    elif is_float_dtype(target) and target.notna().all():
        if len(fractions := target[target % 1 != 0]):
            raise DataError(
                f"base.target_column = {target_column!r} holds fractions, as {fractions.iloc[0]}, which are no "
                "classes; set base.task to regression."
            )
        target = target.astype(np.int64)
    elif isinstance(target.dtype, pd.Int64Dtype | pd.UInt64Dtype) and target.notna().all():
        target = target.astype(np.dtype(str(target.dtype).lower()))
    table = table.assign(**{target_column: target}) if target is not table[target_column] else table
    split_target(table, target_column, task)
    return table, len(missing) - len(table)


def split_target(
    table: pd.DataFrame, target_column: str, task: Task, *, to_learn: bool = True
) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Separate the features from the target.

    Args:
        table: Shape (n_rows, n_features + 1).
        target_column: Name of the column to predict.
        task: Whether it holds classes or numbers.
        to_learn: Whether these rows are to be learnt from, which takes two classes or values.

    Returns:
        X, shape (n_rows, n_features), and y, shape (n_rows,): class labels, or finite float64.

    Raises:
        DataError: The column is missing, lacks values, or holds fewer than two classes or
            values, or no finite numbers where numbers are to be predicted.
    """
    _check_it_is_there(table, target_column)
    target = table[target_column]
    if not len(target):
        raise DataError(f"target {target_column!r} holds no rows; bring a table that has some.")
    n_missing = int(target.isna().sum())
    if n_missing:
        raise DataError(
            f"target {target_column!r} lacks a value in {n_missing} of {len(table)} rows; drop these rows, "
            "as `data_load.missing_target: drop` does."
        )
    if task == "regression" and not is_numeric_dtype(target):
        raise DataError(
            f"target {target_column!r} holds {target.dtype}, as {target.iloc[0]!r}, and a regression needs numbers; "
            "set base.task to classification, or name another base.target_column."
        )
    # Told before all are counted: a million different numbers take their time.
    if to_learn and (target == target.iloc[0]).all():
        what = ("value", "regression", "values") if task == "regression" else ("class", "classifier", "classes")
        raise DataError(
            f"target {target_column!r} holds only the {what[0]} {target.iloc[0]!r}; "
            f"a {what[1]} needs at least two {what[2]}."
        )
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
    counts = pd.Series(y).value_counts(sort=False).sort_index()
    rare = [f"{label!r} ({count})" for label, count in counts.items() if count < at_least]
    if rare:
        more = f" and {len(rare) - 10} more" if len(rare) > 10 else ""
        raise DataError(
            f"too few rows of class {', '.join(rare[:10])}{more}: {reason} needs at least {at_least} of each class."
        )


def _check_it_is_there(table: pd.DataFrame, target_column: str) -> None:
    if target_column not in table.columns:
        columns = ", ".join(map(str, table.columns[:20])) + (" and more" if table.shape[1] > 20 else "")
        raise DataError(f"base.target_column = {target_column!r} is not in the table; it has {columns}.")
