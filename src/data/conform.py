"""Raw rows brought to the kinds of their columns, or the first column named that cannot be."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from src.data.kinds import convert
from src.errors import DataError

N_EXAMPLES = 3


def convert_columns(X: pd.DataFrame, columns: Mapping[str, Mapping[str, Any]], offset: int = 0) -> pd.DataFrame:
    """Bring raw rows to the kinds of their columns.

    Args:
        X: Shape (n_rows, n_columns); not changed.
        columns: What each column is; other columns of X pass untouched.
        offset: Rows of the same table before these; the errors count them.

    Returns:
        The same rows and columns; a level that an ordinal does not know is missing.

    Raises:
        DataError: A column is absent or twice there, or holds what is not of its kind.
    """
    if not X.columns.is_unique:
        twice = X.columns[X.columns.duplicated()].unique()
        raise DataError(f"column {', '.join(map(repr, twice))} is there more than once; name each column once.")
    needed = [name for name, declared in columns.items() if declared["kind"] != "ignore"]
    if absent := [name for name in needed if name not in X.columns]:
        raise DataError(f"the rows lack column {', '.join(map(repr, absent))}; these are needed: {', '.join(needed)}.")
    changed = {}
    for name in needed:
        raw, declared = X[name], columns[name]
        column, wrong = convert(raw, declared)
        if wrong is not None:
            raise DataError(f"column {name!r} {describe_invalid(raw, wrong, declared['kind'], offset)}.")
        if declared["kind"] == "ordinal" and not (known := column.isin(declared["order"])).all():
            column = column.where(known)
        if column is not raw:
            changed[name] = column
    if not changed:
        return X.copy(deep=False)
    return pd.DataFrame({name: changed.get(name, X[name]) for name in X.columns}, index=X.index, copy=False)


def describe_invalid(column: pd.Series, wrong: pd.Series, kind: str, n_rows_before: int = 0) -> str:
    """Tell which values are not of a kind: `holds 2 of 3 values that are no date, as 'x' in row 1`."""
    positions = np.flatnonzero(wrong.to_numpy())
    examples = [
        f"{_shown(column.iloc[position])} in row {n_rows_before + position + 1}" for position in positions[:N_EXAMPLES]
    ]
    article = "no finite number" if kind == "number" else f"no {kind}"
    return f"holds {len(positions)} of {len(column)} values that are {article}, as {', '.join(examples)}"


def _shown(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)[:60]
