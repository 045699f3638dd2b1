"""Search and fit: from featurized rows to a model of raw rows."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from src.compute.engine import Engine
from src.config.schema import Config
from src.data.columns import Columns, features_by_kind
from src.data.parts import Part
from src.data.scoring import check_scoring
from src.data.target import split_target
from src.errors import DataError, TrainError
from src.featurize.features import prepare_rows
from src.train.decision import set_threshold
from src.train.folds import Fold, make_folds, sort_by_time
from src.train.model import Calibration, Candidate, ModelSpec, fit_candidate, make_model, select_columns
from src.train.optuna_search import run_optuna
from src.train.refit import can_refit, refit_on_parts
from src.train.search import (
    Result,
    catch_fit_warnings,
    choose_within_luck,
    format_error,
    list_candidate_records,
    list_candidates,
    log_fit_warnings,
    make_results_table,
    run_search,
    score_baseline,
)

logger = logging.getLogger(__name__)

Fitted = TypeVar("Fitted")


@dataclass(frozen=True)
class FitResult:
    """Best model of a search, and the scores of all candidates.

    Attributes:
        model: Fitted Pipeline `[features, preprocess, estimator]` that takes raw columns.
        cv_metrics: Mean and standard deviation of the score over the folds, and mean score of
            a dummy estimator; empty without a search. If the search used a sample, also the numbers of rows of
            the search and of the fit.
        cv_results: One row per candidate, in the order in which they were tried.
        candidates: `estimator`, `params` and `metrics` of each candidate: the chosen one, and the others by rank.
        threshold: Probability from which the positive class is predicted; None for the usual one, 0.5.
    """

    model: Pipeline
    estimator: str
    best_params: dict[str, Any]
    cv_metrics: dict[str, float]
    cv_results: pd.DataFrame
    candidates: list[dict[str, Any]]
    threshold: float | None = None


def fit_model(
    table: pd.DataFrame, columns: Columns, config: Config, engine: Engine | None = None, parts: Sequence[Part] = ()
) -> FitResult:
    """Search the grids by cross-validation and refit the best candidate on all rows.

    Args:
        table: Featurized training rows with their target, shape (n_samples, n_columns).
        engine: Runs the fits of the search, except those of Optuna; None for this process.
        parts: All training rows. If there are more than in `table`, its index contains their numbers.

    Raises:
        ConfigError: An estimator cannot be used with these settings.
        DataError: There are too few rows or columns.
        TrainError: No candidate can be fitted.
    """
    base, settings = config.base, config.train
    kinds = features_by_kind(columns, config.featurize.features, config.no_features)
    spec = ModelSpec(
        base.task, kinds, columns, settings.preprocess, settings.class_weight == "balanced", base.random_state
    )
    if not spec.names:
        raise DataError("no column is a feature: every column is the target, ignored, or groups the rows.")
    sources = {column for feature in config.featurize.features.values() for column in feature.columns}
    candidates = list_candidates(settings, base.task, base.random_state)
    # Report wrong estimators and parameter names before any fit.
    for candidate in {candidate.estimator: candidate for candidate in candidates}.values():
        make_model(candidate, spec)
    X_train, y_train = split_target(sort_by_time(table, config), base.target_column, base.task)
    check_scoring(settings.scoring, y_train)
    X_used = select_columns(X_train, spec)
    needs_folds = settings.search.kind != "none" or settings.calibrate != "none" or settings.threshold == "best"
    folds = make_folds(X_train, y_train, config) if needs_folds else []
    if settings.search.kind == "none":
        chosen, cv_metrics = Result(candidates[0]), {}
        results = [chosen]
    else:
        if settings.search.kind == "optuna":
            results = run_optuna(spec, candidates, X_used, y_train, folds, config, settings.search)
        else:
            results = run_search(spec, candidates, X_used, y_train, folds, config, engine or Engine())
        n_rows = [sum(len(rows) for rows in part) for part in zip(*folds, strict=True)]
        chosen = choose_within_luck(results, settings.list_estimators(base.task), n_rows[1] / n_rows[0])
        baseline = score_baseline(base.task, y_train, folds, settings.scoring, base.positive)
        cv_metrics = {f"cv_{settings.scoring}_mean": chosen.mean, f"cv_{settings.scoring}_std": chosen.std}
        if not math.isnan(baseline):
            cv_metrics[f"cv_{settings.scoring}_mean_baseline"] = baseline
    fitted = _refit(chosen.candidate, spec, X_used, y_train, folds, config)
    if sum(part.n_rows for part in parts) > len(table):
        n_fitted = _refit_on_all(fitted, chosen.candidate, spec, X_used, y_train, parts, config)
        cv_metrics |= {"n_rows_searched": len(table), "n_rows_fitted": n_fitted}
    threshold = None
    if settings.threshold != 0.5:
        fitted, threshold = set_threshold(fitted, chosen.candidate, spec, X_used, y_train, folds, config)
    # Added after the search: the rows already have their features, which are stateless.
    raw = {name: dict(column) for name, column in columns.items() if name in sources.union(spec.names)}
    features = FunctionTransformer(prepare_rows, kw_args={"columns": raw, "features": config.features})
    return FitResult(
        model=Pipeline([("features", features.fit(X_train[list(raw)])), *fitted.steps]),
        estimator=chosen.candidate.estimator,
        best_params=dict(chosen.candidate.params),
        cv_metrics=cv_metrics,
        cv_results=make_results_table(results, chosen, halving=settings.search.kind == "halving"),
        candidates=list_candidate_records(results, chosen, settings.scoring),
        threshold=threshold,
    )


def _refit(
    candidate: Candidate, spec: ModelSpec, X: pd.DataFrame, y: NDArray[Any], folds: list[Fold], config: Config
) -> Pipeline:
    calibration = None if config.train.calibrate == "none" else Calibration(config.train.calibrate, folds)

    def fit() -> Pipeline:
        fitted = fit_candidate(candidate, spec, X, y, config.train.n_jobs, calibration)
        # Some estimators check their parameters only when they predict.
        fitted.predict(X.iloc[:1])
        return fitted

    return _run_fit(fit, candidate)


def _refit_on_all(
    fitted: Pipeline, candidate: Candidate, spec: ModelSpec, X: pd.DataFrame, y: NDArray[Any], parts: Sequence[Part],
    config: Config,
) -> int:  # fmt: skip
    """Refit a model of a sample, if its estimator can be fitted part by part; return the number of fitted rows."""
    n_rows = sum(part.n_rows for part in parts)
    if not can_refit(fitted["estimator"]):
        reason = candidate.estimator if config.train.calibrate == "none" else "train.calibrate"
        logger.info(
            "searched and fitted %d of %d training rows: %s needs all rows in memory", len(X), n_rows, reason
        )  # fmt: skip
        return len(X)
    _run_fit(lambda: refit_on_parts(fitted, candidate, spec, X, y, parts, config.base.target_column), candidate)
    logger.info("searched %d of %d training rows, and fitted %s on all", len(X), n_rows, candidate.estimator)
    return n_rows


def _run_fit(fit: Callable[[], Fitted], candidate: Candidate) -> Fitted:
    """Run a fit, log its warnings and report its error.

    Raises:
        TrainError: The fit fails.
    """
    with catch_fit_warnings() as caught:
        try:
            fitted = fit()
        # Estimators may raise anything.
        except Exception as error:
            raise TrainError(f"{candidate} cannot be fitted: {format_error(error)}.") from error
    log_fit_warnings([(candidate.estimator, caught)])
    return fitted
