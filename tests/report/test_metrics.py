import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from src.config.train import BINARY_SCORINGS, SCORINGS, metric_of
from src.data.scoring import make_scoring
from src.report.metrics import calibration_bins, compute_metrics, safe_names, score, score_one
from src.report.predictions import ClassPredictions, NumberPredictions, encode_classes, predict_rows
from src.report.rows import TrainTarget
from src.tracking.runs import fit_key
from tests.report.conftest import ODD_NAMES, labels_of, make_classes, make_numbers

LOADERS = {"binary": load_breast_cancer, "multiclass": load_iris}
OF_LABELS = ["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "precision_macro", "recall_macro"]
OF_RANKS = ["pr_auc", "roc_auc_ovr"]
OF_POSITIVE = ["average_precision", "f1", "precision", "recall", "roc_auc"]
OF_PROBABILITIES = ["brier", "calibration_error", "log_loss"]


def predicted(y_true: str, y_pred: str, confidence: list[Any], classes: str, *, sure: bool = True) -> ClassPredictions:
    """Return predictions whose labels are single letters."""
    labels = [np.array(list(text), dtype=object) for text in (y_true, y_pred, classes)]
    return encode_classes(labels[0], labels[1], np.array(confidence), labels[2], is_probability=sure)


def fitted(kind: str, estimator: Any) -> tuple[Pipeline, pd.DataFrame, NDArray[Any]]:
    X, y = LOADERS[kind](return_X_y=True, as_frame=True)
    labels = y.map({0: "zero", 1: "one", 2: "two"}).to_numpy(dtype=object)
    # Fitted on half of the rows, so that the other half is not predicted perfectly.
    return make_pipeline(StandardScaler(), estimator).fit(X[::2], labels[::2]), X, labels


def summarize(y_train: NDArray[Any]) -> TrainTarget:
    if y_train.dtype.kind in "if":
        return TrainTarget(len(y_train), None, float(np.mean(y_train)), float(np.median(y_train)))
    return TrainTarget(len(y_train), pd.Series(y_train).value_counts().sort_index())


def compute(predictions: Any, scoring: str, y_train: Any = None) -> dict[str, Any]:
    if y_train is None:
        y_train = np.array(predictions.labels, dtype=object) if hasattr(predictions, "labels") else predictions.y_true
    return dict(compute_metrics(predictions, summarize(y_train), scoring, 200, 0))


# --- by hand ---


def test_two_classes_by_hand() -> None:
    probabilities = [[0.8, 0.2], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]]
    f1_a, f1_b = 2 / 3, 4 / 5
    assert score(predicted("aabb", "abbb", probabilities, "ab")) == pytest.approx(
        {
            "accuracy": 3 / 4,
            # Of b, from the highest probability on: b, a, b.
            "average_precision": 1 / 2 + 1 / 2 * 2 / 3,
            "balanced_accuracy": (1 / 2 + 1) / 2,
            "brier": (0.2**2 + 0.8**2 + 0.3**2 + 0.1**2) / 4,
            # Of [0.2], [0.7], [0.8] and [0.9], each a bin of its own, none, one, none and one are b.
            "calibration_error": (0.2 + 0.3 + 0.8 + 0.1) / 4,
            "f1": f1_b,
            "f1_macro": (f1_a + f1_b) / 2,
            "f1_weighted": (f1_a + f1_b) / 2,
            "log_loss": -np.log([0.8, 0.2, 0.7, 0.9]).mean(),
            "pr_auc": 1 / 2 + 1 / 2 * 2 / 3,
            "precision": 2 / 3,
            "precision_macro": (1 + 2 / 3) / 2,
            "recall": 1,
            "recall_macro": (1 / 2 + 1) / 2,
            "roc_auc": 3 / 4,
            # Of four pairs (a, b), one puts the a above the b.
            "roc_auc_ovr": 3 / 4,
        }
    )


