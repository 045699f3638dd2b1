"""Simulated training rows and windows of new rows, with 20 columns of all kinds."""

from typing import Any

import numpy as np
import pandas as pd

from src.report.profile import Reference, encode_column, summarize_column
from src.service.monitoring.compare import Comparison, compare_columns, compare_predictions, decide
from src.service.monitoring.joint import compare_rows

KINDS = {
    **{f"number {i}": "number" for i in range(10)},
    **{f"category {i}": "category" for i in range(6)},
    "city": "high_cardinality",
    "is_open": "boolean",
    "comment": "text",
    "ordered": "ordinal",
}


def make_rows(n_rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return rows with correlated numbers, ties, long tails, rare levels and missing values."""
    common = rng.normal(size=n_rows)
    rows: dict[str, Any] = {}
    for i in range(10):
        values = 0.6 * common + 0.8 * rng.normal(size=n_rows)
        values = [values, np.exp(values), values.round(), np.where(rng.random(n_rows) < 0.4, 0, values)][i % 4]
        rows[f"number {i}"] = np.where(rng.random(n_rows) < (0.1 if i % 3 == 0 else 0), np.nan, values)
    for i in range(6):
        shares = np.geomspace(1, 0.01, 3 + 3 * i)
        levels = rng.choice([f"level {level}" for level in range(len(shares))], n_rows, p=shares / shares.sum())
        rows[f"category {i}"] = pd.Series(levels).mask(rng.random(n_rows) < (0.05 if i % 2 else 0))
    rows["city"] = [f"city {min(number, 5000)}" for number in rng.zipf(1.5, n_rows)]
    rows["is_open"] = (common > 0).astype(float)
    rows["comment"] = ["x" * number for number in rng.poisson(40, n_rows)]
    rows["ordered"] = rng.choice(["low", "mid", "high"], n_rows)
    table = pd.DataFrame(rows)
    return table.astype({name: pd.StringDtype(na_value=np.nan) for name in KINDS if table[name].dtype == object})


def make_reference(train: pd.DataFrame, test: pd.DataFrame, n_sampled: int = 1000, **changes: Any) -> Reference:
    """Describe training rows; a made-up model predicts the probability from the first number."""
    columns = {name: summarize_column(train[name], kind).describe() for name, kind in KINDS.items() if name in train}
    sampled = train.head(n_sampled)
    sample = {name: encode_column(sampled[name], columns[name]).astype(object) for name in columns}
    labels, probabilities = predict(test)
    content: dict[str, Any] = {
        "model_md5": "0" * 32,
        "random_state": 42,
        "task": "classification",
        "target": "target",
        "n_train": len(train),
        "columns": columns,
        "sample": {name: [None if np.isnan(value) else value for value in values] for name, values in sample.items()},
        "labels": {name: int((labels == name).sum()) for name in ("no", "yes")},
        "scores": {"yes": probabilities.tolist()},
        "losses": [0.0] * len(test),
        "metrics": {},
    }
    return Reference(**content | changes)


def predict(rows: pd.DataFrame) -> tuple[Any, Any]:
    """Return made-up predictions: labels and probabilities of `yes`."""
    probabilities = 1 / (1 + np.exp(-rows["number 0"].fillna(0).to_numpy()))
    return np.where(probabilities > 0.5, "yes", "no"), probabilities


def judge(reference: Reference, rows: pd.DataFrame, alpha: float = 0.05, min_effect: float = 0.1) -> list[Comparison]:
    """Decide about a window, as `make monitor` does."""
    labels, probabilities = predict(rows)
    joint = compare_rows(reference, rows, 42)
    comparisons = [
        *compare_columns(reference, rows),
        *compare_predictions(reference, labels, {"yes": probabilities}),
        *([joint[0]] if joint else []),
    ]
    return decide(comparisons, alpha, min_effect)
