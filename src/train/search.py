"""Cross-validated search for the best estimator and parameters.

The grids, folds, scorers and models are scikit-learn's, the loop over the fits is not: `GridSearchCV`
and its relatives lose the warnings of other processes, refit the first candidate if none has a
score, and cannot stop after a given time. Their halving draws rows without regard to classes, dates
or groups: if a draw misses a rare class, every score of the round is NaN and an arbitrary candidate wins.
"""

import json
import logging
import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ParameterGrid, ParameterSampler, cross_val_score

from src.compute.engine import Engine, scratch_folder
from src.config.schema import Config
from src.config.train import RESULT_COLUMNS, Task, Train
from src.data.scoring import find_positive, make_scoring
from src.errors import TrainError
from src.text import message_of
from src.train.estimators import Grid, find_estimator
from src.train.folds import Fold, subsample_fold
from src.train.model import Candidate, ModelSpec, fit_candidate, limit_threads

logger = logging.getLogger(__name__)

# On fewer rows, a round of halving measures chance.
MIN_HALVING_ROWS = 100
MAX_WARNING_LINES = 5

# Category and text of each warning.
FitWarnings = list[tuple[str, str]]
# Features, target and folds.
Rows = tuple[pd.DataFrame, NDArray[Any], list[Fold]]


@dataclass(frozen=True)
class Result:
    """Scores of one candidate.

    Attributes:
        scores: Score on each fold, NaN where there is none; empty without a search.
        n_rows: Number of rows to fit on in the first fold.
    """

    candidate: Candidate
    scores: tuple[float, ...] = ()
    n_rows: int = 0

    @property
    def mean(self) -> float:
        """Mean score; NaN if a fold has no score."""
        return float(np.mean(self.scores)) if self.scores else math.nan

    @property
    def std(self) -> float:
        """Standard deviation of the score over the folds."""
        return float(np.std(self.scores)) if self.scores else math.nan


def list_candidates(settings: Train, task: Task, random_state: int) -> list[Candidate]:
    """List the candidates of a search; of equally good ones, the first is chosen.

    Returns:
        All combinations of all grids, in turn by estimator if there is a time budget; for a random search, a
        sample of them without replacement; for a search with Optuna, the first of each estimator; without a search,
        the first value of each parameter.
    """
    grids = []
    for name in settings.list_estimators(task):
        grid: Grid = settings.param_grid.get(name, find_estimator(name, task).grid)
        grids.append({"estimator": [name], **{f"estimator__{param}": values for param, values in grid.items()}})
    points: Any = ParameterGrid(grids)
    if settings.search.kind == "none":
        points = [points[0]]
    elif settings.search.kind == "optuna":
        points = [ParameterGrid(grid)[0] for grid in grids]
    elif settings.search.kind == "random":
        points = ParameterSampler(grids, min(settings.search.n_candidates, len(points)), random_state=random_state)
    found = [
        Candidate(point.pop("estimator"), {name.removeprefix("estimator__"): point[name] for name in sorted(point)})
        for point in points
    ]
    if settings.search.kind in ("grid", "halving") and settings.search.seconds is not None:
        # A slow estimator must not leave no time for the others.
        found = [found[place] for place in np.argsort(_count_earlier(found), kind="stable")]
    return found


def _count_earlier(candidates: Sequence[Candidate]) -> list[int]:
    """Count the earlier candidates of the same estimator."""
    seen = Counter[str]()
    places = []
    for candidate in candidates:
        places.append(seen[candidate.estimator])
        seen[candidate.estimator] += 1
    return places


