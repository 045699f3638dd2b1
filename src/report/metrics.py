"""Metrics of a classifier: each name and average is written once, here."""

from typing import Any

import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_score, recall_score, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import label_binarize


def score_classifier(model: Pipeline, X: pd.DataFrame, y_true: NDArray[Any], split: str) -> dict[str, float]:
    """Score a fitted classifier.

    Args:
        model: Takes X; has `classes_` and `predict_proba` or `decision_function`.
        X: Rows, shape (n_samples, n_features).
        y_true: Class labels, shape (n_samples,); every class of the model occurs.
        split: Prefix of the names, as `test`.

    Returns:
        `<split>_<metric>` in alphabetical order. The ROC AUC is one-vs-rest with
        equal weight per class; the log loss (nats) is there only if the model has
        probabilities.
    """
    classes = model.classes_
    y_pred = model.predict(X)
    averaged: dict[str, Any] = {"y_true": y_true, "y_pred": y_pred, "labels": classes, "zero_division": 0.0}
    scores = {
        "accuracy": accuracy_score(y_true, y_pred),
        "f1_macro": f1_score(average="macro", **averaged),
        "f1_weighted": f1_score(average="weighted", **averaged),
        "precision_macro": precision_score(average="macro", **averaged),
        "recall_macro": recall_score(average="macro", **averaged),
    }
    if hasattr(model, "predict_proba"):
        confidence = model.predict_proba(X)
        scores["log_loss"] = log_loss(y_true, confidence, labels=classes)
        confidence = confidence if len(classes) > 2 else confidence[:, 1]
    else:
        confidence = model.decision_function(X)
    # Binarized, since scikit-learn's own multi_class="ovr" refuses decision values.
    scores["roc_auc_ovr"] = roc_auc_score(label_binarize(y_true, classes=classes), confidence, average="macro")
    return {f"{split}_{name}": float(value) for name, value in sorted(scores.items())}
