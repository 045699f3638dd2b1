"""The kinds of columns, the one dtype of each, and how values become it.

    number                                 float64: integers too, since an integer cannot be missing
    boolean                                float64: 1.0 and 0.0, so that it can be missing
    category, ordinal, high_cardinality    str, missing as NaN
    date                                   datetime64[us], UTC without saying so
    ignore                                 whatever was read

The same dtype from a CSV, from Parquet, from JSON and after a round trip: equal rows are
equal bytes, and a model sees at prediction what it saw at training. Values are looked
at one by one, never beside their neighbours: a row alone becomes what it became among
others.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import (
    infer_dtype,
    is_bool_dtype,
    is_complex_dtype,
    is_datetime64_any_dtype,
    is_numeric_dtype,
    is_object_dtype,
    is_string_dtype,
    is_timedelta64_dtype,
)

TEXT = pd.StringDtype(na_value=np.nan)
DATE = np.dtype("datetime64[us]")
TEXT_KINDS = ("category", "ordinal", "high_cardinality")
TRUE, FALSE = ("1", "1.0", "t", "true", "y", "yes"), ("0", "0.0", "f", "false", "n", "no")
# What counts as missing where text is read as something else.
MISSING = ("", "nan")

# Of each row, whether its value is not of the kind; None if all are.
Wrong = pd.Series | None


def convert(column: pd.Series, declared: Mapping[str, Any]) -> tuple[pd.Series, Wrong]:
    """Bring a column to the dtype of its kind.

    Args:
        column: As it was read; not changed, and given back as it is where the dtype is right.
        declared: Its `kind`, and the `format` of a date if it is not ISO 8601.

    Returns:
        The column, and which values are not of that kind; these are missing in the column.
    """
    kind = declared["kind"]
    if kind == "ignore":
        return column, None
    if kind == "date":
        return _to_date(column, declared.get("format"))
    converters: dict[str, Callable[[pd.Series], tuple[pd.Series, Wrong]]] = {
        "number": _to_number,
        "boolean": _to_boolean,
    }
    return converters.get(kind, to_text)(column)


def to_text(column: pd.Series) -> tuple[pd.Series, Wrong]:
    """Write values as text; the number 1.0 is `1`, as in the file where nothing is missing."""
    if column.dtype == TEXT:
        return column, None
    if isinstance(column.dtype, pd.StringDtype) or infer_dtype(column) == "string":
        return column.astype(TEXT), None
    if is_object_dtype(column):
        # Each by itself: to a hash table 1, 1.0 and True are one.
        return column.map(text_of, na_action="ignore").astype(TEXT), None
    codes, levels = pd.factorize(column)
    texts = pd.array([*map(text_of, levels), np.nan], dtype=TEXT)
    return pd.Series(texts.take(codes), index=column.index, name=column.name), None


def text_of(value: Any) -> str:
    """Write one value as text.

    >>> text_of(1.0), text_of(0.5), text_of(True), text_of("x")
    ('1', '0.5', 'True', 'x')
    """
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def holds_text(column: pd.Series) -> bool:
    """Tell whether values are text, or objects of any type."""
    return is_object_dtype(column) or is_string_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype)


def _to_number(column: pd.Series) -> tuple[pd.Series, Wrong]:
    if is_complex_dtype(column) or is_datetime64_any_dtype(column) or is_timedelta64_dtype(column):
        return column, column.notna()
    if is_numeric_dtype(column):
        number = column
        if column.dtype != np.float64:
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            number = pd.Series(values, index=column.index, name=column.name)
        wrong = np.isinf(number)
    elif (parsed := _parse_numbers(column)) is not None:
        number, wrong = parsed, np.isinf(parsed)
    else:
        number = pd.to_numeric(column.astype(object), errors="coerce").astype(np.float64)
        wrong = (number.isna() & ~_is_missing(column)) | np.isinf(number)
    return number, wrong if wrong.any() else None


def _parse_numbers(column: pd.Series) -> pd.Series | None:
    """Parse text that is all numbers, ten times as fast as what looks at each value; None if it is not."""
    if column.dtype != TEXT:
        return None
    try:
        numbers = pa.array(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    return pd.Series(numbers, index=column.index, name=column.name)


def _to_boolean(column: pd.Series) -> tuple[pd.Series, Wrong]:
    if is_bool_dtype(column):
        return _to_number(column)
    if column.dtype == np.float64:
        boolean, wrong = column, ~(column.isin([0.0, 1.0]) | column.isna())
    else:
        known = {**dict.fromkeys(TRUE, 1.0), **dict.fromkeys(FALSE, 0.0)}
        text, _ = to_text(column)
        boolean = text.str.strip().str.lower().map(known).astype(np.float64)
        wrong = boolean.isna() & ~_is_missing(column)
    return boolean, wrong if wrong.any() else None


def _to_date(column: pd.Series, date_format: str | None) -> tuple[pd.Series, Wrong]:
    if column.dtype == DATE:
        return column, None
    if is_datetime64_any_dtype(column):
        return _without_zone(column), None
    if not holds_text(column) and date_format is None and column.notna().any():
        return column, column.notna()
    text, _ = to_text(column)
    # Never guessed from the rows: another row would be guessed otherwise.
    date = _without_zone(pd.to_datetime(text, errors="coerce", format=date_format or "ISO8601", utc=True))
    wrong = date.isna() & ~_is_missing(column)
    return date, wrong if wrong.any() else None


def _without_zone(column: pd.Series) -> pd.Series:
    if column.dt.tz is not None:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    return column.astype(DATE)


def _is_missing(column: pd.Series) -> pd.Series:
    missing = column.isna()
    if holds_text(column) and not missing.all():
        missing |= to_text(column)[0].str.strip().str.lower().isin(MISSING)
    return missing
