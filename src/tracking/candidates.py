"""The candidates of a search, as a stage tells them and the journal keeps them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class CandidateRecord:
    """One candidate as the journal keeps it.

    Attributes:
        estimator: Name or dotted path.
        params: Its parameters as text.
        metrics: Its scores; empty if it could not be fitted or was not scored.
    """

    estimator: str
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def tabulate_candidates(candidates: Sequence[CandidateRecord]) -> dict[str, list[object]]:
    """Lay a table out as `mlflow.load_table` reads it."""
    params = sorted({name for candidate in candidates for name in candidate.params})
    metrics = sorted({name for candidate in candidates for name in candidate.metrics})
    rows = [
        [
            candidate.estimator,
            *(candidate.params.get(name) for name in params),
            *(_number(candidate.metrics.get(name)) for name in metrics),
        ]
        for candidate in candidates
    ]
    return {"columns": ["estimator", *params, *metrics], "data": list(rows)}


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