def run_search(
    spec: ModelSpec,
    candidates: Sequence[Candidate],
    X: pd.DataFrame,
    y: NDArray[Any],
    folds: list[Fold],
    config: Config,
    engine: Engine,
) -> list[Result]:
    """Score all candidates on all folds, or as many candidates as the time budget allows, in their order.

    Texts are encoded once per fold, for all candidates: of 100,000 texts of 50 words, one encoding takes 30 s.

    Args:
        candidates: Candidates in order of preference.
        X: Featurized training rows, shape (n_rows, n_columns).
        y: Target, shape (n_rows,).
        engine: Runs the fits.

    Raises:
        TrainError: An estimator refuses the value of a parameter, or no candidate has a score.
    """
    settings = config.train.search
    factor, fractions, started = 1, [1.0], time.monotonic()
    if settings.kind == "halving":
        factor, fractions = settings.factor, _list_fractions(len(candidates), len(folds[0][0]), settings.factor)
    scorer = make_scoring(config.train.scoring, find_positive(y, config.base.positive, config.base.task))
    results: dict[int, Result] = {}
    fits: list[tuple[Candidate, Fit]] = []
    remaining = list(range(len(candidates)))
    for number, fraction in enumerate(fractions, 1):
        subsets = [subsample_fold(fold, fraction, y, config) for fold in folds]
        n_rows = len(subsets[0][0])
        label = f"round {number} of {len(fractions)} on {n_rows} rows" if len(fractions) > 1 else "search"
        chosen = [candidates[position] for position in remaining]
        with (
            scratch_folder() if spec.kinds["text"] else nullcontext() as cache,
            engine.share((X, y, subsets)) as rows,
        ):
            cached = replace(spec, cache=cache)
            scored = _score(chosen, cached, rows, len(folds), scorer, config, label, started, engine)
        for position, candidate_fits in zip(remaining, scored, strict=False):
            candidate = candidates[position]
            results[position] = Result(candidate, tuple(fit.score for fit in candidate_fits), n_rows)
            fits += [(candidate, fit) for fit in candidate_fits]
        ranked = sorted(remaining[: len(scored)], key=lambda position: _sort_key(results[position]), reverse=True)
        # The best first: once the time is over, the next round scores only one.
        remaining = ranked[: math.ceil(len(ranked) / factor)]
    log_fit_warnings((candidate.estimator, fit.warnings) for candidate, fit in fits)
    found = [results[position] for position in sorted(results)]
    report_failures(found, fits)
    return found


def choose_best(results: Sequence[Result]) -> Result:
    """Return the result with the best mean score, the first of several equal ones."""
    return max(results, key=_sort_key)


def choose_within_luck(results: Sequence[Result], estimators: Sequence[str], test_to_train: float) -> Result:
    """Return the best result of the simplest estimator that is within luck of the best result.

    The best candidates of two estimators differ by luck if the mean difference of their scores on the same folds is at
    most one standard error. That of plain cross-validation is too small, because folds share rows to fit on; it is
    corrected as by Nadeau and Bengio (2003), https://doi.org/10.1023/A:1024068626366.

    Args:
        results: Results of the search.
        estimators: Names of the estimators, the simplest first.
        test_to_train: Rows to score on per row to fit on, in one fold.
    """
    best = choose_best(results)
    for estimator in estimators[: estimators.index(best.candidate.estimator)]:
        found = [result for result in results if result.candidate.estimator == estimator]
        # Scores on fewer rows, of earlier rounds of halving, cannot be compared.
        if not found or (simpler := choose_best(found)).n_rows != best.n_rows or math.isnan(simpler.mean):
            continue
        differences = np.subtract(best.scores, simpler.scores)
        error = math.sqrt(float(np.var(differences, ddof=1)) * (1 / len(differences) + test_to_train))
        if (difference := float(differences.mean())) <= error:
            logger.info(
                "chose %s: %s is %.3g better, within luck (standard error %.3g)",
                estimator, best.candidate.estimator, difference, error,
            )  # fmt: skip
            return simpler
    return best


def rank_results(results: Sequence[Result]) -> list[int | None]:
    """Rank results from 1, the best; equal results share a rank, and results without a score have none."""
    keys = sorted(map(_sort_key, results), reverse=True)
    return [None if math.isnan(result.mean) else keys.index(_sort_key(result)) + 1 for result in results]


def score_baseline(task: Task, y: NDArray[Any], folds: list[Fold], scoring: str, positive: Any = None) -> float:
    """Return the mean score of a dummy estimator on the same folds; NaN if it is undefined."""
    # As in the report: which constant is best depends on the metric.
    constant = "median" if scoring.endswith("absolute_error") else "mean"
    dummy = DummyClassifier(strategy="prior") if task == "classification" else DummyRegressor(strategy=constant)
    with warnings.catch_warnings():
        # A dummy never predicts some classes, whose precision is then undefined.
        warnings.simplefilter("ignore")
        scorer = make_scoring(scoring, find_positive(y, positive, task))
        return float(np.mean(cross_val_score(dummy, np.zeros((len(y), 1)), y, cv=folds, scoring=scorer)))


