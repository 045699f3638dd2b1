"""Infer the kinds of columns that are not declared."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_datetime64_any_dtype, is_numeric_dtype, is_scalar

from src.data.columns import Columns
from src.data.kinds import FALSE, MISSING, TRUE, convert, holds_text, to_text
from src.data_load.arrow import is_inexact
from src.data_load.number_format import MOSTLY, find_number_format, has_digits
from src.errors import DataError

logger = logging.getLogger(__name__)

# A category with more levels is of high cardinality.
MANY_LEVELS = 50
# Free text has at least this many words in a value, on average.
TEXT_WORDS = 4
MAX_PROBLEMS = 20
# The first rows usually show high cardinality; 1 / 8 is enough even if each level appears twice.
FIRST_ROWS = 1 / 8


def infer_columns(X: pd.DataFrame, known: Columns) -> dict[str, dict[str, Any]]:
    """Return the known properties of each raw column, or its inferred `kind`.

    Raises:
        DataError: Columns contain numbers and a few other values; lists all of them.
    """
    columns, problems = {}, []
    for name in map(str, X.columns):
        try:
            columns[name] = dict(known.get(name) or {"kind": infer_kind(X[name], name)})
        except DataError as error:
            problems.append(str(error))
    if len(problems) > 1:
        raise DataError(f"{len(problems)} columns hold numbers and other values:{list_problems(problems)}")
    if problems:
        raise DataError(problems[0])
    inferred = Counter(column["kind"] for name, column in columns.items() if not known.get(name))
    if inferred:
        logger.info("inferred kinds: %s", ", ".join(f"{count} {kind}" for kind, count in sorted(inferred.items())))
    return columns


def infer_kind(column: pd.Series, name: str) -> str:
    """Infer the kind of a column from its dtype, and that of text from its levels."""
    if column.isna().all():
        logger.warning("column %r has no values: ignored", name)
        return "ignore"
    if is_bool_dtype(column):
        return "boolean"
    if is_inexact(column):
        # Probably identifiers, and different ones could be equal as floats.
        return "high_cardinality"
    if is_numeric_dtype(column) and not is_complex_dtype(column):
        return "number"
    if is_datetime64_any_dtype(column):
        return "date"
    if not holds_text(column):
        logger.warning("column %r has dtype %s, which cannot be a feature: ignored", name, column.dtype)
        return "ignore"
    return _kind_of_text(column, name)


def holds_objects(column: pd.Series) -> bool:
    """Return whether a column holds lists, structs or other objects, as Parquet can."""
    return column.dtype == object and not column.dropna().head(1000).map(is_scalar).all()


def list_problems(problems: Sequence[str]) -> str:
    """Format the first `MAX_PROBLEMS` problems as indented lines."""
    more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
    return "".join(f"\n  {problem}" for problem in [*problems[:MAX_PROBLEMS], *more])


def _kind_of_text(column: pd.Series, name: str) -> str:
    if holds_objects(column):
        logger.warning("column %r holds lists or other objects, which cannot be features: ignored", name)
        return "ignore"
    # With this many levels that are not numbers, the fraction of numbers cannot reach MOSTLY.
    first = _levels(column.head(int(len(column) * FIRST_ROWS)))
    if len(first) > MANY_LEVELS and _not_numbers(first).sum() > (1 - MOSTLY) * len(column):
        return _kind_of_many(first, name)
    levels = _levels(column)
    if {type(level) for level in levels.head(1000)} == {bool} or are_booleans(levels):
        return "boolean"
    if not has_digits(levels):
        return "category" if len(levels) <= MANY_LEVELS else _kind_of_many(levels, name)
    not_numbers = _not_numbers(levels)
    if not_numbers.any() and not_numbers.sum() <= (1 - MOSTLY) * len(levels):
        others = levels[not_numbers]
        n_rows = int(column.isin(others).sum())
        examples = ", ".join(repr(value) for value in others.head(3))
        raise DataError(
            f"column {name!r} holds numbers and, in {n_rows} of {len(column)} rows, other values, for example "
            f"{examples}; add them to data_load.source.na_values if they mean a missing value, "
            f"or declare data_load.columns.{name}: {{kind: category}}."
        )
    return "category" if len(levels) <= MANY_LEVELS else _kind_of_many(levels, name)


def are_booleans(levels: pd.Series) -> bool:
    """Return whether different texts are words for true and false, in any spelling, such as `yes`, `No` and `n`."""
    if len(levels) > len((*TRUE, *FALSE, *MISSING)) or not levels.map(lambda level: isinstance(level, str)).all():
        return False
    words = set(levels.str.strip().str.lower()) - set(MISSING)
    return words <= {*TRUE, *FALSE} and bool(words & set(TRUE)) and bool(words & set(FALSE))


def _kind_of_many(levels: pd.Series, name: str) -> str:
    """Return the kind of text with many levels.

    Raises:
        DataError: The text is numbers in some format.
    """
    sample = to_text(levels.head(1000))
    if (found := find_number_format(sample)) and found.options:
        declaration = ", ".join(
            f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in found.options.items()
        )
        raise DataError(
            f"column {name!r} holds numbers as text, for example {sample.iloc[0]!r}; declare "
            f"data_load.columns.{name}: {{kind: number, {declaration}}}, or {{kind: high_cardinality}}."
        )
    is_free_text = sample.str.count(r"\S+").mean() >= TEXT_WORDS
    return "text" if is_free_text else "high_cardinality"


def _levels(column: pd.Series) -> pd.Series:
    return pd.Series(column.unique()).dropna().reset_index(drop=True)


def _not_numbers(levels: pd.Series) -> "pd.Series[bool]":
    _, invalid = convert(levels, {"kind": "number"})
    return pd.Series(False, index=levels.index) if invalid is None else invalid
