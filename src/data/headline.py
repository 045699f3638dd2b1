"""The headline: the test score of the metric that `train.scoring` names, its interval and its baseline."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from src.config.train import is_loss, metric_of


def short_number(value: float) -> str:
    """Round a score to four digits, unless it is whole.

    >>> short_number(0.93333), short_number(1), short_number(12), short_number(0.0000312345), short_number(1234567.8)
    ('0.9333', '1.0000', '12', '3.123e-05', '1.23457e+06')
    """
    if 2 <= abs(value) < 1e9 and float(value).is_integer():
        return f"{value:.0f}"
    if 0 < abs(value) < 0.001:
        return f"{value:.4g}"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.6g}"


@dataclass(frozen=True)
class Headline:
    """The headline of a model.

    Attributes:
        name: Its name in `metrics.json`, such as `test_f1_macro`.
        interval: Ends of the 95 % interval; None if it is not defined.
        baseline: Score of the dummy model; None if it is not defined.
        is_loss: Whether a lower score is better.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    baseline: float | None
    is_loss: bool

    @property
    def beats_baseline(self) -> bool | None:
        """Whether the whole interval is better than the baseline; None if that is unknown."""
        if self.interval is None or self.baseline is None:
            return None
        low, high = self.interval
        return high < self.baseline if self.is_loss else low > self.baseline

    @property
    def sentence(self) -> str:
        """The numbers, such as `test_r2 is 0.5000 (95 % interval 0.4000 to 0.6000), the baseline is 0.0000`."""
        interval = " to ".join(map(short_number, self.interval or ()))
        score = f"{self.name} is {short_number(self.value)}" + (f" (95 % interval {interval})" if interval else "")
        return score if self.baseline is None else f"{score}, the baseline is {short_number(self.baseline)}"

    @property
    def problem(self) -> str | None:
        """One sentence if the model is not clearly better than the baseline."""
        if self.beats_baseline is not False:
            return None
        return f"the model is not clearly better than the baseline: {self.sentence}"


def read_headline(metrics: Mapping[str, Any], scoring: str) -> Headline | None:
    """Find the headline among the metrics of `metrics.json`; None if it is not there."""
    name = f"test_{metric_of(scoring)}"
    values = [metrics.get(key) for key in (name, f"{name}_ci95_low", f"{name}_ci95_high", f"{name}_baseline")]
    value, low, high, baseline = (float(each) if isinstance(each, int | float) else None for each in values)
    if value is None:
        return None
    interval = None if low is None or high is None else (low, high)
    return Headline(name, value, interval, baseline, is_loss(scoring))