@contextmanager
def catch_fit_warnings() -> Iterator[FitWarnings]:
    """Collect the warnings that are raised in the body of the `with` statement."""
    collected: FitWarnings = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # `make_folds` names the rare classes once, before the search.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        try:
            yield collected
        finally:
            collected += [(item.category.__name__, " ".join(str(item.message).split())) for item in caught]


def log_fit_warnings(fits: Iterable[tuple[str, FitWarnings]]) -> None:
    """Log the warnings of many fits: one line for all that did not converge, and one per other text."""
    n_fits, not_converged, others = 0, Counter[str](), Counter[tuple[str, str]]()
    for estimator, fit_warnings in fits:
        n_fits += 1
        not_converged[estimator] += any(category == ConvergenceWarning.__name__ for category, _ in fit_warnings)
        others.update({item for item in fit_warnings if item[0] != ConvergenceWarning.__name__})
    if not_converged.total():
        counts = ", ".join(f"{estimator} {count}" for estimator, count in sorted(not_converged.items()) if count)
        logger.warning(
            "%d of %d fits did not converge (%s): raise max_iter, or scale the numbers",
            not_converged.total(), n_fits, counts,
        )  # fmt: skip
    for (category, text), count in others.most_common(MAX_WARNING_LINES):
        logger.warning("%d of %d fits warned: %s: %.300s", count, n_fits, category, text)
    if len(others) > MAX_WARNING_LINES:
        logger.warning("%d further warnings are not shown", len(others) - MAX_WARNING_LINES)


def format_error(error: BaseException) -> str:
    """Format the error of a library as one line."""
    return f"{message_of(error):.300}".rstrip(".")


def make_results_table(results: Sequence[Result], chosen: Result, *, halving: bool) -> pd.DataFrame:
    """Make a table with one row per candidate: `estimator`, its parameters, `mean`, `std`, `rank` and `chosen`.

    It contains no times, so that equal searches write equal files.

    Args:
        results: Results in the order of the candidates.
        halving: Whether candidates were fitted on different numbers of rows, which adds column `n_rows`.
    """
    rows: list[dict[str, Any]] = [
        {
            "estimator": result.candidate.estimator,
            **_format_params(result.candidate),
            "n_rows": result.n_rows,
            "mean": result.mean,
            "std": result.std,
            "rank": rank,
            "chosen": result is chosen,
        }
        for result, rank in zip(results, rank_results(results), strict=True)
    ]
    params = dict.fromkeys(name for row in rows for name in row if name not in RESULT_COLUMNS)
    table = pd.DataFrame(rows, columns=["estimator", *params, *RESULT_COLUMNS[1:]]).astype({"rank": "Int64"})
    return table if halving else table.drop(columns="n_rows")


def list_candidate_records(results: Sequence[Result], chosen: Result, scoring: str) -> list[dict[str, Any]]:
    """List `estimator`, `params` and `metrics` of each candidate: the chosen one, and the others by rank."""
    records = []
    ranked = zip(rank_results(results), results, strict=True)
    for rank, result in sorted(ranked, key=lambda item: (item[1] is not chosen, item[0] or math.inf)):
        scores = {f"cv_{scoring}_mean": result.mean, f"cv_{scoring}_std": result.std, "cv_rank": float(rank or 0)}
        candidate = result.candidate
        params = _format_params(candidate)
        records.append({"estimator": candidate.estimator, "params": params, "metrics": scores if rank else {}})
    return records


@dataclass(frozen=True)
class Fit:
    """Outcome of one fit: a score, or NaN and an error."""

    score: float
    warnings: FitWarnings
    error: str = ""
    # Whether the estimator refuses the value of a parameter, for any rows.
    is_refused: bool = False


