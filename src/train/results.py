"""The scores of all candidates, as a table and as what MLflow is told."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from src.config.train import RESULT_COLUMNS
from src.train.search import Result, rank


def tabulate(results: Sequence[Result], *, halved: bool) -> pd.DataFrame:
    """Make a row for each candidate: `estimator`, its parameters, `mean`, `std`, `rank`.

    Nothing in it depends on time, so that equal searches are equal files.

    Args:
        results: What the search found.
        halved: Whether candidates were fitted on different numbers of rows; then `n_rows` tells it.
    """
    rows = []
    for result, place in zip(results, rank(results), strict=True):
        row: dict[str, Any] = {"estimator": result.candidate.estimator, **params_as_text(result)}
        if halved:
            row["n_rows"] = result.n_rows
        rows.append(row | {"mean": result.mean, "std": result.std, "rank": place})
    names = [name for row in rows for name in row]
    last = [name for name in RESULT_COLUMNS[1:] if name in names]
    order = ["estimator", *(name for name in dict.fromkeys(names) if name not in RESULT_COLUMNS), *last]
    return pd.DataFrame(rows, columns=order).astype({"rank": "Int64"})


def record_candidates(results: Sequence[Result], scoring: str) -> list[dict[str, Any]]:
    """Tell MLflow of all candidates, the best first."""
    placed = sorted(zip(results, rank(results), strict=True), key=lambda item: item[1] or math.inf)
    return [
        {
            "estimator": result.candidate.estimator,
            "params": params_as_text(result),
            "metrics": {}
            if place is None
            else {f"cv_{scoring}_mean": result.mean, f"cv_{scoring}_std": result.std, "cv_rank": float(place)},
        }
        for result, place in placed
    ]


def params_as_text(result: Result) -> dict[str, str]:
    """Write parameters as JSON would, so that nothing and the word for it differ."""
    return {
        f"{name}_" if name in RESULT_COLUMNS else name: value
        if isinstance(value, str)
        else json.dumps(value, default=str)
        for name, value in sorted(result.candidate.params.items())
    }
