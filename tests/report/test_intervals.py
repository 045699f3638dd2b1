from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from src.config.train import BINARY_SCORINGS, SCORINGS, metric_of
from src.report import intervals
from src.report.intervals import bootstrap_interval, count_rows
from src.report.metrics import score_one
from src.report.predictions import NumberPredictions, encode_classes
from tests.report.conftest import make_classes, make_numbers, take

CLASS_METRICS = [metric_of(scoring) for scoring in SCORINGS["classification"]]
NUMBER_METRICS = [metric_of(scoring) for scoring in SCORINGS["regression"]]
CASES = [
    *[(metric, "two classes" if metric in BINARY_SCORINGS else "classes", 60) for metric in CLASS_METRICS],
    *[(metric, "numbers", n_rows) for metric in NUMBER_METRICS for n_rows in (39, 40)],
]


def make(kind: str, n_rows: int) -> Any:
    if kind == "two classes":
        # The first class is positive.
        return replace(make_classes(n_rows, 2), positive_code=0)
    return make_classes(n_rows, 3) if kind == "classes" else make_numbers(n_rows)


def resample_rows(metric: str, predictions: Any, n: int) -> Any:
    """Compute the interval in the slow way: draw rows and score them again."""
    rng = np.random.default_rng(1)
    n_rows = len(predictions.y_true)
    values = [score_one(metric, take(predictions, rng.integers(0, n_rows, n_rows))) for _ in range(n)]
    return np.quantile([value for value in values if np.isfinite(value)], [0.025, 0.975])


@pytest.mark.parametrize(("metric", "kind", "n_rows"), CASES)
def test_interval_equals_that_of_scoring_resampled_rows(metric: str, kind: str, n_rows: int) -> None:
    predictions = make(kind, n_rows)
    expected = resample_rows(metric, predictions, 250)
    found = bootstrap_interval(metric, predictions, 10_000, 0)
    assert found is not None
    # The quantiles of 250 draws vary by a tenth of the interval.
    np.testing.assert_allclose(found, expected, atol=0.16 * (expected[1] - expected[0]))


def test_tied_scores_count_half_in_the_interval_of_the_area() -> None:
    rng = np.random.default_rng(0)
    y_true = np.array(["a", "b"])[np.append([0, 1], rng.integers(0, 2, 100))]
    p = np.round(rng.random(102) * 0.6 + 0.4 * (y_true == "b"), 1)
    tied = encode_classes(y_true, y_true, np.column_stack([1 - p, p]), np.array(["a", "b"]), is_probability=True)
    expected = resample_rows("roc_auc_ovr", tied, 300)
    found = bootstrap_interval("roc_auc_ovr", tied, 3000, 0)
    np.testing.assert_allclose(np.array(found), expected, atol=0.16 * (expected[1] - expected[0]))


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        ("average_precision", "two classes"),
        ("roc_auc_ovr", "classes"),
        ("log_loss", "classes"),
        *((metric, "numbers") for metric in NUMBER_METRICS),
    ],
)
def test_sample_of_many_rows_gives_nearly_the_same_interval(
    metric: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions = make(kind, 3_000)
    # The first rows alone would look better than all.
    predictions = take(predictions, np.argsort(predictions.losses))
    exact = np.array(bootstrap_interval(metric, predictions, 800, 0))
    monkeypatch.setattr(intervals, "MAX_ROWS", 1_000)
    sampled = np.array(bootstrap_interval(metric, predictions, 800, 0))
    assert (sampled != exact).all()
    np.testing.assert_allclose(sampled, exact, atol=0.2 * (exact[1] - exact[0]))


@pytest.mark.parametrize(
    ("metric", "predictions", "expected"),
    [
        ("f1_macro", make_classes(30_000, 3), 30_000),
        ("log_loss", make_classes(30_000, 3), 20_000),
        ("roc_auc_ovr", make_classes(30_000, 4), 5_000),
        ("roc_auc_ovr", make_classes(30_000, 50), 1_000),
        ("r2", make_numbers(30_000), 20_000),
        ("mae", make_numbers(300), 300),
        ("log_loss", make_classes(300, 3), 300),
    ],
)
def test_number_of_resampled_rows_is_limited(metric: str, predictions: Any, expected: int) -> None:
    assert count_rows(metric, predictions) == (30_000 if expected > 300 else 300, expected)


def test_about_95_of_100_intervals_contain_the_true_value() -> None:
    n_covered = 0
    for seed in range(200):
        low, high = bootstrap_interval("mae", make_numbers(100, seed), 500, 0) or (np.nan, np.nan)
        # Mean of the absolute value of a standard normal number.
        n_covered += low <= np.sqrt(2 / np.pi) <= high
    assert 0.9 <= n_covered / 200 <= 0.99


@pytest.mark.parametrize("metric", ["f1_macro", "log_loss"])
def test_seed_decides_the_resamples(metric: str) -> None:
    predictions = make_classes(50, 3)
    first, second, other = (bootstrap_interval(metric, predictions, 200, seed) for seed in (0, 0, 1))
    assert first == second != other


def test_interval_of_many_classes_is_computed_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = make_classes(400, 10)
    expected = bootstrap_interval("f1_weighted", predictions, 250, 0)
    monkeypatch.setattr(intervals, "_BATCH", 10_000)
    assert bootstrap_interval("f1_weighted", predictions, 250, 0) == expected


def test_undefined_metric_has_no_interval() -> None:
    constant = NumberPredictions(np.array([2.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    assert bootstrap_interval("r2", constant, 100, 0) is None
    one_class = take(make_classes(30, 2), slice(0, 1))
    assert bootstrap_interval("roc_auc_ovr", one_class, 100, 0) is None


def test_log_loss_of_one_true_class_has_an_interval() -> None:
    one_class = make_classes(200, 2)
    one_class = take(one_class, one_class.y_true == 1)
    low, high = bootstrap_interval("log_loss", one_class, 100, 0) or (np.nan, np.nan)
    assert low < score_one("log_loss", one_class) < high


def test_interval_of_a_sample_does_not_exceed_the_best_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "MAX_ROWS", 50)
    rng = np.random.default_rng(0)
    numbers = NumberPredictions(y_true := rng.normal(size=2000), y_true + rng.normal(size=2000) * 1e-9)
    assert (bootstrap_interval("r2", numbers, 200, 0) or (0, 2))[1] <= 1


@pytest.mark.parametrize("n_rows", [1, 2])
@pytest.mark.parametrize("metric", NUMBER_METRICS)
def test_very_few_rows_have_a_finite_interval_or_none(metric: str, n_rows: int) -> None:
    found = bootstrap_interval(metric, make_numbers(n_rows), 100, 0)
    assert found is None or np.isfinite(found).all()
