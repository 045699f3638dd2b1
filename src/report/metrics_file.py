"""What `metrics.json` holds: every metric with its split first, its interval and its baseline."""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.report.baseline import predict_baseline
from src.report.intervals import bootstrap_interval
from src.report.metrics import metric_of, score, score_classes, score_one
from src.report.predictions import ClassPredictions, Predictions

logger = logging.getLogger(__name__)

Metrics = dict[str, float | dict[str, float]]
# Of classes with the most test rows: more than that nobody reads.
MAX_CLASSES = 30


def score_split(
    predictions: Predictions, y_train: NDArray[Any], scoring: str, n_bootstrap: int, random_state: int, split: str
) -> Metrics:
    """Score the rows of a split.

    Args:
        predictions: What the model said of them.
        y_train: Target of the training rows, for the baseline, shape (n_train,).
        scoring: What the search maximised: the headline metric, with interval and baseline.
        n_bootstrap: Resamples behind the interval.
        random_state: Seed of the resamples.
        split: First part of every name.

    Returns:
        `<split>_<metric>`, `<split>_<headline>_ci95_low` and `_high`,
        `<split>_baseline_<headline>`, and of classes `<split>_f1_class: {<label>: …}` and
        so on. Only finite numbers.
    """
    metrics: Metrics = dict(score(predictions))
    headline = metric_of(scoring)
    if headline in metrics:
        if interval := bootstrap_interval(headline, predictions, n_bootstrap, random_state):
            metrics[f"{headline}_ci95_low"], metrics[f"{headline}_ci95_high"] = interval
        baseline = score_one(headline, predict_baseline(predictions, y_train, headline))
        if np.isfinite(baseline):
            metrics[f"baseline_{headline}"] = baseline
    if isinstance(predictions, ClassPredictions):
        metrics |= _by_class(predictions)
    return {f"{split}_{name}": value for name, value in sorted(metrics.items())}


def _by_class(predictions: ClassPredictions) -> dict[str, dict[str, float]]:
    scores = score_classes(predictions.counts)
    shown = np.sort(np.argsort(-scores["support"], kind="stable")[:MAX_CLASSES])
    if len(shown) < len(predictions.labels):
        logger.info("of %d classes the %d with the most rows have metrics of their own", len(scores["f1"]), len(shown))
    names = safe_names([predictions.labels[code] for code in shown])
    return {
        f"{metric}_class": {name: float(values[code]) for name, code in zip(names, shown, strict=True)}
        for metric, values in scores.items()
    }


def safe_names(labels: list[Any]) -> list[str]:
    """Make labels parts of the name of a metric: letters, digits, `_`, `-` and single spaces; all different.

    >>> safe_names(["a.b", "a/b", " ", 1.5, True])
    ['a_b', 'a_b_2', '_', '1_5', 'True']
    """
    names: list[str] = []
    for label in labels:
        words = " ".join(str(label).split())[:60]
        base = "".join(letter if letter.isalnum() or letter in "_- " else "_" for letter in words).strip() or "_"
        name, number = base, 1
        while name in names:
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return names
