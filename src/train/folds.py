"""Cross-validation folds, split in the same way as the test set."""

import logging
import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

from src.config.schema import Config
from src.data.target import check_class_counts
from src.errors import DataError

logger = logging.getLogger(__name__)

# Positions of the rows to fit on, and of the rows to score.
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


def sort_by_time(table: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Sort rows by time if `data_split.split` is by time; otherwise return them unchanged. The index is kept."""
    split = config.data_split.split
    return table.sort_values(split.column, kind="stable") if split.kind == "time" else table


def make_folds(table: pd.DataFrame, y: NDArray[Any], config: Config) -> list[Fold]:
    """Split the training rows into `train.cv` folds, by the rule that `data_split.split` sets for the test rows.

    If the split is by time, each fold is fitted on rows that are older than those it is scored on;
    fitted rows of the first scored date are dropped. A class with fewer rows than folds is missing
    from some folds, which is logged as a warning.

    Args:
        table: Featurized training rows, sorted by time if the split is by time.
        y: Target, shape (n_rows,).

    Raises:
        DataError: There are too few rows, dates, groups, or rows of a class.
    """
    split, cv, seed = config.data_split.split, config.train.cv, config.base.random_state
    if len(y) < 2 * cv:
        raise DataError(f"{len(y)} training rows are too few for train.cv = {cv} folds; at least {2 * cv} are needed.")
    if config.base.task == "classification":
        check_class_counts(y, at_least=2, reason="cross-validation")
        _warn_about_rare_classes(y, cv)
    groups: NDArray[np.intp] | None = None
    if split.kind == "time":
        return _make_time_folds(table[split.column], cv)
    if split.kind == "group":
        # Rows without a group form one.
        groups, names = pd.factorize(table[split.column], use_na_sentinel=False)
        if len(names) < cv:
            raise DataError(
                f"column {split.column!r} has {len(names)} groups of training rows, fewer than train.cv = {cv}; "
                "lower train.cv or add groups."
            )
        splitter: Any = GroupKFold(cv, shuffle=True, random_state=seed)
    elif split.kind == "stratified":
        y, splitter = pd.factorize(y)[0], StratifiedKFold(cv, shuffle=True, random_state=seed)
        if np.bincount(y).max() < cv:
            raise DataError(f"every class has fewer rows than train.cv = {cv}; lower train.cv or add rows.")
    else:
        splitter = KFold(cv, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Already logged, with the names of the classes.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(splitter.split(np.zeros((len(y), 1)), y, groups))


def subsample_fold(fold: Fold, fraction: float, y: NDArray[Any], config: Config) -> Fold:
    """Keep a fraction of the rows to fit on, and all rows to score.

    If the split is by time, the newest rows are kept, otherwise random rows. At least two
    rows of each class are kept where the fold has them.
    """
    train, test = fold
    n_rows = max(1, round(fraction * len(train)))
    if n_rows >= len(train):
        return fold
    if config.data_split.split.kind == "time":
        return train[-n_rows:], test
    order = np.random.default_rng(config.base.random_state).permutation(len(train))
    is_chosen = np.arange(len(order)) < n_rows
    if config.base.task == "classification":
        labels = pd.Series(pd.factorize(y[train[order]])[0])
        is_chosen |= (labels.groupby(labels).cumcount() < 2).to_numpy()
    return train[np.sort(order[is_chosen])], test


def _make_time_folds(dates: "pd.Series[Any]", cv: int) -> list[Fold]:
    # Rows of one date resemble each other too much to be fitted on and scored.
    times, folds = dates.to_numpy(), []
    for number, (train, test) in enumerate(TimeSeriesSplit(cv).split(times), 1):
        older = train[times[train] < times[test[0]]]
        if not len(older):
            raise DataError(
                f"data_split.split.column = {dates.name!r}: fold {number} of train.cv = {cv} has no row to fit on that "
                f"is older than {dates.iloc[test[0]]}, the first date to score; lower train.cv, add rows of other "
                "dates, or set train.search.kind to none."
            )
        folds.append((older, test))
    return folds


def _warn_about_rare_classes(y: NDArray[Any], cv: int) -> None:
    classes, counts = np.unique(y, return_counts=True)
    rare = [f"{label!r} ({count})" for label, count in zip(classes.tolist(), counts, strict=True) if count < cv]
    if rare:
        logger.warning(
            "fewer rows than train.cv = %d folds of class %s: some folds are scored without it", cv, ", ".join(rare)
        )
