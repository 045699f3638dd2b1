from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from src.report.metrics import score_classifier

NO_ROWS = pd.DataFrame()
LOADERS = {"binary": load_breast_cancer, "multiclass": load_iris}
NAMES = ["accuracy", "f1_macro", "f1_weighted", "log_loss", "precision_macro", "recall_macro", "roc_auc_ovr"]


class Certain:
    """A model that gives what it is told, with probabilities."""

    def __init__(self, y_pred: list[str], probabilities: list[list[float]], classes: str) -> None:
        self.classes_ = np.array(list(classes), dtype=object)
        self.y_pred, self.probabilities = np.array(y_pred, dtype=object), np.array(probabilities)

    def predict(self, _: object) -> NDArray[np.object_]:
        return self.y_pred

    def predict_proba(self, _: object) -> NDArray[np.float64]:
        return self.probabilities


class Decisive:
    """A model that gives what it is told, without probabilities."""

    def __init__(self, y_pred: list[str], decisions: list[Any], classes: str) -> None:
        self.classes_ = np.array(list(classes), dtype=object)
        self.y_pred, self.decisions = np.array(y_pred, dtype=object), np.array(decisions)

    def predict(self, _: object) -> NDArray[np.object_]:
        return self.y_pred

    def decision_function(self, _: object) -> NDArray[np.float64]:
        return self.decisions


def score(model: Any, y_true: str) -> dict[str, float]:
    return score_classifier(model, NO_ROWS, np.array(list(y_true), dtype=object), "test")


def fitted(kind: str, estimator: Any) -> tuple[Any, pd.DataFrame, NDArray[np.object_]]:
    X, y = LOADERS[kind](return_X_y=True, as_frame=True)
    labels = y.map({0: "zero", 1: "one", 2: "two"}).to_numpy(dtype=object)
    # Half of the rows, so that the other half is not predicted perfectly.
    return make_pipeline(StandardScaler(), estimator).fit(X[::2], labels[::2]), X, labels


def test_two_classes_by_hand() -> None:
    probabilities = [[0.8, 0.2], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]]
    metrics = score(Certain(["a", "b", "b", "b"], probabilities, "ab"), "aabb")
    f1_a, f1_b = 2 / 3, 4 / 5
    assert metrics == pytest.approx(
        {
            "test_accuracy": 3 / 4,
            "test_f1_macro": (f1_a + f1_b) / 2,
            "test_f1_weighted": (f1_a + f1_b) / 2,
            "test_log_loss": -np.log([0.8, 0.2, 0.7, 0.9]).mean(),
            "test_precision_macro": (1 + 2 / 3) / 2,
            "test_recall_macro": (1 / 2 + 1) / 2,
            # Of four pairs (a, b), one puts the a above the b.
            "test_roc_auc_ovr": 3 / 4,
        }
    )


def test_three_unequal_classes_by_hand() -> None:
    probabilities = [
        [0.7, 0.2, 0.1],
        [0.6, 0.3, 0.1],
        [0.2, 0.5, 0.3],
        [0.4, 0.5, 0.1],
        [0.3, 0.6, 0.1],
        [0.1, 0.2, 0.7],
    ]
    metrics = score(Certain(list("aabbbc"), probabilities, "abc"), "aaabbc")
    f1_a, f1_b, f1_c = 4 / 5, 4 / 5, 1.0
    assert metrics == pytest.approx(
        {
            "test_accuracy": 5 / 6,
            "test_f1_macro": (f1_a + f1_b + f1_c) / 3,
            "test_f1_weighted": (3 * f1_a + 2 * f1_b + f1_c) / 6,
            "test_log_loss": -np.log([0.7, 0.6, 0.2, 0.5, 0.6, 0.7]).mean(),
            "test_precision_macro": (1 + 2 / 3 + 1) / 3,
            "test_recall_macro": (2 / 3 + 1 + 1) / 3,
            # a: 7 of 9 pairs; b: 7 of 8, one of them a tie that counts half; c: 5 of 5.
            "test_roc_auc_ovr": (7 / 9 + 7.5 / 8 + 1) / 3,
        }
    )


