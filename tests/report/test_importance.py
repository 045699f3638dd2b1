import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline

from src.report.importance import measure_importance


def make(n_rows: int, n_noise: int = 2) -> tuple[pd.DataFrame, Any]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        rng.normal(size=(n_rows, n_noise + 1)), columns=["signal", *(f"noise {i}" for i in range(n_noise))]
    )
    return X, np.where(X["signal"] > 0, "yes", "no").astype(object)


def test_column_that_decides_the_target_comes_first() -> None:
    X, y = make(200)
    found = measure_importance(make_pipeline(LogisticRegression()).fit(X, y), X, y, "f1_macro", 0)
    assert list(found.columns) == ["feature", "mean", "std"]
    assert found["feature"][0] == "signal"
    # Shuffled, it leaves a guess between two classes.
    assert found["mean"][0] == pytest.approx(0.5, abs=0.1)
    assert found["mean"][1:].abs().max() < 0.05


def test_importance_is_measured_for_numbers() -> None:
    X, _ = make(200)
    y = X["signal"].to_numpy() * 3
    found = measure_importance(make_pipeline(LinearRegression()).fit(X, y), X, y, "r2", 0)
    # Shuffled, its error has twice the variance of the target.
    assert found["mean"][0] == pytest.approx(2, abs=0.3)


def test_seed_decides_the_sampled_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.report.importance.MAX_ROWS", 50)
    X, y = make(400)
    model = make_pipeline(LogisticRegression()).fit(X, y)
    first, second, other = (measure_importance(model, X, y, "f1_macro", seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, second)
    assert not first.equals(other)


def test_rare_class_is_among_the_sampled_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.report.importance.MAX_ROWS", 10)
    X, y = make(2000)
    y[1234] = "rare"
    model = make_pipeline(LogisticRegression()).fit(X, y)
    # Without it the score is undefined.
    assert np.isfinite(measure_importance(model, X, y, "roc_auc_ovr", 0)["mean"]).all()


@pytest.mark.parametrize("scoring", ["f1_macro", "neg_log_loss", "roc_auc_ovr"])
def test_rows_with_unknown_labels_are_left_out(scoring: str) -> None:
    X, y = make(200)
    model = make_pipeline(LogisticRegression()).fit(X, y)
    expected = measure_importance(model, X[1:], y[1:], scoring, 0)
    y[0] = "unseen"
    pd.testing.assert_frame_equal(measure_importance(model, X, y, scoring, 0), expected)


def test_importance_of_ranks_needs_every_class(caplog: pytest.LogCaptureFixture) -> None:
    X, y = make(200)
    model = make_pipeline(LogisticRegression()).fit(X, y)
    is_yes = y == "yes"
    with caplog.at_level(logging.INFO):
        assert measure_importance(model, X[is_yes], y[is_yes], "roc_auc_ovr", 0).empty
    assert "not every class of the model is among 94 test rows" in caplog.text


@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc_ovr"])
def test_importance_of_probabilities_needs_them(scoring: str, caplog: pytest.LogCaptureFixture) -> None:
    X, y = make(50)
    with caplog.at_level(logging.INFO):
        assert measure_importance(make_pipeline(RidgeClassifier()).fit(X, y), X, y, scoring, 0).empty
    assert f"{scoring} needs probabilities" in caplog.text


def test_five_rows_and_one_column_are_enough() -> None:
    X, _ = make(5, n_noise=0)
    y = X["signal"].to_numpy()
    assert len(measure_importance(make_pipeline(LinearRegression()).fit(X, y), X, y, "r2", 0)) == 1


def test_few_rows_have_no_importance(caplog: pytest.LogCaptureFixture) -> None:
    X, y = make(200)
    with caplog.at_level(logging.INFO):
        assert measure_importance(make_pipeline(LinearRegression()), X[:4], y[:4], "r2", 0).empty
    assert "no permutation importance: 4 test rows" in caplog.text


@pytest.mark.parametrize("n_columns", [0, 501])
def test_no_or_very_many_columns_have_no_importance(n_columns: int, caplog: pytest.LogCaptureFixture) -> None:
    X = pd.DataFrame(np.zeros((9, n_columns)))
    with caplog.at_level(logging.INFO):
        assert measure_importance(make_pipeline(LogisticRegression()), X, np.zeros(9), "f1_macro", 0).empty
    assert f"no permutation importance: {n_columns} columns" in caplog.text
