"""The positive class of a binary classification, and the scorers that depend on it."""

from typing import Any

import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.metrics import get_scorer, make_scorer

from src.config.train import BINARY_SCORINGS, SCORINGS, Task
from src.errors import ConfigError
from src.text import one_line

MAX_NAMED, MAX_LETTERS = 10, 60


def find_positive(y_train: NDArray[Any], positive: Any, task: Task) -> Any:
    """Find the label of the positive class.

    Args:
        y_train: Target of the training rows, shape (n_train,).
        positive: The setting `base.positive`; None takes the rarer class, and of two equally frequent ones
            the last in sorted order, as scikit-learn does.

    Returns:
        The label; None if there are not two classes.

    Raises:
        ConfigError: The setting names no label, or there are not two classes.
    """
    if task == "regression":
        return None
    return choose_positive(pd.Series(y_train).value_counts(sort=False).sort_index(), positive)


def choose_positive(counts: "pd.Series[int]", positive: Any) -> Any:
    """Find the label of the positive class, as `find_positive`, from the number of rows of each label, sorted."""
    labels = counts.index.tolist()
    if positive is None:
        return labels[-1 if counts.iloc[-1] <= counts.iloc[0] else 0] if len(labels) == 2 else None
    if len(labels) != 2:
        raise ConfigError(
            f"base.positive = {_show(positive)} needs two classes, and the training rows have {len(labels)}: "
            f"{_list(labels)}; set it to null."
        )
    # As text, because the labels of `0` and `1` may be numbers or text, and True == 1.
    found = [label for label in labels if str(label) == str(positive)]
    if not found:
        raise ConfigError(
            f"base.positive = {_show(positive)} is not a class of the training rows; choose one of {_list(labels)}, "
            "or null for the rarer one."
        )
    return found[0]


def check_scoring(scoring: str, y_train: NDArray[Any]) -> None:
    """Check that the scoring suits the number of classes.

    Raises:
        ConfigError: The scoring is about a positive class, and there are more than two classes.
    """
    if scoring in BINARY_SCORINGS and len(labels := pd.Series(y_train).drop_duplicates().sort_values().tolist()) > 2:
        others = [name for name in SCORINGS["classification"] if name not in BINARY_SCORINGS]
        raise ConfigError(
            f"train.scoring = {scoring!r} needs two classes, and the training rows have {len(labels)}: "
            f"{_list(labels)}; choose one of {', '.join(others)}."
        )


def make_scoring(scoring: str, positive: Any) -> Any:
    """Make the scorer of a scoring; of two classes, `positive` is the label that it is about.

    scikit-learn's scorers take the label 1 for positive, so they refuse text.
    """
    if scoring not in BINARY_SCORINGS or scoring == "roc_auc":
        # The area under the ROC curve is the same for both classes.
        return get_scorer(scoring)
    if scoring == "average_precision":
        needs = ("decision_function", "predict_proba")
        return make_scorer(metrics.average_precision_score, response_method=needs, pos_label=positive)
    return make_scorer(getattr(metrics, f"{scoring}_score"), pos_label=positive, zero_division=0.0)


def _list(labels: list[Any]) -> str:
    more = f" and {len(labels) - MAX_NAMED} more" if len(labels) > MAX_NAMED else ""
    return ", ".join(map(_show, labels[:MAX_NAMED])) + more


def _show(label: Any) -> str:
    return one_line(repr(label), MAX_LETTERS)
