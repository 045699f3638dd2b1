"""Slices of the test rows where the model is worst."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.report.ranking import Floats

# A slice has at least this many rows, and this share of all.
MIN_ROWS, MIN_SHARE = 10, 0.01
N_QUANTILES, N_SHOWN = 4, 5
# With a hundred slices, two standard errors would find some by luck alone.
MIN_STANDARD_ERRORS = 3.0


@dataclass(frozen=True)
class Slice:
    """Rows that have something in common.

    Attributes:
        column: What they have in common.
        condition: In what they are alike, as `= Dream` or `> 3.2`.
        n_rows: How many there are.
        loss: Mean of their losses.
    """

    column: str
    condition: str
    n_rows: int
    loss: float


@dataclass(frozen=True)
class SliceSearch:
    """What a search for weak slices found.

    Attributes:
        worst: Slices that are worse than all rows by more than luck, worst first.
        n_looked_at: Slices with enough rows.
        min_rows: Rows that a slice needs.
        loss: Mean loss of all rows.
    """

    worst: list[Slice]
    n_looked_at: int
    min_rows: int
    loss: float


def find_weak_slices(X: pd.DataFrame, losses: Floats, columns: Mapping[str, Sequence[str]]) -> SliceSearch:
    """Find where the model is worst: by level of a category and by quantile of a number.

    Args:
        X: Featurized rows, shape (n_samples, n_features).
        losses: Loss of each row, shape (n_samples,).
        columns: Names of the columns to look at, by kind.

    Returns:
        At most `N_SHOWN` slices whose mean loss is `MIN_STANDARD_ERRORS` above that of all
        rows, by the standard error of a random sample of as many of these rows.
    """
    min_rows = max(MIN_ROWS, int(np.ceil(MIN_SHARE * len(X))))
    overall, spread = float(losses.mean()), float(losses.std())
    found, n_looked_at = [], 0
    for kind, names in columns.items():
        for name in [name for name in names if name in X]:
            codes, conditions = _split_numbers(X[name], min_rows) if kind == "number" else _split_levels(X[name])
            rows = np.bincount(codes, minlength=len(conditions))
            means = np.bincount(codes, losses, minlength=len(conditions)) / np.maximum(rows, 1)
            # All rows are no slice.
            enough = (rows >= min_rows) & (rows < len(X))
            n_looked_at += int(enough.sum())
            error = spread * np.sqrt(np.maximum(1 / np.maximum(rows, 1) - 1 / len(X), 0))
            weak = enough & (means - overall > MIN_STANDARD_ERRORS * error) & (means > overall)
            found += [
                Slice(name, conditions[code], int(rows[code]), float(means[code])) for code in np.flatnonzero(weak)
            ]
    worst = sorted(found, key=lambda each: -each.loss)[:N_SHOWN]
    return SliceSearch(worst, n_looked_at, min_rows, overall)


def _split_levels(values: "pd.Series[Any]") -> tuple[NDArray[np.intp], list[str]]:
    codes, levels = pd.factorize(values, use_na_sentinel=False, sort=False)
    return codes, ["is missing" if pd.isna(level) else f"= {level}" for level in levels]


def _split_numbers(values: "pd.Series[Any]", min_rows: int) -> tuple[NDArray[np.intp], list[str]]:
    """Divide numbers at their quantiles; missing ones are a slice of their own."""
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    known = numbers[~np.isnan(numbers)]
    n_parts = int(np.clip(len(known) // min_rows, 1, N_QUANTILES))
    edges = np.unique(np.quantile(known, np.linspace(0, 1, n_parts + 1)[1:-1])) if len(known) else np.array([])
    codes = np.where(np.isnan(numbers), len(edges) + 1, np.searchsorted(edges, numbers))
    return codes, [*_between(edges), "is missing"]


def _between(edges: Floats) -> Iterator[str]:
    texts = [f"{edge:.4g}" for edge in edges]
    if not texts:
        yield "is not missing"
        return
    yield f"≤ {texts[0]}"
    yield from (f"> {low} and ≤ {high}" for low, high in pairwise(texts))
    yield f"> {texts[-1]}"
