"""What a reader of the scores must not conclude from them."""

import math
from collections.abc import Iterator

from src.config.schema import Config
from src.report.metrics import metric_of
from src.report.metrics_file import Metrics

FEW_ROWS = 200


def list_limits(metrics: Metrics, n_test_rows: int, config: Config) -> Iterator[str]:
    """Tell the limits of a model, those first that its scores show."""
    if n_test_rows < FEW_ROWS:
        weight = f"one of them is {1 / n_test_rows:.1%} of every score"
        yield f"{n_test_rows} test rows are few: {weight}."
    headline = metric_of(config.train.scoring)
    ends = [metrics.get(f"test_{headline}_ci95_{end}") for end in ("low", "high")]
    baseline = metrics.get(f"test_baseline_{headline}")
    low, high = ends
    if isinstance(low, float) and isinstance(high, float) and isinstance(baseline, float):
        # scikit-learn turns the sign of what should be low; the metric has its own sign.
        beaten = high < baseline if config.train.scoring.startswith("neg_") else low > baseline
        if not beaten:
            yield f"The interval of `test_{headline}` reaches the baseline: nothing shows that the model beats it."
    if isinstance(low, float) and isinstance(high, float) and math.isclose(low, high):
        yield f"Every resample gives the same `test_{headline}`: its interval has no width, which shows no certainty."
        if metrics.get("test_accuracy") == 1:
            # The exact form of the rule of three (Hanley & Lippman-Hand 1983).
            share = 1 - 0.05 ** (1 / n_test_rows)
            yield f"A model that errs in {share:.1%} of all rows has 1 chance in 20 to show no error in {n_test_rows}."
    if config.train.search.kind == "none":
        yield "Nothing was searched: the parameters are those of the settings."
    yield "The interval tells the luck in the choice of test rows, not that of the split or of the training."
    kind = config.data_split.split.kind
    if kind in ("stratified", "random"):
        yield "Train and test rows come from the same time and the same groups: later or other data may be harder."
    if kind == "time":
        yield "The test rows are the newest; how fast the model ages beyond them is not known."
    yield "Importance and slices tell what goes together, not what causes what."
