"""Search with Optuna, which proposes each candidate from the scores of the earlier ones."""

import logging
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.compute.engine import scratch_folder
from src.compute.progress import Progress
from src.config.schema import Config
from src.config.train import OptunaSearch
from src.data.scoring import find_positive, make_scoring
from src.errors import ConfigError, TrainError
from src.train.estimators import find_estimator, import_estimator
from src.train.folds import Fold
from src.train.model import Candidate, ModelSpec
from src.train.search import Fit, Result, fit_and_score, log_fit_warnings, report_failures

logger = logging.getLogger(__name__)

# Lowest and highest value, of integers if they are; on a log scale, except for shares, which end at 1.
_Range = tuple[float, float]
# Range or values of each parameter.
_Space = Mapping[str, _Range | list[Any]]
_FOREST: Mapping[str, _Range] = {"min_samples_leaf": (1, 20)}
RANGES: Mapping[str, Mapping[str, _Range]] = {
    "elastic_net": {"alpha": (1e-4, 10.0), "l1_ratio": (0.05, 1.0)},
    "extra_trees": _FOREST,
    "hist_gradient_boosting": {
        "learning_rate": (0.01, 0.3),
        "max_features": (0.1, 1.0),
        "max_iter": (50, 500),
        "max_leaf_nodes": (4, 63),
        "min_samples_leaf": (5, 100),
    },
    "knn": {"n_neighbors": (1, 50)},
    "lightgbm": {
        "colsample_bytree": (0.1, 1.0),
        "learning_rate": (0.01, 0.3),
        "min_child_samples": (5, 100),
        "n_estimators": (50, 500),
        "num_leaves": (4, 63),
    },
    "logreg": {"C": (1e-3, 100.0)},
    "mlp": {"alpha": (1e-5, 0.1), "learning_rate_init": (1e-4, 0.01)},
    "random_forest": _FOREST,
    "ridge": {"alpha": (0.01, 10_000.0)},
    "svm": {"C": (0.01, 1000.0)},
}


def run_optuna(
    spec: ModelSpec, firsts: Sequence[Candidate], X: pd.DataFrame, y: NDArray[Any], folds: list[Fold], config: Config,
    search: OptunaSearch,
) -> list[Result]:  # fmt: skip
    """Score the candidates that Optuna proposes, or as many as the time budget allows.

    A candidate is pruned, and has no score, once its best running mean is below the median of the others after as many
    folds. Each fold waits for this decision, whatever `train.n_jobs` is. No candidate is fitted twice.

    Args:
        firsts: First candidate of each estimator, scored before the others and never pruned.
        X: Featurized training rows, shape (n_rows, n_columns).
        y: Target, shape (n_rows,).

    Raises:
        ConfigError: Optuna is not installed.
        TrainError: An estimator refuses the value of a parameter, or no candidate has a score.
    """
    optuna, settings = _import_optuna(), config.train
    spaces = {first.estimator: _make_space(first.estimator, config) for first in firsts}
    study = _create_study(optuna, firsts, spaces, config)
    scorer = make_scoring(settings.scoring, find_positive(y, config.base.positive, config.base.task))
    found: dict[str, tuple[Candidate, list[Fit]]] = {}
    started = time.monotonic()
    with (
        scratch_folder() if spec.kinds["text"] else nullcontext() as cache,
        Progress(search.n_trials * len(folds), "search", search.seconds) as progress,
    ):
        cached = replace(spec, cache=cache)
        for n_tried in range(search.n_trials):
            if n_tried and search.seconds is not None and time.monotonic() - started > search.seconds:
                logger.info("stopped after %g s: tried %d of %d candidates", search.seconds, n_tried, search.n_trials)
                break
            trial = study.ask()
            candidate = _propose(trial, spaces)
            _, fits = found.setdefault(str(candidate), (candidate, []))
            scores: list[float] = []
            for number, fold in enumerate(folds):
                if number == len(fits):
                    fits.append(fit_and_score(candidate, cached, X, y, fold, settings.scoring, scorer))
                if fits[number].is_refused:
                    raise TrainError(f"{candidate} cannot be fitted: {fits[number].error}.")
                if fits[number].error:
                    break
                scores.append(fits[number].score)
                trial.report(float(np.mean(scores)), number)
                if len(scores) < len(folds) and trial.should_prune():
                    break
            if len(scores) == len(folds):
                study.tell(trial, float(np.mean(scores)))
            else:
                # Failed trials would not count, and be proposed again.
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            progress.update(len(folds))
    all_fits = [(candidate, fit) for candidate, fits in found.values() for fit in fits]
    log_fit_warnings((candidate.estimator, fit.warnings) for candidate, fit in all_fits)
    results = [
        Result(candidate, (*(fit.score for fit in fits), *[math.nan] * (len(folds) - len(fits))), len(folds[0][0]))
        for candidate, fits in found.values()
    ]
    is_pruned = [len(fits) < len(folds) and not fits[-1].error for _, fits in found.values()]
    logger.info("pruned %d of %d candidates", sum(is_pruned), len(results))
    report_failures([result for result, pruned in zip(results, is_pruned, strict=True) if not pruned], all_fits)
    return results


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "params.yaml: train.search.kind = 'optuna': optuna, the extra `optuna`, is not installed: run "
            "`.venv/bin/python -m pip install 'optuna>=5,<6'`, or choose random, which needs no further package."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _create_study(optuna: Any, firsts: Sequence[Candidate], spaces: Mapping[str, _Space], config: Config) -> Any:
    with warnings.catch_warnings():
        # It models the parameters of each estimator together.
        warnings.filterwarnings("ignore", ".*``group``", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=config.base.random_state, group=True)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=max(5, len(firsts)))
    study = optuna.create_study(sampler=sampler, pruner=pruner, direction="maximize")
    for first in firsts:
        path = find_estimator(first.estimator, config.base.task).path
        params = import_estimator(path, config.base.task)().get_params() | first.params
        values = {
            f"{first.estimator}.{name}": 0 if isinstance(space, list) else params[name]
            for name, space in spaces[first.estimator].items()
        }
        study.enqueue_trial({"estimator": first.estimator, **values})
    return study


def _make_space(estimator: str, config: Config) -> _Space:
    """Return the values of `train.param_grid` if it lists the estimator; otherwise ranges, and values of its grid."""
    if estimator in config.train.param_grid:
        return config.train.param_grid[estimator]
    return {**find_estimator(estimator, config.base.task).grid, **RANGES.get(estimator, {})}


def _propose(trial: Any, spaces: Mapping[str, _Space]) -> Candidate:
    estimator = trial.suggest_categorical("estimator", list(spaces))
    params: dict[str, Any] = {}
    for name, space in sorted(spaces[estimator].items()):
        # Two estimators may have different ranges of one parameter.
        key = f"{estimator}.{name}"
        if isinstance(space, list):
            # By position: Optuna takes no lists as values.
            params[name] = space[trial.suggest_categorical(key, range(len(space)))]
        elif isinstance(space[0], int):
            params[name] = trial.suggest_int(key, *space, log=True)
        else:
            # Three digits are enough, and easier to read.
            params[name] = float(f"{trial.suggest_float(key, *space, log=space[1] != 1):.3g}")
    return Candidate(estimator, params)