def _score(
    candidates: Sequence[Candidate], spec: ModelSpec, rows: Callable[[], Rows], n_folds: int, scorer: Any,
    config: Config, label: str, started: float, engine: Engine,
) -> list[list[Fit]]:  # fmt: skip
    """Fit and score candidates on all folds, until the time budget is spent."""
    search = config.train.search
    seconds = None if search.kind == "none" else search.seconds

    def list_jobs() -> Iterator[tuple[Candidate, int]]:
        for number, candidate in enumerate(candidates):
            if number and seconds is not None and time.monotonic() - started > seconds:
                return
            for fold in range(n_folds):
                yield candidate, fold

    scored: list[list[Fit]] = []
    left = None if seconds is None else started + seconds - time.monotonic()
    task = partial(_score_fold, spec=spec, rows=rows, scoring=config.train.scoring, scorer=scorer)
    fits = engine.map(task, list_jobs(), len(candidates) * n_folds, label, "fit", left, config.train.n_jobs)
    for number, fit in enumerate(fits):
        if number % n_folds == 0:
            scored.append([])
        if fit.is_refused:
            raise TrainError(f"{candidates[len(scored) - 1]} cannot be fitted: {fit.error}.")
        scored[-1].append(fit)
    if len(scored) < len(candidates):
        logger.warning(
            "the search stopped after %g s with %d of %d candidates: raise train.search.seconds",
            seconds, len(scored), len(candidates),
        )  # fmt: skip
    return scored


def _score_fold(
    job: tuple[Candidate, int], spec: ModelSpec, rows: Callable[[], Rows], scoring: str, scorer: Any
) -> Fit:
    candidate, number = job
    X, y, folds = rows()
    return fit_and_score(candidate, spec, X, y, folds[number], scoring, scorer)


def fit_and_score(
    candidate: Candidate, spec: ModelSpec, X: pd.DataFrame, y: NDArray[Any], fold: Fold, scoring: str, scorer: Any
) -> Fit:
    """Fit a candidate on the rows of a fold and score it on the others; errors become part of the outcome."""
    train, test = fold
    with catch_fit_warnings() as caught:
        try:
            model = fit_candidate(candidate, spec, X.iloc[train], y[train])
            with limit_threads(candidate, spec.task, len(train)):
                score = float(scorer(model, X.iloc[test], y[test]))
        # Estimators may raise anything.
        except Exception as error:
            # By name, because the class is in a private module of scikit-learn.
            is_refused = type(error).__name__ == "InvalidParameterError"
            return Fit(math.nan, caught, format_error(error), is_refused)
    if not math.isfinite(score):
        return Fit(math.nan, caught, f"{scoring} is {score} on a fold")
    return Fit(score, caught)


def _sort_key(result: Result) -> tuple[int, float]:
    # Later rounds of halving have more rows; any score is better than none.
    return (-1, 0.0) if math.isnan(result.mean) else (result.n_rows, result.mean)


def _list_fractions(n_candidates: int, n_rows: int, factor: int) -> list[float]:
    """List the fraction of rows in each round of halving; the last round has all rows."""
    n_rounds = 1
    while factor**n_rounds <= n_candidates and n_rows / factor**n_rounds >= MIN_HALVING_ROWS:
        n_rounds += 1
    return [float(factor) ** -number for number in reversed(range(n_rounds))]


def report_failures(results: Sequence[Result], fits: Sequence[tuple[Candidate, Fit]]) -> None:
    """Log how many results have no score, and why.

    Raises:
        TrainError: None has a score.
    """
    if not (failed := sum(math.isnan(result.mean) for result in results)):
        return
    candidate, error = next((candidate, fit.error) for candidate, fit in fits if fit.error)
    if len(results) == 1:
        raise TrainError(f"{candidate} cannot be fitted: {error}.")
    if failed == len(results):
        raise TrainError(f"none of {failed} candidates has a score; for {candidate}: {error}.")
    logger.warning("%d of %d candidates have no score; for %s: %s", failed, len(results), candidate, error)


def _format_params(candidate: Candidate) -> dict[str, str]:
    """Format parameters as JSON, so that `null` differs from the text `None`."""
    texts = {}
    for name, value in sorted(candidate.params.items()):
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        texts[f"{name}_" if name in RESULT_COLUMNS else name] = text
    return texts
