"""Read the target of the training rows, and predict the test rows, part by part."""

import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from src.compute.engine import Engine
from src.config.schema import Base
from src.config.train import Task
from src.data.models import read_model
from src.data.parts import Blocks, Part, list_blocks
from src.data.target import split_target
from src.report.predictions import Predictions, concat_predictions, predict_rows

logger = logging.getLogger(__name__)

# If there are more test rows, importance, slices, curves and plots use a random sample of this size.
MAX_SAMPLE = 50_000
# Rows are predicted in blocks of at most so many values, but of at least `MIN_ROWS` rows. The last digits of a matrix
# product depend on its number of rows, so the blocks must not depend on the parts.
MAX_VALUES, MIN_ROWS = 1_000_000, 1_000


@dataclass(frozen=True)
class TrainTarget:
    """What a baseline needs to know about the target of the training rows.

    Attributes:
        n_rows: Number of training rows.
        counts: Number of rows of each label, sorted by label; None for a regression.
        mean: Mean of numbers; NaN for labels.
        median: Median of numbers; NaN for labels.
    """

    n_rows: int
    counts: "pd.Series[int] | None" = None
    mean: float = np.nan
    median: float = np.nan


@dataclass(frozen=True)
class PredictedRows:
    """The test rows with their predictions.

    Attributes:
        predictions: Predictions of all rows.
        sample: Positions of the rows in `X` and `y`: all of them, or a random sample.
        X: Columns that the model uses, shape (n_sampled, n_features).
        y: Target, shape (n_sampled,).
    """

    predictions: Predictions
    sample: NDArray[np.intp]
    X: pd.DataFrame
    y: NDArray[Any]


def read_train_target(parts: Sequence[Part], target_column: str, task: Task) -> TrainTarget:
    """Read the target of the training rows."""
    columns = (part.read([target_column])[target_column] for part in parts)
    n_rows = sum(part.n_rows for part in parts)
    if task == "regression":
        numbers = np.concatenate([column.to_numpy(dtype=float) for column in columns])
        mean = float(np.mean(numbers))
        # In place, because a copy of many numbers takes memory.
        return TrainTarget(n_rows, mean=mean, median=float(np.median(numbers, overwrite_input=True)))
    counts = pd.concat([column.value_counts(sort=False) for column in columns])
    return TrainTarget(n_rows, counts.groupby(level=0).sum().sort_index())


def predict_parts(
    engine: Engine,
    parts: Sequence[Part],
    model_path: Path,
    base: Base,
    names: Sequence[str],
    positive: Any,
) -> PredictedRows:
    """Predict the test rows, and keep the columns of at most `MAX_SAMPLE` of them.

    Args:
        parts: Parts of the featurized test rows.
        model_path: The fitted Pipeline that takes raw rows; its first step is left out.
        names: Columns that the model uses.
        positive: Label of the positive class; None takes the second of two.
    """
    n_rows = sum(part.n_rows for part in parts)
    sample = np.arange(n_rows)
    if n_rows > MAX_SAMPLE:
        sample = np.sort(np.random.default_rng(base.random_state).choice(n_rows, MAX_SAMPLE, replace=False))
    block_rows = max(MIN_ROWS, MAX_VALUES // (len(names) + 1))
    # Workers read the model from its file; otherwise a large one would be sent with each part.
    process = partial(
        _predict_blocks,
        block_rows=block_rows,
        model_path=model_path.absolute(),
        base=base,
        names=names,
        positive=positive,
    )
    items = []
    for blocks in list_blocks(parts, block_rows):
        begin, end = np.searchsorted(sample, [blocks.start, blocks.start + blocks.n_rows])
        items.append((blocks, sample[begin:end] - blocks.start))
    X, y = list[pd.DataFrame](), list[NDArray[Any]]()

    def keep_sample() -> Iterator[Predictions]:
        for predictions, rows, target in engine.map(process, items, len(items), "evaluate"):
            X.append(rows)
            y.append(target)
            yield predictions

    predictions = concat_predictions(keep_sample(), n_rows)
    return PredictedRows(predictions, sample, pd.concat(X, ignore_index=True), np.concatenate(y))


def load_steps(model_path: Path) -> Pipeline:
    """Load the steps of a model that take featurized rows, once for all parts.

    Raises:
        MissingInputError: As `read_model`.
    """
    stat = model_path.stat() if model_path.exists() else None
    return _load_steps(model_path, stat and (stat.st_size, stat.st_mtime_ns))


@functools.lru_cache(maxsize=1)
def _load_steps(model_path: Path, state: tuple[int, int] | None) -> Pipeline:  # noqa: ARG001 - part of the key
    return read_model(model_path)[1:]


def _predict_blocks(
    item: tuple[Blocks, NDArray[np.intp]],
    block_rows: int,
    model_path: Path,
    base: Base,
    names: Sequence[str],
    positive: Any,
) -> tuple[Predictions, pd.DataFrame, NDArray[Any]]:
    blocks, sample = item
    X, y = split_target(blocks.read([*names, base.target_column]), base.target_column, base.task, to_learn=False)
    X = X[[name for name in names if name in X]]
    steps = load_steps(model_path)
    slices = [slice(start, start + block_rows) for start in range(0, len(X), block_rows)]
    # Sums differ in their last digits with the number of threads, which may differ between workers and the stage.
    with threadpool_limits(1, user_api="blas"):
        found = (predict_rows(steps, X.iloc[each], y[each], base.task, positive) for each in slices)
        predictions = concat_predictions(found, len(X))
    # A copy, because the columns may be views of several parts.
    return predictions, X.copy() if len(sample) == len(X) else X.iloc[sample], y[sample]
