"""The search: every candidate is scored on every fold, and the best is chosen.

A loop of our own over scikit-learn's folds and scorers: its search classes show no
progress, take one estimator only, and cannot stop when the time is over.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray

from src.config.schema import Config
from src.errors import TrainError
from src.train.candidates import Candidate
from src.train.folds import Fold, thin_out
from src.train.model import Plan
from src.train.progress import Progress
from src.train.scoring import FoldScore, score_fold
from src.train.warned import tell_notes

logger = logging.getLogger(__name__)

# On fewer rows a round of halving tells more about chance than about candidates.
MIN_HALVING_ROWS = 100


@dataclass(frozen=True)
class Result:
    """What the search found of a candidate.

    Attributes:
        candidate: The candidate.
        values: Its score on each fold; empty without a search.
        round: Round of halving that it reached, from 0.
        n_rows: Rows that it was fitted on, in the first fold.
    """

    candidate: Candidate
    values: tuple[float, ...] = ()
    round: int = 0
    n_rows: int = 0

    @property
    def mean(self) -> float:
        """Mean score; NaN if a fold has none."""
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def std(self) -> float:
        """Standard deviation of the score over the folds."""
        return float(np.std(self.values)) if self.values else math.nan


def search(
    plan: Plan, candidates: Sequence[Candidate], X: pd.DataFrame, y: NDArray[Any], folds: list[Fold], config: Config
) -> list[Result]:
    """Score all candidates, or those that the time allows.

    Args:
        plan: What they have in common.
        candidates: What is tried, the first of equals first.
        X: Featurized training rows, shape (n_rows, n_columns).
        y: Target, shape (n_rows,).
        folds: Rows to fit on and rows to score.
        config: All settings.

    Returns:
        A result for each candidate that was tried, in the order of the candidates.

    Raises:
        TrainError: A value of the grid is refused, or no candidate has a score.
    """
    settings = config.train.search
    shares = [1.0]
    if settings.kind == "halving":
        shares = _shares(len(candidates), len(folds[0][0]), settings.factor)
    seconds = settings.seconds if settings.kind == "random" else None
    results: dict[int, Result] = {}
    told: list[tuple[Candidate, FoldScore]] = []
    tried = list(range(len(candidates)))
    for number, share in enumerate(shares):
        thinned = [thin_out(fold, share, y, config) for fold in folds]
        rows = len(thinned[0][0])
        label = f"round {number + 1} of {len(shares)} on {rows} rows" if len(shares) > 1 else "search"
        jobs = _jobs(plan, [candidates[position] for position in tried], X, y, thinned, config, seconds)
        scores: list[FoldScore] = []
        with Progress(len(tried) * len(folds), label) as progress:
            for score in Parallel(config.train.n_jobs, return_as="generator")(jobs):
                candidate = candidates[tried[len(scores) // len(folds)]]
                if score.is_refused:
                    raise TrainError(f"{candidate} cannot be fitted: {score.reason}.")
                scores.append(score)
                told.append((candidate, score))
                progress.advance()
        for position, start in zip(tried, range(0, len(scores), len(folds)), strict=False):
            values = tuple(score.value for score in scores[start : start + len(folds)])
            results[position] = Result(candidates[position], values, number, rows)
        if len(results) < len(tried):
            logger.info("stopped after %g s: tried %d of %d candidates", seconds, len(results), len(tried))
        best = sorted(
            (position for position in tried if position in results),
            key=lambda position: _key(results[position]),
            reverse=True,
        )
        tried = sorted(best[: math.ceil(len(best) / getattr(settings, "factor", 1))])
    tell_notes((candidate.estimator, score.notes) for candidate, score in told)
    found = [results[position] for position in sorted(results)]
    _tell_failures(found, told)
    return found


def choose(results: Sequence[Result]) -> Result:
    """Choose the best; of equals the first. One without a score is chosen only if none has one."""
    # max() keeps the first of equals.
    return max(results, key=_key)


def rank(results: Sequence[Result]) -> list[int | None]:
    """Number results from the best, 1; equals share a number, and those without a score have none."""
    keys = sorted(map(_key, results), reverse=True)
    return [None if math.isnan(result.mean) else keys.index(_key(result)) + 1 for result in results]


def _key(result: Result) -> tuple[int, float]:
    # Behind all that have a score, however far it came: a score on fewer rows is better than none.
    return (-1, 0.0) if math.isnan(result.mean) else (result.round, result.mean)


def _shares(n_candidates: int, n_rows: int, factor: int) -> list[float]:
    """Share of the rows in each round of halving; the last has all, and so a score that counts."""
    n_rounds = 1
    while factor**n_rounds <= n_candidates and n_rows / factor**n_rounds >= MIN_HALVING_ROWS:
        n_rounds += 1
    return [float(factor) ** -number for number in reversed(range(n_rounds))]


def _jobs(
    plan: Plan,
    candidates: Sequence[Candidate],
    X: pd.DataFrame,
    y: NDArray[Any],
    folds: Sequence[Fold],
    config: Config,
    seconds: float | None,
) -> Iterator[Any]:
    """Give the fits one by one until the time is over; no candidate is left half scored, the first never left out."""
    started = time.monotonic()
    for number, candidate in enumerate(candidates):
        if number and seconds is not None and time.monotonic() - started > seconds:
            return
        for fold in folds:
            yield delayed(score_fold)(plan, candidate, X, y, fold, config.train.scoring)


def _tell_failures(results: Sequence[Result], told: Sequence[tuple[Candidate, FoldScore]]) -> None:
    failed = sum(math.isnan(result.mean) for result in results)
    if not failed:
        return
    candidate, reason = next((candidate, score.reason) for candidate, score in told if score.reason)
    if failed == len(results):
        others = f", nor any other of {failed} candidates" if failed > 1 else ""
        raise TrainError(f"{candidate} cannot be fitted{others}: {reason}.")
    logger.warning("%d of %d candidates have no score, as %s: %s", failed, len(results), candidate, reason)
