"""Convert and check the column to predict."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype

from src.config.train import Task
from src.data.kinds import convert, describe_invalid, holds_text, to_text
from src.errors import DataError

logger = logging.getLogger(__name__)

MAX_NAMED = 10


def prepare_target(
    table: pd.DataFrame,
    target_column: str,
    task: Task,
    missing_target: Literal["drop", "error"],
    declared: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[pd.DataFrame, int]:
    """Convert the target to the dtype of its task, and drop or refuse rows without a target.

    Numbers to predict become float64. Labels stay text, integers or booleans; whole numbers
    that were read as floats because some were missing become integers again.

    Args:
        declared: Declared properties of the target, such as the format of its numbers.

    Returns:
        The table, and the number of dropped rows.

    Raises:
        DataError: As `check_target`, or the labels are fractions.
    """
    _check_exists(table, target_column)
    missing = table[target_column].isna()
    n_missing = int(missing.sum())
    if n_missing and missing_target == "drop":
        logger.warning("dropped %d of %d rows without target %r", n_missing, len(table), target_column)
        table = table[~missing].reset_index(drop=True)
    raw = target = table[target_column]
    if task == "regression":
        target, invalid = convert(raw, {**declared, "kind": "number"})
        if invalid is not None or is_bool_dtype(raw):
            problem = "the values are booleans" if invalid is None else describe_invalid(raw, invalid, "number")
            raise DataError(
                f"base.target_column = {target_column!r}: {problem}; fix the values, or set base.task to "
                "classification."
            )
    elif declared.get("kind") == "boolean" and raw.notna().all():
        target, invalid = convert(raw, declared)
        if invalid is not None:
            problem = describe_invalid(raw, invalid, "boolean")
            raise DataError(f"base.target_column = {target_column!r}: {problem}; fix the values.")
        target = target.astype(bool)
    elif holds_text(raw):
        target = to_text(raw)
    elif is_float_dtype(raw) and raw.notna().all():
        if len(fractions := raw[raw % 1 != 0]):
            raise DataError(
                f"base.target_column = {target_column!r} holds fractions, such as {fractions.iloc[0]}, which cannot be "
                "classes; set base.task to regression."
            )
        target = raw.astype(np.int64)
    elif isinstance(raw.dtype, pd.Int64Dtype | pd.UInt64Dtype) and raw.notna().all():
        target = raw.astype(np.dtype(str(raw.dtype).lower()))
    if target is not raw:
        table = table.assign(**{target_column: target})
    check_target(table, target_column, task)
    return table, len(missing) - len(table)


@dataclass(frozen=True)
class TargetFacts:
    """What a check of a target must know; those of a table in parts are merged.

    Attributes:
        first: First value; None without rows.
        varies: Whether other values are there.
    """

    n_rows: int
    n_missing: int
    dtype: Any
    first: Any
    varies: bool


def describe_target(table: pd.DataFrame, target_column: str) -> TargetFacts:
    """Describe the target of a table or of a part.

    Raises:
        DataError: The column is missing.
    """
    _check_exists(table, target_column)
    target = table[target_column]
    first = target.iloc[0] if len(target) else None
    varies = len(target) > 0 and not (target == first).all()
    return TargetFacts(len(target), int(target.isna().sum()), target.dtype, first, varies)


def merge_facts(facts: Sequence[TargetFacts]) -> TargetFacts:
    """Merge the facts of the parts of a table."""
    first = facts[0]
    return replace(
        first,
        n_rows=sum(each.n_rows for each in facts),
        n_missing=sum(each.n_missing for each in facts),
        varies=any(each.varies or each.first != first.first for each in facts),
    )


def check_target(table: pd.DataFrame, target_column: str, task: Task, *, to_learn: bool = True) -> None:
    """Check that the target is complete and suits the task.

    Raises:
        DataError: The column is missing or has missing values, a regression has no numbers, or,
            with `to_learn`, there are fewer than two classes or values.
    """
    check_facts(describe_target(table, target_column), target_column, task, to_learn=to_learn)


def check_facts(facts: TargetFacts, target_column: str, task: Task, *, to_learn: bool = True) -> None:
    """Check the target of a table from its facts.

    Raises:
        DataError: As `check_target`.
    """
    if not facts.n_rows:
        raise DataError(f"target {target_column!r} has no rows; provide a table with rows.")
    if facts.n_missing:
        raise DataError(
            f"target {target_column!r} is missing in {facts.n_missing} of {facts.n_rows} rows; drop these rows, for "
            "example by `data_load.missing_target: drop`."
        )
    if task == "regression" and not is_numeric_dtype(facts.dtype):
        raise DataError(
            f"target {target_column!r} has dtype {facts.dtype}, with values such as {facts.first!r}, and a "
            "regression needs numbers; set base.task to classification, or choose another base.target_column."
        )
    if to_learn and not facts.varies:
        raise DataError(
            f"target {target_column!r} holds only the value {facts.first!r}; a model needs at least two values."
        )


def split_target(
    table: pd.DataFrame, target_column: str, task: Task, *, to_learn: bool = True
) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Split a table into features and target, after `check_target`.

    Returns:
        X, shape (n_rows, n_features), and y, shape (n_rows,): class labels, or finite float64.

    Raises:
        DataError: As `check_target`.
    """
    check_target(table, target_column, task, to_learn=to_learn)
    return table.drop(columns=target_column), table[target_column].to_numpy()


def check_class_counts(y: "NDArray[Any] | pd.Series[Any]", at_least: int, reason: str) -> None:
    """Refuse classes with too few rows; `reason` is what needs them.

    Raises:
        DataError: Lists the classes and their numbers of rows.
    """
    check_counts(pd.Series(y).value_counts(sort=False).sort_index(), at_least, reason)


def check_counts(counts: "pd.Series[int]", at_least: int, reason: str) -> None:
    """Refuse classes with too few rows.

    Args:
        counts: Number of rows by class.
        reason: What needs them.

    Raises:
        DataError: Lists the classes and their numbers of rows.
    """
    rare = [f"{label!r} ({count})" for label, count in counts.items() if count < at_least]
    if rare:
        more = f" and {len(rare) - MAX_NAMED} more" if len(rare) > MAX_NAMED else ""
        raise DataError(
            f"too few rows of class {', '.join(rare[:MAX_NAMED])}{more}: {reason} needs at least {at_least} of each "
            "class."
        )


def _check_exists(table: pd.DataFrame, target_column: str) -> None:
    if target_column not in table.columns:
        hint = "; check data_load.source.separator" if table.shape[1] == 1 else ""
        columns = ", ".join(map(str, table.columns[:20])) + (" and more" if table.shape[1] > 20 else "")
        raise DataError(f"base.target_column = {target_column!r} is not in the table; its columns are {columns}{hint}.")