def test_positive_class_decides_what_scores_of_two_classes_are_about() -> None:
    probabilities = [[0.8, 0.2], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]]
    of_b = predicted("aabb", "abbb", probabilities, "ab")
    of_a = replace(of_b, positive_code=0)
    found, other = score(of_a), score(of_b)
    assert (of_a.positive, of_b.positive) == ("a", "b")
    # Of a, from the highest probability on: a, b, a, b.
    assert found["average_precision"] == found["pr_auc"] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((1, 1 / 2, 2 / 3))
    assert (other["precision"], other["recall"], other["f1"]) == pytest.approx((2 / 3, 1, 4 / 5))
    # Each bin of a is one of b, seen from the other side.
    assert found["calibration_error"] == pytest.approx(other["calibration_error"])
    np.testing.assert_allclose(calibration_bins(of_a)[0], 1 - calibration_bins(of_b)[0][::-1])
    same = {"accuracy", "balanced_accuracy", "brier", "f1_macro", "f1_weighted", "log_loss", "roc_auc", "roc_auc_ovr"}
    assert {name: found[name] for name in same} == pytest.approx({name: other[name] for name in same})


def test_three_unequal_classes_by_hand() -> None:
    rows = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.4, 0.5, 0.1], [0.3, 0.6, 0.1], [0.1, 0.2, 0.7]]
    metrics = score(predicted("aaabbc", "aabbbc", rows, "abc"))
    assert metrics["f1_weighted"] == pytest.approx((3 * 4 / 5 + 2 * 4 / 5 + 1) / 6)
    assert metrics["brier"] == pytest.approx((0.14 + 0.26 + 0.98 + 0.42 + 0.26 + 0.14) / 6)
    # Of 0.5: one of two is right; 0.6: both; 0.7: both.
    assert metrics["calibration_error"] == pytest.approx((2 * 0 + 2 * 0.4 + 2 * 0.3) / 6)
    # a: 7 of 9 pairs; b: 7 of 8, one of them a tie that counts half; c: 5 of 5.
    assert metrics["roc_auc_ovr"] == pytest.approx((7 / 9 + 7.5 / 8 + 1) / 3)


def test_numbers_by_hand() -> None:
    metrics = score(NumberPredictions(np.array([1.0, 2.0, 4.0, 5.0]), np.array([1.0, 3.0, 4.0, 1.0])))
    assert metrics == pytest.approx(
        {
            "mae": 5 / 4,
            "mape": (0 + 1 / 2 + 0 + 4 / 5) / 4,
            "median_absolute_error": 1 / 2,
            "r2": 1 - 17 / 10,
            "rmse": np.sqrt(17 / 4),
        }
    )


# --- the same as scikit-learn ---


@pytest.mark.parametrize(("n_rows", "n_classes"), [(10, 2), (10, 5), (300, 2), (300, 3), (300, 30)])
def test_metrics_of_classes_equal_those_of_scikit_learn(n_rows: int, n_classes: int) -> None:
    predictions = make_classes(n_rows, n_classes)
    y_true, y_pred = labels_of(predictions)
    p, classes = predictions.scores, predictions.labels
    one_hot = np.equal.outer(predictions.y_true, np.arange(n_classes))
    ranked = (one_hot, p) if n_classes > 2 else (one_hot[:, 1], p[:, 1])
    second = classes[1] if n_classes == 2 else None
    averaged = {"average": "macro", "zero_division": 0.0}
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(y_true, y_pred),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(y_true, y_pred),
        "brier": sklearn_metrics.brier_score_loss(y_true, ranked[1], labels=classes, pos_label=second),
        "f1_macro": sklearn_metrics.f1_score(y_true, y_pred, **averaged),
        "f1_weighted": sklearn_metrics.f1_score(y_true, y_pred, average="weighted", zero_division=0.0),
        "log_loss": sklearn_metrics.log_loss(y_true, p, labels=classes),
        "pr_auc": sklearn_metrics.average_precision_score(*ranked, average="macro"),
        "precision_macro": sklearn_metrics.precision_score(y_true, y_pred, **averaged),
        "recall_macro": sklearn_metrics.recall_score(y_true, y_pred, **averaged),
        "roc_auc_ovr": sklearn_metrics.roc_auc_score(*ranked, average="macro"),
    }
    found = score(predictions)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert set(found) - set(expected) == {"calibration_error", *(OF_POSITIVE if n_classes == 2 else [])}


