"""Predictions on labelled rows, from which all metrics and figures are computed."""

import itertools
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve
from sklearn.pipeline import Pipeline

from src.config.train import Task

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Codes = NDArray[np.integer[Any]]
# Rows processed at once, to save memory.
CHUNK = 100_000
# Well below what 2 bytes can hold, to leave room for labels that the model does not know.
MANY_CLASSES = 10_000


@dataclass(frozen=True)
class OneVsRest:
    """Scores of one class, and which rows belong to it; arrays of shape (n_samples,)."""

    label: Any
    y_true: NDArray[np.bool_]
    y_score: Floats

    @cached_property
    def roc(self) -> tuple[Floats, Floats]:
        """False and true positive rate of each threshold."""
        x, y, _ = roc_curve(self.y_true, self.y_score)
        return x, y

    @cached_property
    def recall_precision(self) -> tuple[Floats, Floats]:
        """Recall and precision of each threshold."""
        precision, recall, _ = precision_recall_curve(self.y_true, self.y_score)
        return recall, precision

    @property
    def roc_auc(self) -> float:
        """Area under the ROC curve: the share of ordered pairs, where a tie counts half (Mann & Whitney 1947)."""
        return self._areas[0]

    @property
    def average_precision(self) -> float:
        """Precision averaged over the steps of the recall."""
        return self._areas[1]

    @cached_property
    def _areas(self) -> tuple[float, float]:
        """Both areas, exactly; scikit-learn's functions take 200 bytes per row."""
        positive, negative = np.sort(self.y_score[self.y_true]), np.sort(self.y_score[~self.y_true])
        n_ordered, precisions = 0, []
        for start in range(0, len(positive), CHUNK):
            scores = positive[start : start + CHUNK]
            n_below = np.searchsorted(negative, scores)
            n_ordered += int(n_below.sum()) + int(np.searchsorted(negative, scores, side="right").sum())
            n_hits = len(positive) - np.searchsorted(positive, scores)
            precisions.append(float((n_hits / (n_hits + len(negative) - n_below)).sum()))
        return n_ordered / (2 * len(positive) * len(negative)), math.fsum(precisions) / len(positive)


