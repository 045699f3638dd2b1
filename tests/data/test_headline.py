import pytest

from src.data.headline import Headline, read_headline

METRICS = {"test_rmse": 2, "test_rmse_ci95_low": 1.5, "test_rmse_ci95_high": 2.5, "test_rmse_baseline": 4.0}


def test_headline_has_its_interval_and_its_baseline() -> None:
    found = read_headline(METRICS | {"test_mae": 1.0}, "neg_root_mean_squared_error")
    assert found == Headline("test_rmse", 2.0, (1.5, 2.5), 4.0, is_loss=True)


def test_interval_and_baseline_may_be_undefined() -> None:
    assert read_headline({"test_r2": 0.5}, "r2") == Headline("test_r2", 0.5, None, None, is_loss=False)


@pytest.mark.parametrize("metrics", [{}, {"test_f1_macro": {"a": 1.0}}, {"cv_f1_macro_mean": 1.0}])
def test_metrics_without_the_headline_have_none(metrics: dict[str, object]) -> None:
    assert read_headline(metrics, "f1_macro") is None


@pytest.mark.parametrize(
    ("interval", "baseline", "is_loss", "beats"),
    [
        ((0.5, 0.7), 0.4, False, True),
        ((0.5, 0.7), 0.5, False, False),
        ((0.5, 0.7), 0.9, False, False),
        ((0.5, 0.7), 0.9, True, True),
        ((0.5, 0.7), 0.7, True, False),
        ((0.5, 0.7), 0.1, True, False),
        (None, 0.1, False, None),
        ((0.5, 0.7), None, False, None),
    ],
)
def test_whole_interval_must_be_better_than_the_baseline(
    interval: tuple[float, float] | None, baseline: float | None, is_loss: bool, beats: bool | None
) -> None:
    headline = Headline("test_a", 0.6, interval, baseline, is_loss)
    assert headline.beats_baseline is beats
    assert (headline.problem is not None) is (beats is False)


def test_problem_gives_the_numbers() -> None:
    assert Headline("test_r2", 0.05, (-0.1, 0.2), -0.001, is_loss=False).problem == (
        "the model is not clearly better than the baseline: test_r2 is 0.0500 (95 % interval -0.1000 to 0.2000), "
        "the baseline is -0.0010"
    )
    assert Headline("test_r2", 0.05, None, None, is_loss=False).sentence == "test_r2 is 0.0500"
