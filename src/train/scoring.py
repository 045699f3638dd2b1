"""The score of one candidate on one fold: computed in any process, never raising what the candidate does wrong."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import get_scorer

from src.train.candidates import Candidate
from src.train.folds import Fold
from src.train.model import Plan, fit_model_of
from src.train.warned import Notes, caught_notes


@dataclass(frozen=True)
class FoldScore:
    """What became of one fit.

    Attributes:
        value: The score; NaN if there is none.
        notes: What was warned of meanwhile.
        reason: Why there is no score; empty if there is one.
        is_refused: Whether the estimator refuses the value of a parameter, whatever the rows.
    """

    value: float
    notes: Notes
    reason: str = ""
    is_refused: bool = False


def score_fold(
    plan: Plan, candidate: Candidate, X: pd.DataFrame, y: NDArray[Any], fold: Fold, scoring: str
) -> FoldScore:
    """Fit a candidate on the one part of a fold and score it on the other."""
    train, test = fold
    with caught_notes() as notes:
        try:
            model = fit_model_of(plan, candidate.estimator, candidate.params, X.iloc[train], y[train])
            value = float(get_scorer(scoring)(model, X.iloc[test], y[test]))
        # An estimator of anybody may raise anything; the search goes on with the others.
        except Exception as error:
            # By name: scikit-learn keeps the class in a private module.
            is_refused = type(error).__name__ == "InvalidParameterError"
            return FoldScore(np.nan, notes, one_line(error), is_refused)
    if not np.isfinite(value):
        return FoldScore(np.nan, notes, f"{scoring} is {value} on a fold")
    return FoldScore(value, notes)


def score_baseline(plan: Plan, y: NDArray[Any], folds: list[Fold], scoring: str) -> float:
    """Score, on the same folds, what is predicted without looking at any column; NaN where the score is undefined."""
    values = []
    # The best constant, as in the report: of absolute errors that is the median.
    constant = "median" if scoring.endswith("absolute_error") else "mean"
    for train, test in folds:
        model = (
            DummyClassifier(strategy="prior") if plan.task == "classification" else DummyRegressor(strategy=constant)
        )
        with warnings.catch_warnings():
            # A class that is never predicted has no precision: of a baseline, no news.
            warnings.simplefilter("ignore")
            model.fit(np.zeros((len(train), 1)), y[train])
            try:
                values.append(float(get_scorer(scoring)(model, np.zeros((len(test), 1)), y[test])))
            except ValueError:
                return np.nan
    return float(np.mean(values))


def one_line(error: BaseException) -> str:
    """Tell an error of a library in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{text:.300}".rstrip(".")