def test_class_that_is_never_predicted_counts_as_zero() -> None:
    metrics = score(Certain(list("aaaa"), [[0.9, 0.1]] * 4, "ab"), "aaab")
    assert metrics["test_precision_macro"] == pytest.approx((3 / 4 + 0) / 2)
    assert metrics["test_recall_macro"] == pytest.approx((1 + 0) / 2)
    assert metrics["test_f1_macro"] == pytest.approx((6 / 7 + 0) / 2)


def test_two_classes_without_probabilities_are_ranked_by_decisions() -> None:
    metrics = score(Decisive(list("abbb"), [-1.0, 0.5, 0.2, 2.0], "ab"), "aabb")
    assert metrics["test_roc_auc_ovr"] == pytest.approx(3 / 4)
    assert "test_log_loss" not in metrics


def test_three_classes_without_probabilities_are_ranked_by_decisions() -> None:
    decisions = [[2.2, 0.8, -0.2], [-0.1, 1.1, 2.1], [-0.2, 1.3, 2.2], [-0.2, 2.2, 0.9]]
    metrics = score(Decisive(list("accb"), decisions, "abc"), "abcb")
    # a: 3 of 3 pairs; b: 3 of 4 (1.1 is below 1.3); c: 3 of 3.
    assert metrics["test_roc_auc_ovr"] == pytest.approx((1 + 3 / 4 + 1) / 3)
    assert "test_log_loss" not in metrics


@pytest.mark.parametrize("estimator", [LogisticRegression(max_iter=1000), KNeighborsClassifier()])
def test_roc_auc_of_several_classes_is_that_of_scikit_learn(estimator: Any) -> None:
    model, X, y = fitted("multiclass", estimator)
    expected = roc_auc_score(y, model.predict_proba(X), multi_class="ovr", average="macro", labels=model.classes_)
    assert score_classifier(model, X, y, "test")["test_roc_auc_ovr"] == pytest.approx(expected)
    assert expected < 1


@pytest.mark.parametrize("estimator", [LogisticRegression(max_iter=1000), KNeighborsClassifier()])
def test_roc_auc_of_two_classes_is_that_of_scikit_learn(estimator: Any) -> None:
    model, X, y = fitted("binary", estimator)
    expected = roc_auc_score(y, model.predict_proba(X)[:, 1])
    assert score_classifier(model, X, y, "test")["test_roc_auc_ovr"] == pytest.approx(expected)
    assert expected < 1


@pytest.mark.parametrize("kind", sorted(LOADERS))
def test_model_without_probabilities_has_roc_auc_and_no_log_loss(kind: str) -> None:
    model, X, y = fitted(kind, SVC())
    metrics = score_classifier(model, X, y, "test")
    assert 0.9 < metrics["test_roc_auc_ovr"] < 1
    assert list(metrics) == [f"test_{name}" for name in NAMES if name != "log_loss"]


@pytest.mark.parametrize("kind", sorted(LOADERS))
@pytest.mark.parametrize("split", ["test", "holdout"])
def test_names_are_sorted_and_carry_their_split(kind: str, split: str) -> None:
    model, X, y = fitted(kind, LogisticRegression(max_iter=1000))
    metrics = score_classifier(model, X, y, split)
    assert list(metrics) == [f"{split}_{name}" for name in NAMES]
    assert all(type(value) is float for value in metrics.values())


@pytest.mark.parametrize("labels", [[0, 1], [False, True], [1.0, 2.0], [3, 5, 7]], ids=lambda labels: str(labels))
@pytest.mark.parametrize("estimator", [LogisticRegression(), SVC()], ids=["probabilities", "decisions"])
def test_labels_need_not_be_text(estimator: Any, labels: list[Any]) -> None:
    y_true = np.array(labels * 10)
    X = pd.DataFrame({"a": np.arange(len(y_true)) % len(labels), "b": 1.0})
    assert score_classifier(estimator.fit(X, y_true), X, y_true, "test")["test_roc_auc_ovr"] == 1.0
