"""The kinds of columns that nobody declared."""

import logging
from collections import Counter
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_datetime64_any_dtype, is_numeric_dtype, is_scalar

from src.data.columns import Columns
from src.data.kinds import convert, holds_text
from src.data_load.arrow import is_inexact
from src.errors import DataError

logger = logging.getLogger(__name__)

# A category of more levels is of high cardinality.
MANY_LEVELS = 50
# Text of which at least this share is numbers is a column of numbers with something else in it.
MOSTLY = 0.9
MAX_FAULTS = 20


def infer_columns(X: pd.DataFrame, known: Columns) -> dict[str, dict[str, Any]]:
    """Tell what each column is.

    Args:
        X: All columns but the target, as they were read, shape (n_rows, n_columns).
        known: What is declared or recorded of columns, and stands.

    Returns:
        For each column of X what is known of it, else its inferred `kind`.

    Raises:
        DataError: Columns hold numbers and a few other texts; all of them are named.
    """
    columns, faults = {}, []
    for name in map(str, X.columns):
        try:
            columns[name] = dict(known.get(name) or {"kind": infer_kind(X[name], name)})
        except DataError as error:
            faults.append(str(error))
    if len(faults) > 1:
        more = [f"and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
        lines = "".join(f"\n  {fault}" for fault in [*faults[:MAX_FAULTS], *more])
        raise DataError(f"{len(faults)} columns are of two kinds:{lines}")
    if faults:
        raise DataError(faults[0])
    inferred = Counter(column["kind"] for name, column in columns.items() if not known.get(name))
    if inferred:
        logger.info("inferred kinds: %s", ", ".join(f"{count} {kind}" for kind, count in sorted(inferred.items())))
    return columns


def infer_kind(column: pd.Series, name: str) -> str:
    """Tell what one column is, by its dtype, and text by the number of its levels."""
    if column.isna().all():
        logger.warning("column %r has no value at all: ignored", name)
        return "ignore"
    if is_bool_dtype(column):
        return "boolean"
    if is_inexact(column):
        # Such numbers name something: as floats two of them could be one.
        return "high_cardinality"
    if is_numeric_dtype(column) and not is_complex_dtype(column):
        return "number"
    if is_datetime64_any_dtype(column):
        return "date"
    if not holds_text(column):
        logger.warning("column %r holds %s, which is no feature: ignored", name, column.dtype)
        return "ignore"
    return _kind_of_text(column, name)


def _kind_of_text(column: pd.Series, name: str) -> str:
    if not column.dropna().head(1000).map(is_scalar).all():
        logger.warning("column %r holds lists or the like, which are no feature: ignored", name)
        return "ignore"
    levels = column.dropna().drop_duplicates()
    if {type(level) for level in levels.head(1000)} == {bool}:
        return "boolean"
    _, wrong = convert(levels.reset_index(drop=True), {"kind": "number"})
    n_wrong = 0 if wrong is None else int(wrong.sum())
    if wrong is not None and n_wrong <= (1 - MOSTLY) * len(levels):
        odd = levels[wrong.to_numpy()]
        n_rows = int(column.isin(odd).sum())
        examples = ", ".join(repr(value) for value in odd.head(3))
        raise DataError(
            f"column {name!r} holds numbers and, in {n_rows} of {len(column)} rows, something else, as {examples}; "
            f"add it to data_load.source.na_values if it means a missing value, "
            f"or declare data_load.columns.{name}: {{kind: category}}."
        )
    return "category" if len(levels) <= MANY_LEVELS else "high_cardinality"
