"""Convert columns to the dtypes of their kinds.

    number                                 float64, integers included: an integer cannot be missing
    boolean                                float64: 1.0, 0.0 or missing
    category, ordinal, high_cardinality,
    text                                   str, missing as NaN
    date                                   datetime64[us], in UTC, without a time zone
    ignore                                 not converted

A column gets the same dtype from CSV, Parquet and JSON, so training and prediction see equal values.
Each value is converted independently of the other rows.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
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

from src.errors import DataError

TEXT = pd.StringDtype(na_value=np.nan)
DATE = np.dtype("datetime64[us]")
TEXT_KINDS = ("category", "ordinal", "high_cardinality", "text")
# In English, German, French, Spanish, Portuguese and Italian.
TRUE = ("1", "1.0", "t", "true", "y", "yes", "on", "wahr", "ja", "j", "oui", "vrai", "si", "sí", "sì", "sim")
FALSE = ("0", "0.0", "f", "false", "n", "no", "off", "falsch", "nein", "non", "faux", "não", "nao")
# Properties of a column of numbers that are text.
NUMBER_FORMAT = ("decimal", "thousands", "unit")
# Text that means a missing value in a column of another kind.
MISSING = ("", "nan")
PLURALS = {"number": "finite numbers", "boolean": "booleans", "date": "dates"}
N_EXAMPLES = 3
# Characters that are written for others: minus signs, apostrophes, blanks.
VARIANTS = {"\u2212\u2013\u2010\u2011": "-", "\u2019\u02bc`\u00b4": "'", "\u00a0\u202f\u2009\u2007": " "}
# Years 1 and 9999.
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799

# A boolean for each row: True where the value is not of the kind. None if all are valid.
Invalid = pd.Series | None


def convert_columns(X: pd.DataFrame, columns: Mapping[str, Mapping[str, Any]], offset: int = 0) -> pd.DataFrame:
    """Convert raw rows to the dtypes of their kinds.

    Unknown levels of an ordinal become missing, and columns of X that are not in `columns` stay.

    Args:
        X: Raw rows, shape (n_rows, n_columns); not modified.
        columns: Kind of each column.
        offset: Number of rows of the table before these, for row numbers in errors.

    Raises:
        DataError: A column is missing or duplicated, or holds a value of another kind.
    """
    check_unique_names(X.columns)
    needed = [name for name, declared in columns.items() if declared["kind"] != "ignore"]
    if missing := [name for name in needed if name not in X.columns]:
        names = ", ".join(map(repr, missing))
        raise DataError(f"column {names} is missing from the rows; required columns: {', '.join(needed)}.")
    changed = {}
    for name in needed:
        raw, declared = X[name], columns[name]
        column, invalid = convert(raw, declared)
        if invalid is not None:
            raise DataError(f"column {name!r}: {describe_invalid(raw, invalid, declared['kind'], offset)}.")
        if declared["kind"] == "ordinal" and not (known := column.isin(declared["order"])).all():
            column = column.where(known)
        if column is not raw:
            changed[name] = column
    if not changed:
        return X.copy(deep=False)
    return pd.DataFrame({name: changed.get(name, X[name]) for name in X.columns}, index=X.index, copy=False)


def check_unique_names(names: "pd.Index[Any]", prefix: str = "") -> None:
    """Raise DataError if two columns have the same name."""
    if not names.is_unique:
        duplicated = ", ".join(map(repr, names[names.duplicated()].unique()))
        raise DataError(f"{prefix}column {duplicated} appears more than once; give each column its own name.")


@dataclass(frozen=True)
class Found:
    """Selected rows of a column, such as the invalid ones: their number, and the first ones as examples."""

    n_selected: int = 0
    n_rows: int = 0
    examples: tuple[str, ...] = ()

    def __add__(self, below: "Found") -> "Found":
        examples = (*self.examples, *below.examples)[:N_EXAMPLES]
        return Found(self.n_selected + below.n_selected, self.n_rows + below.n_rows, examples)

    def describe(self, what: str) -> str:
        """Describe the rows as `2 of 3 values are WHAT, for example 'x' in row 1`."""
        example = ("in " if what == "missing" else "") + ", ".join(self.examples)
        return f"{self.n_selected} of {self.n_rows} values are {what}, for example {example}"


def find_rows(column: pd.Series, selected: pd.Series, what: str, offset: int = 0) -> Found:
    """Count selected rows, and format the first ones as `'x' in row 1`.

    Args:
        offset: Number of rows of the table before these.
    """
    positions = np.flatnonzero(selected.to_numpy())
    examples = []
    for position in positions[:N_EXAMPLES]:
        value = column.iloc[position]
        plain = value.item() if isinstance(value, np.generic) else value
        row = f"row {offset + position + 1}"
        examples.append(row if what == "missing" else f"{plain!r:.60} in {row}")
    return Found(len(positions), len(column), tuple(examples))


def describe_invalid(column: pd.Series, invalid: pd.Series, kind: str, offset: int = 0) -> str:
    """Describe invalid values as `2 of 3 values are not dates, for example 'x' in row 1`."""
    what = f"not {PLURALS[kind]}"
    return find_rows(column, invalid, what, offset).describe(what)


def convert(column: pd.Series, declared: Mapping[str, Any]) -> tuple[pd.Series, Invalid]:
    """Convert a column to the dtype of its kind.

    Args:
        column: Raw values; not modified.
        declared: The `kind` and the format of the values, see `src.config.data_load.Column`.

    Returns:
        The column, which is the same object if its dtype is right, and which values are invalid; these become missing.
    """
    kind = declared["kind"]
    if kind == "ignore":
        return column, None
    if kind == "date":
        return _to_date(column, declared)
    if kind == "number":
        return _to_number(column, declared)
    return _to_boolean(column) if kind == "boolean" else (to_text(column), None)


def to_text(column: pd.Series) -> pd.Series:
    """Convert values to text, and the number 1.0 to `1`: a missing value makes floats of integers."""
    if column.dtype == TEXT:
        return column
    if isinstance(column.dtype, pd.StringDtype) or infer_dtype(column) == "string":
        return column.astype(TEXT)
    if is_object_dtype(column):
        # factorize treats 1, 1.0 and True as equal.
        return column.map(text_of, na_action="ignore").astype(TEXT)
    codes, levels = pd.factorize(column)
    texts = pd.array([*map(text_of, levels), np.nan], dtype=TEXT)
    return pd.Series(texts.take(codes), index=column.index, name=column.name)


def text_of(value: Any) -> str:
    """Convert one value to text.

    >>> text_of(1.0), text_of(0.5), text_of(True), text_of("x")
    ('1', '0.5', 'True', 'x')
    """
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def holds_text(column: pd.Series) -> bool:
    """Return whether the values are text, or objects of any type."""
    return is_object_dtype(column) or is_string_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype)


def _to_number(column: pd.Series, declared: Mapping[str, Any] = MappingProxyType({})) -> tuple[pd.Series, Invalid]:
    if is_complex_dtype(column) or is_datetime64_any_dtype(column) or is_timedelta64_dtype(column):
        return column, column.notna()
    if is_numeric_dtype(column):
        number = column
        if column.dtype != np.float64:
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            number = pd.Series(values, index=column.index, name=column.name)
        invalid = np.isinf(number)
    elif not has_number_format(declared) and (parsed := _parse_numbers(column)) is not None:
        number, invalid = parsed, np.isinf(parsed)
    else:
        number = pd.to_numeric(_plain_numbers(column.astype(object), declared), errors="coerce").astype(np.float64)
        invalid = (number.isna() & ~_is_missing(column)) | np.isinf(number)
    return number, invalid if invalid.any() else None


def has_number_format(declared: Mapping[str, Any]) -> bool:
    """Return whether numbers of the column are text in a declared format."""
    return any(declared.get(name) is not None for name in NUMBER_FORMAT)


def _plain_numbers(column: pd.Series, declared: Mapping[str, Any]) -> pd.Series:
    """Rewrite text such as `$1,234.50`, `1.234,50 €` or `(1.20)` as `1234.50` and `-1.20`.

    Text that does not fit the format becomes missing; values that are not text stay.

    Args:
        column: Dtype object.
        declared: `decimal`, `thousands` and `unit`, if declared.
    """
    is_text = column.map(lambda value: isinstance(value, str)).astype(bool)
    text = column[is_text].astype(TEXT)
    for variants, plain in VARIANTS.items():
        text = text.str.replace(f"[{variants}]", plain, regex=True)
    if not has_number_format(declared):
        # Only accounts write a negative number in parentheses, or the minus after it.
        pattern = r"^\s*(?:\(\s*([0-9.]+)\s*\)|([0-9.]+)-)\s*$"
        return column.where(~is_text, text.str.replace(pattern, r"-\1\2", regex=True).astype(object))
    decimal, thousands = declared.get("decimal") or ".", declared.get("thousands") or ""
    unit = f"(?:{re.escape(declared['unit'])})?" if declared.get("unit") else ""
    grouped = (
        rf"[0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{2,3}})*{re.escape(thousands)}[0-9]{{3}}|" if thousands else ""
    )
    pattern = (
        rf"^\s*(?P<open>\(?)\s*(?P<sign>[-+]?)\s*{unit}\s*(?P<sign2>[-+]?)(?P<whole>{grouped}[0-9]*)"
        rf"(?:{re.escape(decimal)}(?P<part>[0-9]*))?(?P<exponent>(?:[eE][-+]?[0-9]+)?)(?P<sign3>-?)\s*{unit}\s*(?P<close>\)?)\s*$"
    )
    found = text.str.extract(pattern).fillna("")
    signs = found["open"] + found["sign"] + found["sign2"] + found["sign3"]
    minus = signs.isin(["-", "("]) & ((found["open"] == "(") == (found["close"] == ")"))
    known = minus | (signs + found["close"]).isin(["", "+"])
    whole = found["whole"].str.replace(thousands, "", regex=False) if thousands else found["whole"]
    plain_text = minus.map({True: "-", False: ""}) + whole + "." + found["part"] + found["exponent"]
    return column.where(~is_text, plain_text.where(known).astype(object))


def _parse_numbers(column: pd.Series) -> pd.Series | None:
    """Parse text if all of it is numbers; ten times as fast as pandas."""
    if column.dtype != TEXT:
        return None
    try:
        numbers = pa.array(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    return pd.Series(numbers, index=column.index, name=column.name)


def _to_boolean(column: pd.Series) -> tuple[pd.Series, Invalid]:
    if is_bool_dtype(column):
        return _to_number(column)
    if column.dtype == np.float64:
        boolean, invalid = column, ~(column.isin([0.0, 1.0]) | column.isna())
    else:
        codes, levels = pd.factorize(to_text(column))
        known = {**dict.fromkeys(TRUE, 1.0), **dict.fromkeys(FALSE, 0.0)}
        # The last value is for code -1, a missing value.
        values = np.array([*(known.get(level.strip().lower(), np.nan) for level in levels), np.nan])
        boolean = pd.Series(values[codes], index=column.index, name=column.name)
        invalid = boolean.isna() & ~_is_missing(column)
    return boolean, invalid if invalid.any() else None


def _to_date(column: pd.Series, declared: Mapping[str, Any]) -> tuple[pd.Series, Invalid]:
    if column.dtype == DATE:
        return column, None
    if is_datetime64_any_dtype(column):
        return _without_zone(column), None
    formats = declared.get("format")
    if declared.get("epoch"):
        seconds, invalid = _to_number(column)
        scaled = seconds / {"s": 1, "ms": 1000}[declared["epoch"]]
        too_large = (scaled < FIRST_SECOND) | (scaled > LAST_SECOND)
        # Through microseconds, because floats of seconds lose digits.
        date = pd.to_datetime((scaled.mask(too_large) * 1e6).round(), unit="us", errors="coerce").astype(DATE)
        invalid = too_large if invalid is None else invalid | too_large
        return date, invalid if invalid.any() else None
    if not holds_text(column) and formats is None and column.notna().any():
        return column, column.notna()
    # The format is not guessed, because other rows might give another one.
    # Whole numbers with missing values may be written as 20200131.0.
    text = to_text(column).str.replace(r"^(\d+)\.0$", r"\1", regex=True)
    first, *others = [formats] if isinstance(formats, str) else formats or ["ISO8601"]
    parsed = pd.to_datetime(text, errors="coerce", format=first, utc=True)
    for form in others:
        parsed = parsed.fillna(pd.to_datetime(text, errors="coerce", format=form, utc=True))
    date = _without_zone(parsed)
    invalid = date.isna() & ~_is_missing(column)
    return date, invalid if invalid.any() else None


def _without_zone(column: pd.Series) -> pd.Series:
    if column.dt.tz is not None:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    return column.astype(DATE)


def _is_missing(column: pd.Series) -> pd.Series:
    missing = column.isna()
    if holds_text(column) and not missing.all():
        missing |= to_text(column).str.strip().str.lower().isin(MISSING)
    return missing
