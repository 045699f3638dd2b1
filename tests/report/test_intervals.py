import time
from typing import Any

import numpy as np
import pytest

from src.config.train import SCORINGS
from src.report import intervals
from src.report.intervals import bootstrap_interval
from src.report.metrics import metric_of, score_one
from src.report.predictions import NumberPredictions
from tests.report.conftest import make_classes, make_numbers, take

CLASS_METRICS = [metric_of(scoring) for scoring in SCORINGS["classification"]]
NUMBER_METRICS = [metric_of(scoring) for scoring in SCORINGS["regression"]]
CASES = [
    *[(metric, "classes", n_rows) for metric in CLASS_METRICS for n_rows in (40, 200)],
    *[(metric, "numbers", n_rows) for metric in NUMBER_METRICS for n_rows in (39, 40)],
]


def make(kind: str, n_rows: int) -> Any:
    return make_classes(n_rows, 3) if kind == "classes" else make_numbers(n_rows)


def resample_rows(metric: str, predictions: Any, n: int) -> Any:
    """Do what the intervals stand for, the slow way: draw rows and score them again."""
    rng = np.random.default_rng(1)
    n_rows = len(predictions.y_true)
    values = [score_one(metric, take(predictions, rng.integers(0, n_rows, n_rows))) for _ in range(n)]
    return np.quantile([value for value in values if np.isfinite(value)], [0.025, 0.975])


@pytest.mark.parametrize(("metric", "kind", "n_rows"), CASES)
def test_interval_is_that_of_scoring_resampled_rows(metric: str, kind: str, n_rows: int) -> None:
    predictions = make(kind, n_rows)
    expected = resample_rows(metric, predictions, 1000)
    found = bootstrap_interval(metric, predictions, 10_000, 0)
    assert found is not None
    # Quantiles of 1000 draws wobble by a twentieth of the interval.
    np.testing.assert_allclose(found, expected, atol=0.1 * (expected[1] - expected[0]))


@pytest.mark.parametrize(
    ("metric", "kind"),
    [("roc_auc_ovr", "classes"), ("log_loss", "classes"), *((metric, "numbers") for metric in NUMBER_METRICS)],
)
def test_short_way_for_many_rows_gives_the_same(metric: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = make(kind, 2_000)
    exact = bootstrap_interval(metric, predictions, 3_000, 0)
    monkeypatch.setattr(intervals, "MANY_ROWS", 100)
    monkeypatch.setattr(intervals, "MANY_RANKED_ROWS", 100)
    short = bootstrap_interval(metric, predictions, 3_000, 0)
    assert exact is not None
    assert short is not None
    np.testing.assert_allclose(short, exact, atol=0.09 * (exact[1] - exact[0]))


@pytest.mark.parametrize("metric", ["mape", "max_error"])
def test_metric_that_nobody_has_said_how_to_resample_is_refused(metric: str) -> None:
    with pytest.raises(ValueError, match=f"no interval of '{metric}' is known"):
        bootstrap_interval(metric, make_numbers(10), 100, 0)


def test_95_of_100_intervals_hold_the_truth() -> None:
    held = 0
    for seed in range(200):
        low, high = bootstrap_interval("mae", make_numbers(100, seed), 500, 0) or (np.nan, np.nan)
        # Mean of the absolute value of a standard normal number.
        held += low <= np.sqrt(2 / np.pi) <= high
    assert 0.9 <= held / 200 <= 0.99


def test_seed_decides() -> None:
    predictions = make_classes(50, 3)
    first, second, other = (bootstrap_interval("f1_macro", predictions, 200, seed) for seed in (0, 0, 1))
    assert first == second != other


def test_more_rows_make_it_narrower() -> None:
    widths = []
    for n_rows in (100, 10_000):
        low, high = bootstrap_interval("accuracy", make_classes(n_rows, 3), 1000, 0) or (np.nan, np.nan)
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 10, rel=0.2)


def test_metric_that_is_never_defined_has_none() -> None:
    constant = NumberPredictions(np.array([2.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    assert bootstrap_interval("r2", constant, 100, 0) is None
    one_class = take(make_classes(30, 2), slice(0, 1))
    assert bootstrap_interval("roc_auc_ovr", one_class, 100, 0) is None


@pytest.mark.parametrize("n_rows", [1, 2])
@pytest.mark.parametrize("metric", NUMBER_METRICS)
def test_very_few_rows_break_nothing(metric: str, n_rows: int) -> None:
    found = bootstrap_interval(metric, make_numbers(n_rows), 100, 0)
    assert found is None or np.isfinite(found).all()


@pytest.mark.parametrize("metric", ["f1_macro", "log_loss", "roc_auc_ovr"])
def test_200_000_rows_take_no_time_to_speak_of(metric: str) -> None:
    predictions = make_classes(200_000, 3)
    started = time.perf_counter()
    assert bootstrap_interval(metric, predictions, 1000, 0)
    # 0.3 s on a quiet machine.
    assert time.perf_counter() - started < 5
