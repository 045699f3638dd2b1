"""Predictions to score and draw, with any number of classes and rows."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from src.report.predictions import ClassPredictions, NumberPredictions, encode_classes

# Names that users give to classes and columns.
ODD_NAMES = [
    r"$\undefined$ and $5",
    "🐍 python",
    "a_very_long_class_name_without_any_spaces_that_goes_on",
    "Other / not specified",
    "猫",
    "x|y",
    "",
    "new\nline",
    "1.0",
    "Squamous cell carcinoma, not otherwise specified",
]


def make_classes(n_rows: int, n_classes: int, names: list[str] | None = None, seed: int = 0) -> ClassPredictions:
    """Return predictions that are mostly right, with probabilities; each class has a row if there are enough rows."""
    rng = np.random.default_rng(seed)
    labels = np.array((names or [])[:n_classes], dtype=object)
    labels = np.append(labels, [f"class {number:02d}" for number in range(n_classes - len(labels))])
    codes = np.append(np.arange(n_classes), rng.integers(0, n_classes, n_rows))[:n_rows]
    scores = rng.normal(size=(n_rows, n_classes))
    scores[np.arange(n_rows), codes] += 1.5
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    y_pred = labels[probabilities.argmax(axis=1)]
    return encode_classes(labels[codes], y_pred, probabilities, labels, is_probability=True)


def make_numbers(n_rows: int, seed: int = 0) -> NumberPredictions:
    """Return numbers and noisy predictions of them."""
    rng = np.random.default_rng(seed)
    y_true = rng.normal(10, 3, n_rows)
    return NumberPredictions(y_true, y_true + rng.normal(size=n_rows))


def take(predictions: Any, rows: Any) -> Any:
    """Return the predictions of some rows, as a resample takes them."""
    if isinstance(predictions, NumberPredictions):
        return NumberPredictions(predictions.y_true[rows], predictions.y_pred[rows])
    return replace(
        predictions,
        y_true=predictions.y_true[rows],
        y_pred=predictions.y_pred[rows],
        scores=predictions.scores[rows],
    )


def labels_of(predictions: ClassPredictions) -> tuple[Any, Any]:
    """Return true and predicted labels instead of codes."""
    labels = pd.Index(predictions.labels)
    return labels[predictions.y_true].to_numpy(), labels[predictions.y_pred].to_numpy()
