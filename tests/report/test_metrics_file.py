import logging
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import get_scorer

from src.config.train import SCORINGS
from src.report.baseline import predict_baseline
from src.report.metrics import metric_of, score_one
from src.report.metrics_file import score_split
from src.report.predictions import NumberPredictions, describe_classes
from src.tracking.runs import fit_key
from tests.report.conftest import ODD_NAMES, make_classes, make_numbers

NAMES = {
    "test_accuracy",
    "test_balanced_accuracy",
    "test_baseline_f1_macro",
    "test_brier",
    "test_calibration_error",
    "test_f1_class",
    "test_f1_macro",
    "test_f1_macro_ci95_high",
    "test_f1_macro_ci95_low",
    "test_f1_weighted",
    "test_log_loss",
    "test_pr_auc",
    "test_precision_class",
    "test_precision_macro",
    "test_recall_class",
    "test_recall_macro",
    "test_roc_auc_ovr",
    "test_support_class",
}


def score(predictions: Any, scoring: str, y_train: Any = None, split: str = "test") -> dict[str, Any]:
    if y_train is None:
        y_train = np.array(predictions.labels, dtype=object) if hasattr(predictions, "labels") else predictions.y_true
    return dict(score_split(predictions, y_train, scoring, 200, 0, split))


def test_classification_has_every_metric_in_order() -> None:
    metrics = score(make_classes(60, 3), "f1_macro")
    assert set(metrics) == NAMES
    assert list(metrics) == sorted(metrics)


def test_regression_has_every_metric_in_order() -> None:
    metrics = score(make_numbers(60), "neg_root_mean_squared_error")
    assert list(metrics) == [
        "test_baseline_rmse",
        "test_mae",
        "test_mape",
        "test_median_absolute_error",
        "test_r2",
        "test_rmse",
        "test_rmse_ci95_high",
        "test_rmse_ci95_low",
    ]


@pytest.mark.parametrize("split", ["test", "holdout"])
def test_split_comes_first_in_every_name(split: str) -> None:
    assert all(name.startswith(f"{split}_") for name in score(make_classes(60, 3), "f1_macro", split=split))


@pytest.mark.parametrize(("task", "scoring"), [(task, scoring) for task in SCORINGS for scoring in SCORINGS[task]])
def test_headline_has_a_baseline_and_an_interval_that_holds_it(task: str, scoring: str) -> None:
    predictions = make_classes(60, 3) if task == "classification" else make_numbers(60)
    name, metrics = metric_of(scoring), score(predictions, scoring)
    assert f"test_baseline_{name}" in metrics
    assert metrics[f"test_{name}_ci95_low"] < metrics[f"test_{name}"] < metrics[f"test_{name}_ci95_high"]
    assert [key for key in metrics if "_ci95_" in key] == [f"test_{name}_ci95_high", f"test_{name}_ci95_low"]


def test_what_is_not_defined_is_in_no_file() -> None:
    one_class = describe_classes(
        np.array(["a", "a"]),
        np.array(["a", "a"]),
        np.array([[0.8, 0.2]] * 2),
        np.array(["a", "b"]),
        is_probability=True,
    )
    metrics = score(one_class, "roc_auc_ovr")
    assert not any("roc_auc" in name for name in metrics)
    numbers = [value for value in metrics.values() if isinstance(value, float)]
    assert np.isfinite(numbers).all()


# --- the baseline ---


@pytest.mark.parametrize("scoring", SCORINGS["classification"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_baseline_is_the_dummy_of_scikit_learn(scoring: str, n_classes: int) -> None:
    predictions = make_classes(60, n_classes)
    labels = np.array(predictions.labels, dtype=object)
    y_train = np.repeat(labels, [20, 30, 10][:n_classes])
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((len(y_train), 1)), y_train)
    y_test = labels[predictions.y_true]
    expected = get_scorer(scoring)(dummy, np.zeros((60, 1)), y_test)
    found = score(predictions, scoring, y_train)[f"test_baseline_{metric_of(scoring)}"]
    assert found == pytest.approx(-expected if scoring.startswith("neg_") else expected)


@pytest.mark.parametrize(
    ("scoring", "strategy"),
    [
        ("r2", "mean"),
        ("neg_root_mean_squared_error", "mean"),
        ("neg_mean_absolute_error", "median"),
        ("neg_median_absolute_error", "median"),
    ],
)
def test_baseline_of_numbers_is_the_best_constant(scoring: str, strategy: str) -> None:
    predictions, y_train = make_numbers(60), np.array([1, 2, 2, 40])
    dummy = DummyRegressor(strategy=strategy).fit(np.zeros((4, 1)), y_train)
    expected = NumberPredictions(predictions.y_true, dummy.predict(np.zeros((60, 1))))
    metric = metric_of(scoring)
    assert score_one(metric, predict_baseline(predictions, y_train, metric)) == score_one(metric, expected)


def test_baseline_knows_no_label_that_the_training_rows_lack() -> None:
    predictions = describe_classes(
        np.array(["a", "z"]),
        np.array(["a", "a"]),
        np.array([[0.8, 0.2]] * 2),
        np.array(["a", "b"]),
        is_probability=True,
    )
    assert score(predictions, "accuracy", np.array(["b", "b", "a"]))["test_baseline_accuracy"] == 0
    assert score(predictions, "accuracy", np.array(["a", "b", "a"]))["test_baseline_accuracy"] == 1 / 2


# --- each class ---


def test_each_class_has_its_scores() -> None:
    metrics = score(make_classes(60, 3), "f1_macro")
    assert list(metrics["test_f1_class"]) == ["class 00", "class 01", "class 02"]
    assert np.mean(list(metrics["test_f1_class"].values())) == pytest.approx(metrics["test_f1_macro"])
    assert sum(metrics["test_support_class"].values()) == 60


def test_odd_names_stay_apart_and_fit_mlflow_as_they_are() -> None:
    names = [*ODD_NAMES, "x/y", "x.y", "x_y", "  ", "..", "x" * 300]
    by_class = score(make_classes(60, len(names), names), "f1_macro")["test_f1_class"]
    assert len(by_class) == len(names)
    keys = [f"test_f1_class.{name}" for name in by_class]
    assert [fit_key(key) for key in keys] == keys
    assert all(key.count(".") == 1 for key in keys)


def test_hundreds_of_classes_do_not_flood_the_file(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        by_class = score(make_classes(900, 200), "f1_macro")["test_support_class"]
    assert len(by_class) == 30
    assert "of 200 classes the 30 with the most rows have metrics of their own" in caplog.text
    assert min(by_class.values()) >= 6
