"""Slices of the test rows on which the model is weak."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from src.report.predictions import Floats

# A slice has at least this many rows, and this share of all.
MIN_ROWS, MIN_SHARE = 10, 0.01
N_QUANTILES, N_SHOWN = 4, 5
# With two standard errors, some of a hundred slices would be weak by chance.
MIN_STANDARD_ERRORS = 3.0


@dataclass(frozen=True)
class Slice:
    """Rows that meet a condition on one column, such as `= Dream` or `> 3.2`."""

    column: str
    condition: str
    n_rows: int
    loss: float


@dataclass(frozen=True)
class SliceSearch:
    """Slices of at least `min_rows` rows that are significantly worse than all rows, worst first."""

    worst: list[Slice]
    n_checked: int
    min_rows: int
    loss: float


def find_weak_slices(X: pd.DataFrame, losses: Floats, columns: Mapping[str, Sequence[str]]) -> SliceSearch:
    """Find the levels of a category and the quantiles of a number on which the model is weak.

    Args:
        X: Featurized rows, shape (n_samples, n_features).
        losses: Loss of each row, shape (n_samples,).
        columns: Columns to check, by kind.

    Returns:
        At most `N_SHOWN` slices whose mean loss exceeds that of all rows by more than
        `MIN_STANDARD_ERRORS` standard errors of a random sample of the same size.
    """
    min_rows = max(MIN_ROWS, int(np.ceil(MIN_SHARE * len(X))))
    overall, spread = float(losses.mean()), float(losses.std())
    found, n_checked = [], 0
    for kind, names in columns.items():
        for name in [name for name in names if name in X]:
            values = _cut(X[name], min_rows) if kind == "number" else X[name]
            codes, groups = pd.factorize(values, use_na_sentinel=False)
            n_rows = np.bincount(codes)
            means = np.bincount(codes, losses) / n_rows
            is_slice = (n_rows >= min_rows) & (n_rows < len(X))
            n_checked += int(is_slice.sum())
            error = spread * np.sqrt(1 / n_rows - 1 / len(X))
            weak = is_slice & (means - overall > np.maximum(MIN_STANDARD_ERRORS * error, 1e-12))
            found += [
                Slice(name, _describe(groups[code]), int(n_rows[code]), float(means[code]))
                for code in np.flatnonzero(weak).tolist()
            ]
    worst = sorted(found, key=lambda each: -each.loss)[:N_SHOWN]
    return SliceSearch(worst, n_checked, min_rows, overall)


def _cut(values: "pd.Series[Any]", min_rows: int) -> Any:
    """Divide numbers at their quantiles, as many as the rows allow."""
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    known = numbers[~np.isnan(numbers)]
    n_parts = int(np.clip(len(known) // min_rows, 1, N_QUANTILES))
    edges = np.unique(np.quantile(known, np.linspace(0, 1, n_parts + 1)[1:-1])) if len(known) else known
    return pd.cut(numbers, pd.IntervalIndex.from_breaks([-np.inf, *edges, np.inf]))


def _describe(group: Any) -> str:
    if pd.isna(group):
        return "is missing"
    if not isinstance(group, pd.Interval):
        return f"= {group}"
    ends = [f"> {group.left:.4g}"] if np.isfinite(group.left) else []
    ends += [f"≤ {group.right:.4g}"] if np.isfinite(group.right) else []
    return " and ".join(ends) or "is not missing"