@dataclass(frozen=True)
class ClassPredictions:
    """Predicted classes as codes, which are indices of `labels`.

    Rows of labels that the model was not trained on count as wrong in metrics of labels, and metrics
    of scores leave them out.

    Attributes:
        labels: The model's classes, then labels unknown to it, shape (n_labels,).
        n_classes: Number of classes that the model knows.
        y_true: Codes, shape (n_samples,).
        y_pred: Codes, shape (n_samples,).
        scores: Probability or decision value of each class, shape (n_samples, n_classes), or
            (n_samples, 0) if the model predicts labels only.
        positive_code: Of two classes, the code of the positive one.
    """

    labels: list[Any]
    n_classes: int
    y_true: Codes
    y_pred: Codes
    scores: Floats
    is_probability: bool
    positive_code: int = 1

    @property
    def positive(self) -> Any:
        """Label of the positive class; None if there are not two classes."""
        return self.labels[self.positive_code] if self.n_classes == 2 else None

    @cached_property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether the model knows the true label of a row."""
        return np.less(self.y_true, self.n_classes)

    @property
    def has_scores(self) -> bool:
        """Whether any row has scores and a label that the model knows."""
        return self.scores.shape[1] > 0 and bool(self.is_known.any())

    @cached_property
    def known(self) -> tuple[Codes, Floats]:
        """True codes and scores of the rows whose label the model knows."""
        if self.is_known.all():
            return self.y_true, self.scores
        return self.y_true[self.is_known], self.scores[self.is_known]

    @cached_property
    def confusion(self) -> NDArray[np.intp]:
        """Number of rows by true and predicted label, shape (n_labels, n_labels)."""
        n_labels = len(self.labels)
        counts = np.zeros(n_labels**2, dtype=np.intp)
        for start in range(0, len(self.y_true), CHUNK):
            rows = slice(start, start + CHUNK)
            cells = self.y_true[rows].astype(np.intp) * n_labels + self.y_pred[rows]
            counts += np.bincount(cells, minlength=n_labels**2)
        return counts.reshape(n_labels, n_labels)

    @cached_property
    def one_vs_rest(self) -> list[OneVsRest]:
        """Scores of the positive of two classes, else of each class that some but not all of the known rows have."""
        if not self.has_scores:
            return []
        y_true, scores = self.known
        codes = [self.positive_code] if self.n_classes == 2 else range(self.n_classes)
        found = [OneVsRest(self.labels[code], y_true == code, scores[:, code]) for code in codes]
        return [each for each in found if each.y_true.any() and not each.y_true.all()]

    @cached_property
    def losses(self) -> Floats:
        """Loss of each row: 1 if it is wrong, else 0."""
        return np.asarray(self.y_true != self.y_pred, dtype=float)

    def take(self, rows: NDArray[np.intp]) -> "ClassPredictions":
        """Return the predictions of some rows."""
        if len(rows) == len(self.y_true):
            return self
        return replace(self, y_true=self.y_true[rows], y_pred=self.y_pred[rows], scores=self.scores[rows])


@dataclass(frozen=True)
class NumberPredictions:
    """Predicted numbers, in the unit of the target; arrays of shape (n_samples,)."""

    y_true: Floats
    y_pred: Floats

    @cached_property
    def losses(self) -> Floats:
        """Absolute error of each row."""
        return np.abs(self.y_pred - self.y_true)

    def take(self, rows: NDArray[np.intp]) -> "NumberPredictions":
        """Return the predictions of some rows."""
        return self if len(rows) == len(self.y_true) else NumberPredictions(self.y_true[rows], self.y_pred[rows])


Predictions = ClassPredictions | NumberPredictions


def predict_rows(
    model: Pipeline, X: pd.DataFrame, y_true: NDArray[Any], task: Task, positive: Any = None
) -> Predictions:
    """Predict rows whose target is known.

    Args:
        X: Featurized rows, shape (n_samples, n_features).
        y_true: Their target, shape (n_samples,).
        positive: Label of the positive class; None takes the second of two.
    """
    # Transform once for labels and probabilities: it costs more than most estimators.
    rows, estimator = model[:-1].transform(X) if len(model) > 1 else X, model[-1]
    y_pred = np.asarray(estimator.predict(rows))
    if task == "regression":
        return NumberPredictions(np.asarray(y_true, dtype=float), y_pred.astype(float).reshape(-1))
    classes, is_probability = estimator.classes_, hasattr(estimator, "predict_proba")
    scores = np.empty((len(X), 0))
    if is_probability:
        scores = estimator.predict_proba(rows)
    elif hasattr(estimator, "decision_function"):
        values = estimator.decision_function(rows)
        scores = np.column_stack([-values, values]) if values.ndim == 1 else values
    # Decisions between pairs of classes do not score each class.
    if scores.shape[1] != len(classes):
        scores = scores[:, :0]
    return encode_classes(y_true, y_pred, scores, classes, is_probability, positive)


def encode_classes(
    y_true: NDArray[Any],
    y_pred: NDArray[Any],
    scores: NDArray[Any],
    classes: NDArray[Any],
    is_probability: bool,
    positive: Any = None,
) -> ClassPredictions:
    """Encode labels as codes.

    Args:
        scores: Shape (n_samples, n_classes) or (n_samples, 0).
        classes: Labels that the model knows, shape (n_classes,).
        positive: Label of the positive class; None takes the second of two.
    """
    known = pd.Index(classes)
    codes = known.get_indexer(pd.Index(y_true))
    unknown = pd.Index(y_true)[codes < 0].unique()
    labels = known.append(unknown.sort_values(key=lambda values: values.astype(str)))
    return ClassPredictions(
        labels=labels.tolist(),
        n_classes=len(known),
        y_true=_small(labels.get_indexer(pd.Index(y_true)) if len(unknown) else codes, len(known)),
        y_pred=_small(known.get_indexer(pd.Index(y_pred)), len(known)),
        scores=np.asarray(scores, dtype=float),
        is_probability=is_probability,
        positive_code=1 if positive is None else int(known.get_loc(positive)),
    )


def concat_predictions(found: Iterable[Predictions], n_rows: int) -> Predictions:
    """Concatenate the predictions of one model; each part is freed once it is copied.

    Args:
        n_rows: Number of rows of all parts.
    """
    remaining = iter(found)
    first = next(remaining)
    if len(first.y_true) == n_rows:
        return first
    names = ("y_true", "y_pred", "scores") if isinstance(first, ClassPredictions) else ("y_true", "y_pred")
    columns = {name: np.empty((n_rows, *getattr(first, name).shape[1:]), getattr(first, name).dtype) for name in names}
    labels = dict[Any, int]()
    start = 0
    for part in itertools.chain([first], remaining):
        rows = slice(start, start + len(part.y_true))
        for name, column in columns.items():
            column[rows] = getattr(part, name)
        if isinstance(part, ClassPredictions):
            # Each part has its own codes for labels that the model does not know.
            place = np.array([labels.setdefault(label, len(labels)) for label in part.labels])
            columns["y_true"][rows] = place[part.y_true]
        start = rows.stop
    if not isinstance(first, ClassPredictions):
        return NumberPredictions(**columns)
    n_classes = first.n_classes
    unknown = sorted(range(n_classes, len(labels)), key=lambda code: str(list(labels)[code]))
    order = [*range(n_classes), *unknown]
    if order != list(range(len(order))):
        columns["y_true"] = np.argsort(order).astype(columns["y_true"].dtype)[columns["y_true"]]
    return replace(
        first,
        labels=[list(labels)[code] for code in order],
        y_true=columns["y_true"],
        y_pred=columns["y_pred"],
        scores=columns["scores"],
    )


def _small(codes: NDArray[np.integer[Any]], n_classes: int) -> Codes:
    """Store codes in 2 bytes, or in 4 if the model knows very many classes."""
    return codes.astype(np.int16 if n_classes < MANY_CLASSES else np.int32, copy=False)
