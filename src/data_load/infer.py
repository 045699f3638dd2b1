"""Infer the kinds of columns that are not declared."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
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
# Bounds the memory; a few other values among this many numbers are still found.
MAX_LEVELS = 100_000
FIRST_ROWS = 2**14


def infer_columns(X: pd.DataFrame, known: Columns) -> dict[str, dict[str, Any]]:
    """Return the known properties of each column of a table in memory, or its inferred `kind`; see `infer_kinds`."""
    return infer_kinds({str(name): [X[name]] for name in X.columns}, known)


def infer_kinds(table: Mapping[str, Iterable[pd.Series]], known: Columns) -> dict[str, dict[str, Any]]:
    """Return the known properties of each raw column, or its inferred `kind`.

    Args:
        table: Chunks of each column, in order; iterated several times.
        known: Declared or recorded columns.

    Raises:
        DataError: Columns contain numbers and a few other values; lists all of them.
    """
    columns, problems = {}, []
    for name, chunks in table.items():
        try:
            columns[name] = dict(known.get(name) or {"kind": _infer_kind(chunks, name)})
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
    return _infer_kind([column], name)


def _infer_kind(chunks: Iterable[pd.Series], name: str) -> str:
    # All chunks have one dtype; most columns need only the first chunk.
    column = next((chunk for chunk in chunks if not chunk.isna().all()), None)
    if column is None:
        logger.warning("column %r has no values: ignored", name)
        return "ignore"
    if is_bool_dtype(column):
        return "boolean"
    if column.dtype.kind in "iu" and any(map(is_inexact, chunks)):
        # Probably identifiers, and different ones could be equal as floats.
        return "high_cardinality"
    if is_numeric_dtype(column) and not is_complex_dtype(column):
        return "number"
    if is_datetime64_any_dtype(column):
        return "date"
    if not holds_text(column):
        logger.warning("column %r has dtype %s, which cannot be a feature: ignored", name, column.dtype)
        return "ignore"
    if holds_objects(column):
        logger.warning("column %r holds lists or other objects, which cannot be features: ignored", name)
        return "ignore"
    return _kind_of_text(chunks, name)


def holds_objects(column: pd.Series) -> bool:
    """Return whether a column holds lists, structs or other objects, as Parquet can."""
    return column.dtype == object and not column.dropna().head(1000).map(is_scalar).all()


def list_problems(problems: Sequence[str]) -> str:
    """Format the first `MAX_PROBLEMS` problems as indented lines."""
    more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
    return "".join(f"\n  {problem}" for problem in [*problems[:MAX_PROBLEMS], *more])


def _kind_of_text(chunks: Iterable[pd.Series], name: str) -> str:
    levels, not_numbers = _find_levels(chunks)
    if {type(level) for level in levels.head(1000)} == {bool} or are_booleans(levels):
        return "boolean"
    if not_numbers.any() and not_numbers.sum() <= (1 - MOSTLY) * len(levels):
        others = levels[not_numbers]
        n_rows = sum(map(len, chunks))
        n_others = sum(int(chunk.isin(others).sum()) for chunk in chunks)
        examples = ", ".join(repr(value) for value in others.head(3))
        raise DataError(
            f"column {name!r} holds numbers and, in {n_others} of {n_rows} rows, other values, for example "
            f"{examples}; add them to data_load.source.na_values if they mean a missing value, "
            f"or declare data_load.columns.{name}: {{kind: category}}."
        )
    return "category" if len(levels) <= MANY_LEVELS else _kind_of_many(levels, name)


def _find_levels(chunks: Iterable[pd.Series]) -> tuple[pd.Series, NDArray[np.bool_]]:
    """Return the different values of a text column in order of appearance, and which of them are not numbers.

    At most `MAX_LEVELS` numbers are returned. The search ends once so many other values are found that the fraction
    of numbers cannot reach `MOSTLY`.
    """
    levels: pd.Series | None = None
    not_numbers = np.array([], bool)
    for column in _slices(chunks):
        found = pd.Series(column.unique()).dropna()
        if isinstance(found.dtype, pd.CategoricalDtype):
            found = found.astype(object)
        # Looking up texts takes longer than finding the unique ones again.
        new = found if levels is None else pd.Series(pd.concat([levels, found]).unique()[len(levels) :])
        new = new.reset_index(drop=True)
        if new.empty:
            continue
        are_others = _not_numbers(new)
        room = MAX_LEVELS - int((~not_numbers).sum())
        kept = are_others | ((~are_others).cumsum() <= room)
        levels = new[kept] if levels is None else pd.concat([levels, new[kept]], ignore_index=True)
        not_numbers = np.concatenate([not_numbers, are_others[kept]])
        if (n_others := not_numbers.sum()) > (1 - MOSTLY) * (MAX_LEVELS + n_others):
            break
    return pd.Series([], dtype=object) if levels is None else levels, not_numbers


def _slices(chunks: Iterable[pd.Series]) -> Iterator[pd.Series]:
    """Divide a column into slices of growing size, because the first rows usually show high cardinality."""
    size = FIRST_ROWS
    for chunk in chunks:
        start = 0
        while start < len(chunk):
            yield chunk.iloc[start : start + size]
            start, size = start + size, 2 * size


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


def _not_numbers(levels: pd.Series) -> NDArray[np.bool_]:
    # Texts without digits need no conversion, which takes longer.
    if not has_digits(levels):
        return np.array([str(level).strip().lower() not in MISSING for level in levels])
    _, invalid = convert(levels, {"kind": "number"})
    return np.zeros(len(levels), bool) if invalid is None else invalid.to_numpy()
