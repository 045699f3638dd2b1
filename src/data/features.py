"""Row-wise features: the same code at training and at prediction."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from src.errors import FeatureError


def add_features(X: pd.DataFrame, features: Mapping[str, Mapping[str, Sequence[str]]]) -> pd.DataFrame:
    """Compute the declared features and append them.

    Plain mappings instead of config classes, because the fitted model carries
    this function and its declarations to machines without this repository.

    Args:
        X: Raw columns, shape (n_rows, n_columns); not changed.
        features: For each new column its kind and columns, `{"ratio": [numerator, denominator]}`.

    Returns:
        Raw columns and then the features in the order declared, shape (n_rows, n_columns + n_features).

    Raises:
        FeatureError: A column is missing or is no number, a name is taken, or a
            division gives infinity or NaN.

    >>> add_features(pd.DataFrame({"a": [6.0], "b": [3.0]}), {"a_to_b": {"ratio": ["a", "b"]}})
         a    b  a_to_b
    0  6.0  3.0     2.0
    """
    featurized = X.copy(deep=False)
    for name, declaration in features.items():
        if name in X.columns:
            raise FeatureError(f"feature {name!r} has the name of a column of the table; choose another name.")
        featurized[name] = _ratio(X, name, *declaration["ratio"])
    return featurized


def prepare_rows(
    X: pd.DataFrame, columns: Mapping[str, Mapping[str, Any]], features: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Bring raw rows to the kinds of their columns, and append the declared features.

    Args:
        X: Raw columns, shape (n_rows, n_columns); not changed.
        columns: What each column is, as `infer_columns` gives it; other columns of X pass untouched.
        features: Declared features, as `add_features` takes them.

    Returns:
        Shape (n_rows, n_columns + n_features).
    """
    return add_features(X, features)


def _ratio(X: pd.DataFrame, name: str, numerator: str, denominator: str) -> pd.Series:
    for column in (numerator, denominator):
        if column not in X.columns:
            known = ", ".join(map(str, X.columns))
            raise FeatureError(f"feature {name!r} needs column {column!r}, which is missing; the table has {known}.")
        if not is_numeric_dtype(X[column]):
            raise FeatureError(f"feature {name!r} needs numbers in column {column!r}, got {X[column].dtype}.")
    above, below = X[numerator].astype(float), X[denominator].astype(float)
    ratio = above / below
    # A missing value stays missing, to be imputed; only the division itself may not fail.
    failed = ~np.isfinite(ratio) & above.notna() & below.notna()
    if failed.any():
        raise FeatureError(
            f"feature {name!r}: dividing by column {denominator!r} gives infinity or NaN in {int(failed.sum())} of "
            f"{len(X)} rows; clean these rows or drop the feature."
        )
    return ratio
