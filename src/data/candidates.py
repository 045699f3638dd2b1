"""Names of the candidates of a search."""

import re
from collections.abc import Mapping, Sequence
from typing import Any


def name_candidates(candidates: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Name candidates by their estimator and the parameters that distinguish them.

    Args:
        candidates: Estimator and parameters of each.

    >>> name_candidates([("logreg", {"C": 0.1, "max_iter": 1000}), ("logreg", {"C": 1.0, "max_iter": 1000})])
    ['logreg C=0.1', 'logreg C=1']
    >>> name_candidates([("xgboost.XGBClassifier", {"max_depth": 3})])
    ['XGBClassifier max_depth=3']
    """
    values: dict[tuple[str, str], set[str]] = {}
    for estimator, params in candidates:
        for param, value in params.items():
            values.setdefault((estimator, param), set()).add(_show(value))

    def name(estimator: str, params: Mapping[str, Any]) -> str:
        shown = [
            f"{param}={_show(value)}"
            for param, value in params.items()
            if len(candidates) == 1 or len(values[estimator, param]) > 1
        ]
        return " ".join([estimator.rpartition(".")[2], *shown])

    return [name(estimator, params) for estimator, params in candidates]


def _show(value: Any) -> str:
    # The same parameter is read from a CSV file as a number or a boolean, and from the journal as JSON.
    text = str(value)
    if text in ("True", "False"):
        return text.lower()
    if not re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?", text):
        return text
    number = float(text)
    return str(int(number)) if number.is_integer() and abs(number) < 1e6 else f"{number:.6g}"