@pytest.mark.parametrize(
    ("kind", "positive", "scoring"),
    [
        *[("multiclass", None, scoring) for scoring in SCORINGS["classification"] if scoring not in BINARY_SCORINGS],
        *[("binary", positive, scoring) for scoring in SCORINGS["classification"] for positive in ("one", "zero")],
    ],
)
def test_headline_equals_the_score_of_the_search(kind: str, positive: str | None, scoring: str) -> None:
    model, X, y = fitted(kind, LogisticRegression(max_iter=1000))
    expected = make_scoring(scoring, positive)(model, X, y)
    found = score_one(metric_of(scoring), predict_rows(model, X, y, "classification", positive))
    assert found == pytest.approx(-expected if scoring.startswith("neg_") else expected)


@pytest.mark.parametrize("scoring", SCORINGS["regression"])
def test_headline_of_numbers_equals_the_score_of_the_search(scoring: str) -> None:
    p = make_numbers(50)
    scorer = sklearn_metrics.get_scorer(scoring)
    expected = scorer._score_func(p.y_true, p.y_pred)
    assert score_one(metric_of(scoring), p) == pytest.approx(expected)


@pytest.mark.parametrize("kind", sorted(LOADERS))
def test_model_with_decision_values_only_has_no_metric_of_probabilities(kind: str) -> None:
    model, X, y = fitted(kind, SVC())
    metrics = score(predict_rows(model, X, y, "classification"))
    assert sorted(metrics) == sorted([*OF_LABELS, *OF_RANKS, *(OF_POSITIVE if kind == "binary" else [])])
    assert 0.9 < metrics["roc_auc_ovr"] < 1


def test_decisions_between_pairs_of_classes_are_no_scores(caplog: pytest.LogCaptureFixture) -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    y = y.to_numpy() + np.arange(150) % 2 * 3
    model = make_pipeline(SVC(decision_function_shape="ovo")).fit(X, y)
    with caplog.at_level(logging.INFO):
        assert sorted(score(predict_rows(model, X, y, "classification"))) == sorted(OF_LABELS)
    assert "the model predicts labels only" in caplog.text


@pytest.mark.parametrize("labels", [[0, 1], [False, True], [1.0, 2.0], [3, 5, 7]], ids=str)
@pytest.mark.parametrize("estimator", [LogisticRegression(), SVC()], ids=["probabilities", "decisions"])
def test_labels_need_not_be_text(estimator: Any, labels: list[Any]) -> None:
    y_true = np.array(labels * 10)
    X = pd.DataFrame({"a": np.arange(len(y_true)) % len(labels), "b": 1.0})
    model = make_pipeline(estimator).fit(X, y_true)
    assert score(predict_rows(model, X, y_true, "classification"))["roc_auc_ovr"] == 1.0


def test_predictions_equal_those_of_the_model() -> None:
    model, X, y = fitted("multiclass", LogisticRegression(max_iter=1000))
    predictions = predict_rows(model, X, y, "classification")
    y_true, y_pred = labels_of(predictions)
    assert list(y_true) == list(y)
    assert list(y_pred) == list(model.predict(X))
    np.testing.assert_array_equal(predictions.scores, model.predict_proba(X))


# --- undefined ---


def test_label_unknown_to_the_model_counts_as_wrong_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    rows = [[0.8, 0.2], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]
    predictions = predicted("abbz", "abbb", rows, "ab")
    with caplog.at_level(logging.WARNING):
        metrics = score(predictions)
    assert "1 of 4 rows have a label that does not occur in the training rows ('z')" in caplog.text
    assert metrics["accuracy"] == 3 / 4
    # a: 1, b: 2 of 3, z: 0.
    assert metrics["f1_macro"] == pytest.approx((1 + 4 / 5 + 0) / 3)
    known = score(predicted("abb", "abb", rows[:3], "ab"))
    assert {name: metrics[name] for name in OF_PROBABILITIES} == {name: known[name] for name in OF_PROBABILITIES}
    assert metrics["roc_auc_ovr"] == known["roc_auc_ovr"] == 1


