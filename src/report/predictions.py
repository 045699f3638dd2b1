"""What a model says of rows whose answer is known: computed once, used by every metric and plot."""

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from src.config.train import Task
from src.report.ranking import Floats, Separation, separate

logger = logging.getLogger(__name__)

Codes = NDArray[np.intp]


@dataclass(frozen=True)
class ClassPredictions:
    """Classes predicted, as codes: their places in `labels`.

    A label that the training rows lack comes after the classes of the model. Rows of it
    are always wrong; they count in what is made of labels, and what is made of
    probabilities leaves them out, since the model gives none for them.

    Attributes:
        labels: Classes of the model and then unseen labels, shape (n_labels,).
        y_true: Codes, shape (n_samples,).
        y_pred: Codes, shape (n_samples,).
        confidence: How much each class of the model is believed in, shape (n_samples, n_classes).
        is_probability: Whether the confidence is a probability, or only an order.
        is_order: Whether it orders rows at all, or is 1 for the predicted class and 0 for others.
    """

    labels: list[Any]
    y_true: Codes
    y_pred: Codes
    confidence: Floats
    is_probability: bool
    is_order: bool = True

    @property
    def n_classes(self) -> int:
        """Number of classes that the model knows."""
        return int(self.confidence.shape[1])

    @cached_property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether the model knows the true label of a row."""
        return np.less(self.y_true, self.n_classes)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Confusion matrix, true labels down, shape (n_labels, n_labels)."""
        n_labels = len(self.labels)
        cells: NDArray[np.int64] = np.bincount(self.y_true * n_labels + self.y_pred, minlength=n_labels**2)
        return cells.reshape(n_labels, n_labels)

    @cached_property
    def one_vs_rest(self) -> list[tuple[int, Floats, NDArray[np.bool_]]]:
        """Code, scores and membership of the classes that curves are drawn of.

        Of two classes the second, else all that some known rows have and some lack.
        """
        confidence, y_true = self.confidence[self.is_known], self.y_true[self.is_known]
        codes = [1] if self.n_classes == 2 else range(self.n_classes)
        found = [(code, confidence[:, code], y_true == code) for code in codes]
        return [item for item in found if 0 < item[2].sum() < len(item[2])]

    @cached_property
    def separations(self) -> list[Separation]:
        """How each of these classes is told from the rest."""
        return [separate(*item) for item in self.one_vs_rest]

    @cached_property
    def losses(self) -> Floats:
        """Whether each row is wrong, 0 or 1."""
        return np.asarray(self.y_true != self.y_pred, dtype=float)


@dataclass(frozen=True)
class NumberPredictions:
    """Numbers predicted, in the unit of the target.

    Attributes:
        y_true: Shape (n_samples,).
        y_pred: Shape (n_samples,).
    """

    y_true: Floats
    y_pred: Floats

    @cached_property
    def losses(self) -> Floats:
        """Absolute error of each row."""
        return np.abs(self.y_pred - self.y_true)


Predictions = ClassPredictions | NumberPredictions


def predict_rows(model: Pipeline, X: pd.DataFrame, y_true: NDArray[Any], task: Task) -> Predictions:
    """Let a model predict rows.

    A classifier that gives neither probabilities nor a decision for each class is taken by
    its labels alone.

    Args:
        model: Fitted Pipeline that takes X.
        X: Featurized rows, shape (n_samples, n_features).
        y_true: Their target, shape (n_samples,).
        task: Whether classes or numbers are predicted.
    """
    # Once, and not for labels and probabilities each: it costs more than most estimators.
    rows, estimator = model[:-1].transform(X) if len(model) > 1 else X, model[-1]
    y_pred = np.asarray(estimator.predict(rows))
    if task == "regression":
        return NumberPredictions(np.asarray(y_true, dtype=float), y_pred.astype(float).reshape(-1))
    classes, is_probability = estimator.classes_, hasattr(estimator, "predict_proba")
    is_order = is_probability or hasattr(estimator, "decision_function")
    if is_order:
        confidence = estimator.predict_proba(rows) if is_probability else estimator.decision_function(rows)
    else:
        name = type(estimator).__name__
        logger.info("%s predicts labels only: roc_auc_ovr, pr_auc and what needs probabilities are left out", name)
        confidence = np.equal.outer(pd.Index(classes).get_indexer(pd.Index(y_pred)), np.arange(len(classes)))
    if confidence.ndim == 1:
        confidence = np.column_stack([-confidence, confidence])
    return describe_classes(y_true, y_pred, confidence, classes, is_probability=is_probability, is_order=is_order)


def describe_classes(
    y_true: NDArray[Any],
    y_pred: NDArray[Any],
    confidence: NDArray[Any],
    classes: NDArray[Any],
    *,
    is_probability: bool,
    is_order: bool = True,
) -> ClassPredictions:
    """Turn labels into codes.

    Args:
        y_true: Labels, shape (n_samples,).
        y_pred: Labels, shape (n_samples,).
        confidence: Shape (n_samples, n_classes).
        classes: Labels that the model knows, shape (n_classes,).
        is_probability: Whether the confidence is a probability.
        is_order: Whether it orders rows.
    """
    known = pd.Index(classes)
    codes = known.get_indexer(pd.Index(y_true))
    unseen = pd.Index(y_true)[codes < 0].unique()
    labels = known.append(unseen.sort_values(key=lambda values: values.astype(str)))
    return ClassPredictions(
        labels=labels.tolist(),
        y_true=labels.get_indexer(pd.Index(y_true)) if len(unseen) else codes,
        y_pred=known.get_indexer(pd.Index(y_pred)),
        confidence=np.asarray(confidence, dtype=float),
        is_probability=is_probability,
        is_order=is_order,
    )
