import logging
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, f1_score

from src.errors import ConfigError, DataError
from src.train.fit import FitResult, fit_model
from tests.train.tables import dump, make_config

COLUMNS = {"a": {"kind": "number"}, "b": {"kind": "category"}}


def make_rare(seed: int = 0, n_rows: int = 400) -> pd.DataFrame:
    """Make rows of which 1 in 7 has the class `ill`, which the columns predict in part."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=n_rows), rng.choice(["x", "y"], n_rows)
    is_ill = a + (b == "x") + rng.normal(size=n_rows) > 2
    return pd.DataFrame({"a": a, "b": b, "target": np.where(is_ill, "ill", "well")}).astype({"b": "str"})


def fit(estimator: str = "logreg", table: pd.DataFrame | None = None, **changes: Any) -> FitResult:
    settings = {"scoring": "f1", "cv": 4, "param_grid": {}, "search": {"kind": "none"}} | changes
    return fit_model(make_rare() if table is None else table, COLUMNS, make_config(estimator, **settings))


@pytest.mark.parametrize("estimator", ["logreg", "hist_gradient_boosting", "random_forest"])
def test_threshold_decides_about_the_rarer_class(estimator: str) -> None:
    grid = {"random_forest": {"n_estimators": [10]}}
    model, rows = fit(estimator, threshold=0.2, param_grid=grid).model, make_rare(1)
    probabilities = model.predict_proba(rows)[:, list(model.classes_).index("ill")]
    assert (model.predict(rows) == np.where(probabilities >= 0.2, "ill", "well")).all()
    usual = fit(estimator, param_grid=grid).model
    np.testing.assert_array_equal(model.predict_proba(rows), usual.predict_proba(rows))
    assert list(model.classes_) == list(usual.classes_)
    assert list(model.named_steps) == ["features", "preprocess", "estimator"]


def test_best_threshold_finds_more_of_the_rare_class(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found, rows = fit(threshold="best"), make_rare(1, 5000)
    assert found.threshold is not None
    assert 0.1 < found.threshold < 0.45
    assert "chose the threshold" in caplog.text

    def f1(result: FitResult) -> float:
        return float(f1_score(rows["target"], result.model.predict(rows), pos_label="ill"))

    assert f1(found) > f1(fit()) + 0.02


def test_labels_may_be_numbers_or_booleans() -> None:
    table = make_rare()
    for labels in ({"ill": 1, "well": 0}, {"ill": True, "well": False}):
        made = table.assign(target=table["target"].map(labels))
        model = fit(table=made, threshold="best").model
        assert set(model.predict(made)) == set(labels.values())


def test_probabilities_are_calibrated() -> None:
    # Balanced weights exaggerate the probability of the rare class.
    rows = make_rare(1, 5000)
    is_ill = rows["target"] == "ill"

    def loss(**changes: Any) -> float:
        model = fit(class_weight="balanced", **changes).model
        return float(brier_score_loss(is_ill, model.predict_proba(rows)[:, list(model.classes_).index("ill")]))

    usual = loss()
    assert loss(calibrate="sigmoid") < usual - 0.02
    assert loss(calibrate="isotonic") < usual - 0.02


@pytest.mark.parametrize("estimator", ["svm", "hist_gradient_boosting", "lightgbm"])
def test_model_with_threshold_and_calibration_is_equal_to_the_byte(estimator: str, tmp_path: Any) -> None:
    settings: dict[str, Any] = {"threshold": "best", "calibrate": "sigmoid"}
    settings["param_grid"] = {"lightgbm": {"n_estimators": [5]}, "hist_gradient_boosting": {"max_iter": [5]}}
    first, second = (fit(estimator, **settings).model for _ in range(2))
    assert dump(first) == dump(second)
    joblib.dump(first, tmp_path / "model")
    rows = make_rare(1)
    np.testing.assert_array_equal(joblib.load(tmp_path / "model").predict(rows), first.predict(rows))


def test_threshold_without_two_classes_or_probabilities_is_refused() -> None:
    three = make_rare()
    three.loc[:20, "target"] = "third"
    with pytest.raises(ConfigError, match=r"train.threshold = 0.3 needs two classes, and the training rows have 3"):
        fit(table=three, threshold=0.3, scoring="accuracy")
    with pytest.raises(ConfigError, match="svm predicts no probabilities"):
        fit("svm", threshold=0.3)


def test_best_threshold_of_a_calibrated_class_with_few_rows_is_refused_in_one_line() -> None:
    table = make_rare()
    ill = table.index[table["target"] == "ill"]
    few = table.drop(ill[4:])
    with pytest.raises(
        DataError, match=r"^a fold has too few rows of class 'ill' \([123]\): .* train\.cv = 4 .*none\.$"
    ):
        fit(table=few, threshold="best", calibrate="sigmoid")
    assert fit(table=few, threshold="best").threshold is not None


def test_fold_with_one_class_does_not_decide_about_the_threshold() -> None:
    # The first fold is fitted on the oldest rows, which are all of one class.
    table = make_rare().sort_values("target", ascending=False, kind="stable", ignore_index=True)
    table.loc[90:, "target"] = ["ill", "well"] * 155
    table["a"] = table.index.astype(float)
    split = {"kind": "time", "column": "a"}
    assert fit(table=table, threshold="best", split=split).threshold is not None


def test_folds_that_all_have_one_class_are_refused_in_one_line() -> None:
    # Both folds are fitted on the oldest rows.
    table = make_rare().sort_values("target", ascending=False, kind="stable", ignore_index=True)
    table["target"] = ["well"] * 300 + ["ill", "well"] * 50
    table["a"] = table.index.astype(float)
    with pytest.raises(DataError, match=r"^params\.yaml: train\.threshold = 'best' needs a fold .* more rows\.$"):
        fit(table=table, threshold="best", split={"kind": "time", "column": "a"}, cv=2)
