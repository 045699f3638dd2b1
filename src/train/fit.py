"""Search and fit: from featurized rows to a model that takes raw rows."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from src.config.schema import Config
from src.data.columns import Columns, features_by_kind
from src.data.target import split_target
from src.errors import DataError, TrainError
from src.featurize.features import prepare_rows
from src.train.candidates import Candidate, list_candidates
from src.train.folds import make_folds, sort_by_time
from src.train.model import Plan, fit_model_of, make_model
from src.train.scoring import one_line, score_baseline
from src.train.search import Result, choose, search
from src.train.warned import caught_notes, tell_notes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitResult:
    """What a search found.

    Attributes:
        model: Fitted Pipeline `[features, preprocess, estimator]` that takes raw columns.
        estimator: Name or dotted path of the chosen estimator.
        best_params: Chosen value of each parameter of the grid.
        cv_metrics: Mean and standard deviation of the score over the folds, and the mean of
            the baseline; empty without a search.
        results: What was found of each candidate, in the order in which they were tried.
    """

    model: Pipeline
    estimator: str
    best_params: dict[str, Any]
    cv_metrics: dict[str, float]
    results: list[Result]


def fit_model(table: pd.DataFrame, columns: Columns, config: Config) -> FitResult:
    """Search the grids by cross-validation and refit the best on all rows.

    Args:
        table: Featurized training rows with their target, shape (n_samples, n_columns).
        columns: What each raw column is.
        config: All settings.

    Returns:
        The model, how it was chosen, and `cv_<scoring>_mean`, `_std` and `cv_baseline_<scoring>_mean`.

    Raises:
        ConfigError: An estimator cannot be used as the settings say.
        DataError: There are too few rows or columns.
        TrainError: No candidate can be fitted.
    """
    base, settings = config.base, config.train
    kinds = features_by_kind(columns, config.features, config.no_features)
    plan = Plan(base.task, kinds, columns, settings.preprocess, settings.class_weight == "balanced", base.random_state)
    if not plan.names:
        raise DataError("no column is a feature: each is the target, a date, ignored, or groups the rows.")
    _tell_dates(columns, config)
    candidates = list_candidates(settings, base.task, base.random_state)
    for candidate in {candidate.estimator: candidate for candidate in candidates}.values():
        # What is wrong with an estimator or the names in its grid is told before any fit.
        make_model(plan, candidate.estimator, candidate.params)
    X_train, y_train = split_target(sort_by_time(table, config), base.target_column, base.task)
    X_used = _compact(X_train, plan)
    if settings.search.kind == "none":
        results, cv_metrics = [Result(candidates[0])], {}
    else:
        folds = make_folds(X_train, y_train, config)
        results = search(plan, candidates, X_used, y_train, folds, config)
        baseline = score_baseline(plan, y_train, folds, settings.scoring)
        cv_metrics = _cv_metrics(choose(results), baseline, settings.scoring)
    best = choose(results).candidate
    fitted = _refit(plan, best, X_used, y_train, settings.n_jobs)
    return FitResult(
        # Put in front only now: the features are row-wise, so the rows that were
        # searched on have them already, and the model learns nothing from them.
        model=Pipeline([("features", _row_wise(X_train, columns, plan.names, config)), *fitted.steps]),
        estimator=best.estimator,
        best_params=dict(best.params),
        cv_metrics=cv_metrics,
        results=results,
    )


def _compact(X: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Keep the columns that a model takes, text as codes of its levels.

    Encoders turn text into objects, row by row and fit by fit: 60 MB a million rows and
    column, against 8 MB where equal values are one object. They learn the same from both.
    """
    unused = X.columns.difference(plan.names)
    # A selection is a copy, which a large table may not have room for.
    used = X.drop(columns=unused) if len(unused) else X
    text = [name for kind in ("category", "ordinal", "high_cardinality") for name in plan.kinds[kind]]
    return used.astype(dict.fromkeys(text, "category"))


def _refit(plan: Plan, best: Candidate, X: pd.DataFrame, y: NDArray[Any], n_jobs: int) -> Pipeline:
    with caught_notes() as notes:
        try:
            fitted = fit_model_of(plan, best.estimator, best.params, X, y, n_jobs)
            # Without a search nothing was predicted yet, and some refuse their settings only then.
            fitted.predict(X.iloc[:1])
        # As on the folds: an estimator of anybody may raise anything.
        except Exception as error:
            raise TrainError(f"{best} cannot be fitted: {one_line(error)}.") from error
    tell_notes([(best.estimator, notes)])
    return fitted


def _row_wise(X: pd.DataFrame, columns: Columns, used: Sequence[str], config: Config) -> FunctionTransformer:
    """Make the step that takes raw columns: those that are used, or that a feature is computed from."""
    needed = {*used, *(column for feature in config.featurize.features.values() for column in feature.columns)}
    names = [name for name in columns if name in needed]
    kept = {name: dict(columns[name]) for name in names}
    step = FunctionTransformer(prepare_rows, kw_args={"columns": kept, "features": config.features})
    return step.fit(X[names])


def _cv_metrics(best: Result, baseline: float, scoring: str) -> dict[str, float]:
    metrics = {f"cv_{scoring}_mean": best.mean, f"cv_{scoring}_std": best.std}
    if not math.isnan(baseline):
        metrics[f"cv_baseline_{scoring}_mean"] = baseline
    return metrics


def _tell_dates(columns: Columns, config: Config) -> None:
    sources = {column for feature in config.featurize.features.values() for column in feature.columns}
    dates = [name for name, column in columns.items() if column["kind"] == "date" and name not in sources]
    if dates:
        logger.info("a date is no feature by itself, so these are not used: %s; declare a date_part", ", ".join(dates))
