"""Threshold and calibration of the chosen candidate."""

import logging
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import Pipeline

from src.config.schema import Config
from src.data.scoring import find_positive, make_scoring
from src.errors import ConfigError, DataError
from src.train.folds import Fold
from src.train.model import Calibration, Candidate, ModelSpec, fit_candidate
from src.train.search import catch_fit_warnings

logger = logging.getLogger(__name__)

# As many thresholds are tried, at quantiles of the probabilities.
N_THRESHOLDS = 200


class _Labels(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Predicts what it is given, for scorers."""

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        return X


def set_threshold(
    fitted: Pipeline, candidate: Candidate, spec: ModelSpec, X: pd.DataFrame, y: NDArray[Any], folds: list[Fold],
    config: Config,
) -> tuple[Pipeline, float]:  # fmt: skip
    """Return the model with `train.threshold` in its last step, and the threshold.

    Args:
        fitted: Fitted pipeline `[preprocess, estimator]`.
        folds: Folds whose rows the best threshold is chosen on, by models of the candidate that have not seen them.

    Raises:
        ConfigError: There are not two classes, or the estimator predicts no probabilities.
    """
    threshold: float | str = config.train.threshold
    positive = find_positive(y, config.base.positive, "classification")
    if positive is None:
        raise ConfigError(
            f"params.yaml: train.threshold = {threshold!r} needs two classes, and the training rows have "
            f"{len(fitted.classes_)}; set it to 0.5."
        )
    if not hasattr(fitted, "predict_proba"):
        raise ConfigError(
            f"params.yaml: train.threshold = {threshold!r}: {candidate.estimator} predicts no probabilities; set it to "
            "0.5, set train.calibrate, or choose another estimator."
        )
    if isinstance(threshold, str):
        threshold = find_best_threshold(candidate, spec, X, y, folds, config, positive)
    frozen = FrozenEstimator(fitted[-1])
    estimator = FixedThresholdClassifier(
        frozen, threshold=threshold, pos_label=positive, response_method="predict_proba"
    )
    # Both rows and labels are only checked.
    estimator.fit(fitted[:-1].transform(X.iloc[:2]), y[:2])
    return Pipeline([*fitted.steps[:-1], ("estimator", estimator)]), float(threshold)


def find_best_threshold(
    candidate: Candidate, spec: ModelSpec, X: pd.DataFrame, y: NDArray[Any], folds: list[Fold], config: Config,
    positive: Any,
) -> float:  # fmt: skip
    """Find the threshold with the best score on all rows that the folds score; of equal ones, the nearest to 0.5.

    Raises:
        DataError: A fold has too few rows of a class to calibrate on, or none has training rows of both classes.
    """
    settings = config.train
    rows, probabilities = [], []
    for train, test in folds:
        classes, counts = np.unique(y[train], return_counts=True)
        if len(classes) < 2:
            continue
        if settings.calibrate != "none" and min(counts) < settings.cv:
            raise DataError(
                f"a fold has too few rows of class {classes.tolist()[counts.argmin()]!r} ({min(counts)}): "
                f"train.calibrate with train.threshold = 'best' needs at least train.cv = {settings.cv} of each class; "
                "lower train.cv, or set train.calibrate to none."
            )
        with catch_fit_warnings():
            # The folds of all rows do not fit here.
            calibration = None if settings.calibrate == "none" else Calibration(settings.calibrate, settings.cv)
            model = fit_candidate(candidate, spec, X.iloc[train], y[train], calibration=calibration)
            rows.append(test)
            probabilities.append(model.predict_proba(X.iloc[test])[:, list(model.classes_).index(positive)])
    if not rows:
        raise DataError(
            "params.yaml: train.threshold = 'best' needs a fold whose training rows have both classes, and there is "
            "none; set it to a number, choose another data_split.split, or provide more rows."
        )
    y_true, scores = y[np.concatenate(rows)], np.concatenate(probabilities)
    levels = np.unique(np.quantile(scores, np.linspace(0, 1, N_THRESHOLDS + 1)))
    tried = np.unique([0.5, *((levels[1:] + levels[:-1]) / 2)])
    tried = tried[(tried > 0) & (tried < 1)]
    negative = next(label for label in np.unique(y) if label != positive)
    scorer = make_scoring(settings.scoring, positive)
    found = [
        scorer(_Labels(), np.where(scores >= level, positive, negative).astype(y.dtype), y_true) for level in tried
    ]
    best = max(range(len(tried)), key=lambda place: (found[place], -abs(tried[place] - 0.5)))
    half = found[int(np.flatnonzero(tried == 0.5)[0])]
    logger.info(
        "chose the threshold %.3g for %r: cross-validated %s %.4g instead of %.4g with 0.5",
        tried[best], positive, settings.scoring, found[best], half,
    )  # fmt: skip
    return float(tried[best])
