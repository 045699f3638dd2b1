"""The dummy that a model must beat: it knows the target of the training rows and nothing else."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.report.predictions import ClassPredictions, NumberPredictions, Predictions


def predict_baseline(predictions: Predictions, y_train: NDArray[Any], metric: str) -> Predictions:
    """Predict the test rows without looking at them.

    Classes: always the most frequent one, with the shares of the training rows for
    probabilities. Numbers: always the median where absolute errors are measured, else the
    mean, which are the best constants for them.

    Args:
        predictions: Those of the model, for the true target of the test rows.
        y_train: Target of the training rows, shape (n_train,).
        metric: What is measured.
    """
    n_rows = len(predictions.y_true)
    if isinstance(predictions, NumberPredictions):
        numbers = y_train.astype(float)
        constant = np.median(numbers) if metric in ("mae", "median_absolute_error") else numbers.mean()
        return NumberPredictions(predictions.y_true, np.full(n_rows, constant))
    codes = pd.Index(predictions.labels).get_indexer(pd.Index(y_train))
    shares = np.bincount(codes, minlength=predictions.n_classes)[: predictions.n_classes] / len(codes)
    return ClassPredictions(
        labels=predictions.labels,
        y_true=predictions.y_true,
        y_pred=np.full(n_rows, shares.argmax()),
        confidence=np.broadcast_to(shares, (n_rows, predictions.n_classes)),
        is_probability=True,
    )
