"""Convert and check the column to predict."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype

from src.config.train import Task
from src.data.kinds import PLURALS, Found, convert, find_rows, holds_text, to_text
from src.errors import DataError

logger = logging.getLogger(__name__)

MAX_NAMED = 10


@dataclass(frozen=True)
class Target:
    """How to convert the column to predict; the same in all parts of a table.

    Attributes:
        form: What the values become; `raw` leaves them as they are.
        declared: Declared properties.
        n_dropped: Number of rows without a target, which are dropped.
    """

    form: Literal["number", "boolean", "text", "integer", "raw"]
    declared: Mapping[str, Any]
    n_dropped: int

    def convert(self, raw: pd.Series) -> pd.Series:
        """Convert values that `find_target` has seen."""
        if self.form == "number":
            return convert(raw, {**self.declared, "kind": "number"})[0]
        if self.form == "boolean":
            return convert(raw, self.declared)[0].astype(bool)
        if self.form == "text":
            return to_text(raw)
        if self.form == "integer":
            return raw.astype(np.int64 if is_float_dtype(raw) else np.dtype(str(raw.dtype).lower()))
        return raw


def find_target(
    chunks: Iterable[pd.Series],
    target_column: str,
    task: Task,
    missing_target: Literal["drop", "error"],
    declared: Mapping[str, Any] = MappingProxyType({}),
) -> Target:
    """Find how to convert the target to the dtype of its task, and whether rows without a target are dropped.

    Numbers to predict become float64. Labels stay text, integers or booleans; whole numbers
    that were read as floats because some were missing become integers again.

    Args:
        chunks: Chunks of the column, in order; iterated twice.
        declared: Declared properties of the target, such as the format of its numbers.

    Raises:
        DataError: As `check_target`, or the labels are fractions.
    """
    n_rows = n_missing = 0
    for chunk in chunks:
        n_rows += len(chunk)
        n_missing += int(chunk.isna().sum())
    n_dropped = n_missing if missing_target == "drop" else 0
    if n_dropped:
        logger.warning("dropped %d of %d rows without target %r", n_dropped, n_rows, target_column)
    found, facts, are_booleans = Found(), list[TargetFacts](), False
    for chunk in chunks:
        raw = chunk[chunk.notna()] if n_dropped else chunk
        target = Target(_find_form(raw, n_missing == n_dropped, task, declared), declared, n_dropped)
        are_booleans |= target.form == "number" and is_bool_dtype(raw)
        if target.form in ("number", "boolean"):
            _, invalid = convert(raw, {**declared, "kind": target.form})
            none = pd.Series(False, index=raw.index)
            found += find_rows(raw, none if invalid is None else invalid, target.form, found.n_rows)
        elif target.form == "integer" and is_float_dtype(raw) and len(fractions := raw[raw % 1 != 0]):
            raise DataError(
                f"base.target_column = {target_column!r} holds fractions, such as {fractions.iloc[0]}, which cannot be "
                "classes; set base.task to regression."
            )
        if not found.n_selected and not are_booleans:
            facts.append(_describe(target.convert(raw)))
    if found.n_selected or are_booleans:
        what = f"not {PLURALS[target.form]}"
        problem = found.describe(what) if found.n_selected else "the values are booleans"
        remedy = ", or set base.task to classification" if target.form == "number" else ""
        raise DataError(f"base.target_column = {target_column!r}: {problem}; fix the values{remedy}.")
    check_facts(merge_facts(facts), target_column, task)
    return target


def _find_form(
    raw: pd.Series, is_complete: bool, task: Task, declared: Mapping[str, Any]
) -> Literal["number", "boolean", "text", "integer", "raw"]:
    if task == "regression":
        return "number"
    if declared.get("kind") == "boolean" and is_complete:
        return "boolean"
    if holds_text(raw):
        return "text"
    is_integer = is_float_dtype(raw) or isinstance(raw.dtype, pd.Int64Dtype | pd.UInt64Dtype)
    return "integer" if is_integer and is_complete else "raw"


def prepare_target(
    table: pd.DataFrame,
    target_column: str,
    task: Task,
    missing_target: Literal["drop", "error"],
    declared: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[pd.DataFrame, int]:
    """Convert the target of a table as `find_target` says, and drop rows without a target.

    Returns:
        The table, and the number of dropped rows.

    Raises:
        DataError: As `find_target`, or the table has no such column.
    """
    check_has_target(table.columns, target_column)
    raw = table[target_column]
    target = find_target([raw], target_column, task, missing_target, declared)
    if target.n_dropped:
        table = table[raw.notna()].reset_index(drop=True)
        raw = table[target_column]
    if (converted := target.convert(raw)) is not raw:
        table = table.assign(**{target_column: converted})
    return table, target.n_dropped


@dataclass(frozen=True)
class TargetFacts:
    """Facts that the check of a target needs; those of the parts of a table are merged.

    Attributes:
        first: First value; None if there are no rows.
        varies: Whether there are other values.
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
    check_has_target(table.columns, target_column)
    return _describe(table[target_column])


def _describe(target: pd.Series) -> TargetFacts:
    known = target.dropna()
    first = target.iloc[0] if len(target) else None
    varies = len(known) > 0 and not (known == known.iloc[0]).all()
    return TargetFacts(len(target), len(target) - len(known), target.dtype, first, varies)


def merge_facts(facts: Sequence[TargetFacts]) -> TargetFacts:
    """Merge the facts of the parts of a table."""
    first, *others = [each for each in facts if each.n_rows] or facts[:1]
    n_missing = sum(each.n_missing for each in facts)
    # A missing value equals no value; `check_facts` refuses it first.
    varies = bool(n_missing) or first.varies or any(each.varies or each.first != first.first for each in others)
    return replace(first, n_rows=sum(each.n_rows for each in facts), n_missing=n_missing, varies=varies)


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


def check_has_target(columns: "Sequence[str] | pd.Index[Any]", target_column: str) -> None:
    """Raise DataError unless the table has the target."""
    if target_column not in columns:
        hint = "; check data_load.source.separator" if len(columns) == 1 else ""
        names = ", ".join(map(str, columns[:20])) + (" and more" if len(columns) > 20 else "")
        raise DataError(f"base.target_column = {target_column!r} is not in the table; its columns are {names}{hint}.")
