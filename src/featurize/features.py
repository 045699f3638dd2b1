"""Row-wise features, computed by the same code in training and prediction.

Models logged to MLflow contain this module and what it imports, so import little.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from src.data.kinds import convert, convert_columns, to_text
from src.errors import FeatureError

Numbers = NDArray[np.floating[Any]]
SECONDS_PER_DAY = 86_400.0


def prepare_rows(
    X: pd.DataFrame, columns: Mapping[str, Mapping[str, Any]], features: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Convert raw rows to the kinds of their columns, and append the declared features.

    The arguments are plain mappings, not config classes, because the fitted model contains them.
    The conversion is idempotent.

    Args:
        X: Raw rows, shape (n_rows, n_columns); not modified.
        columns: Kind of each column, from `read_columns`; other columns of X are not converted.
        features: Declared features, as for `add_features`.

    Returns:
        Shape (n_rows, n_columns + n_features), with the dtypes of `src.data.kinds`.

    Raises:
        DataError: A column is missing, or contains a value of another kind.
        FeatureError: A feature cannot be computed.
    """
    return add_features(convert_columns(X, columns), features)


def add_features(X: pd.DataFrame, features: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Compute the declared features and append them.

    Args:
        X: Converted rows, shape (n_rows, n_columns); not modified.
        features: For each new column its calculation and operands, such as
            `{"ratio": [numerator, denominator]}` or `{"date_part": {"column": "day", "part": "month"}}`.

    Returns:
        The columns of X and then the features, float64, shape (n_rows, n_columns + n_features).

    Raises:
        FeatureError: A column is missing or of another kind, a name is taken, or the
            result is infinite or NaN although no operand is missing.

    >>> add_features(pd.DataFrame({"a": [6.0], "b": [3.0]}), {"a_to_b": {"ratio": ["a", "b"]}})
         a    b  a_to_b
    0  6.0  3.0     2.0
    """
    computed = {}
    for name, declaration in features.items():
        if name in X.columns:
            raise FeatureError(f"feature {name!r} has the name of a column of the table; choose another name.")
        ((kind, of),) = declaration.items()
        computed[name] = _COMPUTE[kind](_Rows(X, name), of)
    if not computed:
        return X.copy(deep=False)
    return pd.concat([X, pd.DataFrame(computed, index=X.index)], axis="columns")


class _Rows:
    """Operands of one feature."""

    def __init__(self, X: pd.DataFrame, feature: str) -> None:
        self.X = X
        self.feature = feature

    def column(self, name: str) -> pd.Series:
        if name not in self.X.columns:
            known = ", ".join(map(str, self.X.columns[:20]))
            raise FeatureError(
                f"feature {self.feature!r} needs column {name!r}, which is missing; the table has {known}; "
                "drop or fix the feature in featurize.features of params.yaml."
            )
        return self.X[name]

    def number(self, name: str) -> Numbers:
        column = self.column(name)
        # A column without values may have any dtype.
        if not is_numeric_dtype(column) and column.notna().any():
            raise FeatureError(f"feature {self.feature!r} needs numbers in column {name!r}, got {column.dtype}.")
        return column.to_numpy(dtype=np.float64, na_value=np.nan)

    def date(self, name: str) -> pd.Series:
        column = self.column(name)
        if not is_datetime64_any_dtype(column) and column.notna().any():
            raise FeatureError(
                f"feature {self.feature!r} needs dates in column {name!r}, got {column.dtype}; "
                f"declare data_load.columns.{name}: {{kind: date}}."
            )
        return convert(column, {"kind": "date"})[0]

    def checked(self, values: Numbers, of: Sequence[Numbers], what: str) -> Numbers:
        """Refuse infinity, and NaN unless an operand is missing; the model imputes missing values."""
        failed = ~np.isfinite(values)
        for operand in of:
            failed &= ~np.isnan(operand)
        if failed.any():
            raise FeatureError(
                f"feature {self.feature!r}: {what} gives infinity or NaN in {int(failed.sum())} of {len(values)} rows; "
                "clean these rows or drop the feature."
            )
        return values


def _ratio(rows: _Rows, of: Sequence[str]) -> Numbers:
    above, below = rows.number(of[0]), rows.number(of[1])
    with np.errstate(all="ignore"):
        ratio = above / below
    return rows.checked(ratio, (above, below), f"dividing by column {of[1]!r}")


def _difference(rows: _Rows, of: Sequence[str]) -> Numbers:
    if any(is_datetime64_any_dtype(rows.column(name)) for name in of):
        days: Numbers = (rows.date(of[0]) - rows.date(of[1])).dt.total_seconds().to_numpy() / SECONDS_PER_DAY
        return days
    first, second = rows.number(of[0]), rows.number(of[1])
    with np.errstate(all="ignore"):
        difference = first - second
    return rows.checked(difference, (first, second), f"subtracting column {of[1]!r}")


def _product(rows: _Rows, of: Sequence[str]) -> Numbers:
    factors = [rows.number(name) for name in of]
    with np.errstate(all="ignore"):
        return rows.checked(np.prod(factors, axis=0), factors, "multiplying")


def _log(rows: _Rows, of: str) -> Numbers:
    values = rows.number(of)
    with np.errstate(all="ignore"):
        return rows.checked(np.log(values), [values], f"the logarithm of column {of!r}")


def _date_part(rows: _Rows, of: Mapping[str, str]) -> Numbers:
    dates = rows.date(of["column"]).dt
    part: pd.Series = getattr(
        dates, {"dayofweek": "day_of_week", "dayofyear": "day_of_year"}.get(of["part"], of["part"])
    )
    return part.to_numpy(dtype=np.float64, na_value=np.nan)


def _text_length(rows: _Rows, of: str) -> Numbers:
    return np.asarray(to_text(rows.column(of)).str.len(), dtype=np.float64)


def _bins(rows: _Rows, of: Mapping[str, Any]) -> Numbers:
    values = rows.number(of["column"])
    numbers: Numbers = np.searchsorted(np.asarray(of["edges"]), values, side="right").astype(np.float64)
    numbers[np.isnan(values)] = np.nan
    return numbers


_COMPUTE: dict[str, Callable[[_Rows, Any], Numbers]] = {
    "ratio": _ratio,
    "difference": _difference,
    "product": _product,
    "log": _log,
    "date_part": _date_part,
    "text_length": _text_length,
    "bins": _bins,
}