def test_rows_with_unknown_labels_only_have_metrics_of_labels_only() -> None:
    assert set(score(predicted("yz", "ab", [[0.8, 0.2], [0.2, 0.8]], "ab"))) == {
        *OF_LABELS,
        "f1",
        "precision",
        "recall",
    }


def test_class_without_test_rows_is_left_out_of_the_ranks() -> None:
    rows = [[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]
    assert score(predicted("aba", "aba", rows, "abc"))["roc_auc_ovr"] == 1


def test_undefined_metrics_are_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        metrics = score(predicted("aa", "ab", [[0.8, 0.2], [0.2, 0.8]], "ab"))
    assert {"pr_auc", "roc_auc_ovr"}.isdisjoint(metrics)
    assert "undefined for these rows, and left out: pr_auc, roc_auc_ovr, average_precision, roc_auc" in caplog.text
    assert np.isfinite(list(metrics.values())).all()


@pytest.mark.parametrize(
    ("y_true", "undefined"), [([0.0, 1.0], {"mape"}), ([2.0, 2.0], {"r2"}), ([0.0, 0.0], {"mape", "r2"})]
)
def test_metric_that_divides_by_zero_is_left_out(y_true: list[float], undefined: set[str]) -> None:
    metrics = score(NumberPredictions(np.array(y_true), np.array([1.0, 1.0])))
    assert {"mae", "mape", "median_absolute_error", "r2", "rmse"} - set(metrics) == undefined


def test_class_that_is_never_predicted_counts_as_zero() -> None:
    metrics = score(predicted("aaab", "aaaa", [[0.9, 0.1]] * 4, "ab"))
    assert metrics["precision_macro"] == pytest.approx((3 / 4 + 0) / 2)
    assert metrics["f1_macro"] == pytest.approx((6 / 7 + 0) / 2)


def test_log_loss_of_a_certain_and_wrong_prediction_is_finite() -> None:
    assert score(predicted("ab", "bb", [[0.0, 1.0], [0.0, 1.0]], "ab"))["log_loss"] == pytest.approx(18.02, abs=0.01)


# --- by class, and calibration ---


def test_metrics_of_each_class_equal_those_of_scikit_learn() -> None:
    predictions = make_classes(200, 5)
    y_true, y_pred = labels_of(predictions)
    expected = sklearn_metrics.precision_recall_fscore_support(y_true, y_pred, labels=predictions.labels)
    found = compute(predictions, "f1_macro")
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert found[f"test_{name}_class"] == dict(zip(predictions.labels, values.tolist(), strict=True))


def test_names_of_classes_become_unique_names_that_mlflow_accepts() -> None:
    names = [*ODD_NAMES, "x/y", "x.y", "x_y", "  ", "..", "x" * 300]
    by_class = compute(make_classes(60, len(names), names), "f1_macro")["test_f1_class"]
    assert list(by_class) == safe_names(names)
    assert safe_names(["a.b", "a/b", "", 1.5]) == ["a_b", "a_b_2", "_", "1_5"]
    assert len(by_class) == len(names)
    keys = [f"test_f1_class.{name}" for name in by_class]
    assert [fit_key(key) for key in keys] == keys
    assert all(key.count(".") == 1 for key in keys)


def test_only_30_of_hundreds_of_classes_have_their_own_metrics(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        by_class = compute(make_classes(900, 200), "f1_macro")["test_support_class"]
    assert len(by_class) == 30
    assert "200 classes: only the 30 with the most test rows have their own metrics" in caplog.text
    assert min(by_class.values()) >= 6


def test_calibration_error_is_small_for_calibrated_probabilities_only() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    is_b = rng.random(50_000) < p
    y_true = "".join(np.where(is_b, "b", "a"))
    calibrated = predicted(y_true, y_true, np.column_stack([1 - p, p]).tolist(), "ab")
    assert score_one("calibration_error", calibrated) < 0.01
    overconfident = predicted(y_true, y_true, np.column_stack([p < 0.5, p >= 0.5]).astype(float).tolist(), "ab")
    assert score_one("calibration_error", overconfident) == pytest.approx(0.25, abs=0.01)


def test_calibration_bins_hold_every_row_once() -> None:
    rows = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.9, 0.1]]
    mean, came_true, counts = calibration_bins(predicted("abba", "abba", rows, "ab"))
    assert counts.tolist() == [1, 1, 1, 1]
    assert mean.tolist() == [0.0, 0.1, 0.5, 1.0]
    assert came_true.tolist() == [0, 0, 1, 1]


