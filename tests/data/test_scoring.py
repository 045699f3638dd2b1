import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import average_precision_score, f1_score, get_scorer, precision_score, recall_score, roc_auc_score

from src.config.train import BINARY_SCORINGS, SCORINGS
from src.data.scoring import check_scoring, find_positive, make_scoring
from src.errors import ConfigError

LABELS: list[tuple[Any, Any]] = [("no", "yes"), (0, 1), (False, True), ("a<b>", "$x$"), ("-1", "1")]


def labelled(negative: Any, positive: Any, n_negative: int = 30, n_positive: int = 20) -> np.ndarray[Any, Any]:
    return pd.Series([negative] * n_negative + [positive] * n_positive).to_numpy()


@pytest.mark.parametrize(("negative", "positive"), LABELS)
def test_rarer_class_is_positive_by_default(negative: Any, positive: Any) -> None:
    assert find_positive(labelled(negative, positive), None, "classification") == positive
    assert find_positive(labelled(positive, negative), None, "classification") == negative


def test_last_of_two_equally_frequent_classes_is_positive() -> None:
    assert find_positive(labelled("yes", "no", 5, 5), None, "classification") == "yes"


@pytest.mark.parametrize(("negative", "positive"), LABELS)
def test_setting_chooses_the_positive_class(negative: Any, positive: Any) -> None:
    y = labelled(negative, positive)
    assert [find_positive(y, label, "classification") for label in (negative, positive)] == [negative, positive]


def test_number_in_the_settings_finds_a_label_of_text() -> None:
    assert find_positive(labelled("0", "1"), 0, "classification") == "0"
    assert find_positive(labelled(0, 1), "0", "classification") == 0


@pytest.mark.parametrize("setting", ["maybe", 1, True, "Yes"])
def test_unknown_positive_class_names_the_classes(setting: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        find_positive(labelled("no", "yes"), setting, "classification")
    assert str(caught.value) == (
        f"base.positive = {setting!r} is not a class of the training rows; choose one of 'no', 'yes', or null for the "
        "rarer one."
    )


def test_true_is_not_one() -> None:
    with pytest.raises(ConfigError, match=r"base\.positive = True is not a class .* 0, 1, or null"):
        find_positive(labelled(0, 1), True, "classification")


def test_labels_of_errors_are_short_and_on_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        find_positive(labelled("x" * 500, "two\nlines"), "z", "classification")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_more_than_two_classes_have_no_positive_class() -> None:
    y = np.array(list("abc" * 5), dtype=object)
    assert find_positive(y, None, "classification") is None
    with pytest.raises(ConfigError, match=r"'a' needs two classes, and the training rows have 3: 'a', 'b', 'c'; set"):
        find_positive(y, "a", "classification")


def test_regression_has_no_positive_class() -> None:
    assert find_positive(np.array([0.0, 1.0]), None, "regression") is None


@pytest.mark.parametrize("scoring", SCORINGS["classification"])
def test_scoring_of_two_classes_is_refused_for_more(scoring: str) -> None:
    check_scoring(scoring, labelled("no", "yes"))
    y = np.array([f"class {number:02}" for number in range(12)], dtype=object)
    if scoring not in BINARY_SCORINGS:
        check_scoring(scoring, y)
        return
    with pytest.raises(ConfigError) as caught:
        check_scoring(scoring, y)
    assert str(caught.value).startswith(
        f"train.scoring = '{scoring}' needs two classes, and the training rows have 12: 'class 00', 'class 01', "
    )
    assert "'class 09' and 2 more; choose one of accuracy, balanced_accuracy, f1_macro, " in str(caught.value)


@pytest.mark.parametrize("estimator", [LogisticRegression(), RidgeClassifier()])
@pytest.mark.parametrize(("negative", "positive"), LABELS)
def test_scorers_are_about_the_positive_class(negative: Any, positive: Any, estimator: Any) -> None:
    y = labelled(negative, positive)
    X = np.random.default_rng(0).normal(size=(len(y), 1)) + (y == positive)[:, None]
    model = estimator.fit(X, y)
    sign = 1 if model.classes_[1] == positive else -1
    is_positive, y_score, y_pred = y == positive, sign * model.decision_function(X), model.predict(X) == positive
    expected = {
        "average_precision": average_precision_score(is_positive, y_score),
        "f1": f1_score(is_positive, y_pred),
        "precision": precision_score(is_positive, y_pred),
        "recall": recall_score(is_positive, y_pred),
        "roc_auc": roc_auc_score(is_positive, y_score),
    }
    found = {scoring: make_scoring(scoring, positive)(model, X, y) for scoring in BINARY_SCORINGS}
    assert found == pytest.approx(expected)
    assert make_scoring("f1", negative)(model, X, y) != pytest.approx(expected["f1"])


def test_class_that_is_never_predicted_scores_zero_without_a_warning() -> None:
    y = labelled("no", "yes", 45, 5)
    model = LogisticRegression().fit(np.zeros((50, 1)), y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [make_scoring(name, "yes")(model, np.zeros((50, 1)), y) for name in ("f1", "precision", "recall")] == [
            0.0, 0.0, 0.0,
        ]  # fmt: skip


@pytest.mark.parametrize("scoring", [*SCORINGS["regression"], "f1_macro", "roc_auc_ovr"])
def test_other_scorings_are_those_of_scikit_learn(scoring: str) -> None:
    assert repr(make_scoring(scoring, None)) == repr(get_scorer(scoring))