# --- metrics.json ---


def test_classification_has_every_metric_in_order() -> None:
    metrics = compute(make_classes(60, 3), "f1_macro")
    names = [*OF_LABELS, *OF_RANKS, *OF_PROBABILITIES, "f1_macro_baseline", "f1_macro_ci95_high", "f1_macro_ci95_low"]
    names += [f"{name}_class" for name in ("f1", "precision", "recall", "support")]
    assert list(metrics) == sorted(f"test_{name}" for name in names)


def test_regression_has_every_metric_in_order() -> None:
    metrics = compute(make_numbers(60), "neg_root_mean_squared_error")
    names = ["mae", "mape", "median_absolute_error", "r2", "rmse", "rmse_baseline", "rmse_ci95_high", "rmse_ci95_low"]
    assert list(metrics) == [f"test_{name}" for name in names]


@pytest.mark.parametrize(("task", "scoring"), [(task, scoring) for task in SCORINGS for scoring in SCORINGS[task]])
def test_headline_lies_in_its_interval(task: str, scoring: str) -> None:
    name, metrics = (
        metric_of(scoring),
        compute(
            make_classes(60, 2 if scoring in BINARY_SCORINGS else 3) if task == "classification" else make_numbers(60),
            scoring,
        ),
    )
    assert metrics[f"test_{name}_ci95_low"] < metrics[f"test_{name}"] < metrics[f"test_{name}_ci95_high"]
    assert [key for key in metrics if "_ci95_" in key] == [f"test_{name}_ci95_high", f"test_{name}_ci95_low"]


def test_undefined_headline_has_neither_interval_nor_baseline() -> None:
    metrics = compute(predicted("aa", "aa", [[0.8, 0.2]] * 2, "ab"), "roc_auc_ovr")
    assert not any("roc_auc" in name for name in metrics)
    assert np.isfinite([value for value in metrics.values() if isinstance(value, float)]).all()


# --- the baseline ---


@pytest.mark.parametrize(
    ("scoring", "n_classes"),
    [(name, n) for name in SCORINGS["classification"] for n in (2, 3) if n == 2 or name not in BINARY_SCORINGS],
)
def test_baseline_of_classes_predicts_the_most_frequent_one(scoring: str, n_classes: int) -> None:
    predictions = make_classes(60, n_classes)
    labels = np.array(predictions.labels, dtype=object)
    y_train = np.repeat(labels, [20, 30, 10][:n_classes])
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((len(y_train), 1)), y_train)
    expected = make_scoring(scoring, labels[1])(dummy, np.zeros((60, 1)), labels[predictions.y_true])
    found = compute(predictions, scoring, y_train)[f"test_{metric_of(scoring)}_baseline"]
    assert found == pytest.approx(-expected if scoring.startswith("neg_") else expected)


@pytest.mark.parametrize(("scoring", "constant"), list(zip(SCORINGS["regression"], [2, 2, 11.25, 11.25], strict=True)))
def test_baseline_of_numbers_is_the_best_constant(scoring: str, constant: float) -> None:
    predictions, metric = make_numbers(60), metric_of(scoring)
    expected = score_one(metric, NumberPredictions(predictions.y_true, np.full(60, constant)))
    found = compute(predictions, scoring, np.array([1, 2, 2, 40]))[f"test_{metric}_baseline"]
    assert found == pytest.approx(expected)


def test_baseline_is_wrong_on_labels_that_do_not_occur_in_the_training_rows() -> None:
    predictions = predicted("az", "aa", [[0.8, 0.2]] * 2, "ab")
    assert compute(predictions, "accuracy", np.array(["b", "b", "a"]))["test_accuracy_baseline"] == 0
    assert compute(predictions, "accuracy", np.array(["a", "b", "a"]))["test_accuracy_baseline"] == 1 / 2
