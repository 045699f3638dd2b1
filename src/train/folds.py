"""Folds of the cross-validation, cut as the test set was."""

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

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


def sort_by_time(table: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Bring rows into the order of time where they were split by it; else leave them."""
    split = config.data_split.split
    if split.kind != "time":
        return table
    _check_column(table, split.column)
    return table.sort_values(split.column, kind="stable", ignore_index=True)


def make_folds(table: pd.DataFrame, y: NDArray[Any], config: Config) -> list[Fold]:
    """Cut the training rows as `data_split.split` cut off the test rows.

    Stratified, at random, by group, or by time: then each fold is scored on rows that
    are newer than all those it was fitted on, and rows as old as the first that is scored
    are in neither part. A class with fewer rows than folds is absent
    from some, which a warning tells; with a single row nothing could be both learnt and
    scored.

    Args:
        table: Featurized training rows; by time, in the order of time.
        y: Target, shape (n_rows,).
        config: All settings.

    Returns:
        Positions of the rows to fit on and of those to score, `train.cv` times.

    Raises:
        DataError: There are too few rows, dates, groups, or rows of a class.
    """
    split, cv, seed = config.data_split.split, config.train.cv, config.base.random_state
    if len(y) < 2 * cv:
        raise DataError(f"{len(y)} training rows are too few for train.cv = {cv} folds; it takes {2 * cv}.")
    if config.base.task == "classification":
        check_class_counts(y, at_least=2, reason="cross-validation")
        _warn_of_rare_classes(y, cv)
    groups: NDArray[np.intp] | None = None
    if split.kind == "time":
        _check_column(table, split.column)
        return _folds_by_time(table[split.column], cv)
    if split.kind == "group":
        _check_column(table, split.column)
        # Rows without a group are a group.
        groups, names = pd.factorize(table[split.column], use_na_sentinel=False)
        if len(names) < cv:
            raise DataError(
                f"column {split.column!r} has {len(names)} groups of training rows; train.cv = {cv} needs as many."
            )
        folds: Any = GroupKFold(cv, shuffle=True, random_state=seed)
    elif split.kind == "stratified":
        y, folds = pd.factorize(y)[0], StratifiedKFold(cv, shuffle=True, random_state=seed)
        if np.bincount(y).max() < cv:
            raise DataError(f"every class has fewer rows than train.cv = {cv}; set it lower or bring more rows.")
    else:
        folds = KFold(cv, shuffle=True, random_state=seed)
    positions = np.zeros((len(y), 1))
    with warnings.catch_warnings():
        # Told above, with the names of the classes.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(folds.split(positions, y, groups))


def thin_out(fold: Fold, share: float, y: NDArray[Any], config: Config) -> Fold:
    """Keep a share of the rows to fit on, and all rows to score.

    By time the newest are kept, else a seeded choice; of each class at least two where
    there are as many.
    """
    train, test = fold
    n_kept = max(1, round(share * len(train)))
    if n_kept >= len(train):
        return fold
    if config.data_split.split.kind == "time":
        return train[-n_kept:], test
    order = np.random.default_rng(config.base.random_state).permutation(len(train))
    first = order[:n_kept]
    if config.base.task == "classification":
        labels = pd.Series(pd.factorize(y[train[order]])[0])
        needed = labels.groupby(labels).cumcount() < 2
        first = order[(needed | (np.arange(len(order)) < n_kept)).to_numpy()]
    return train[np.sort(first)], test


def _folds_by_time(dates: "pd.Series[Any]", cv: int) -> list[Fold]:
    """Cut between dates: rows of one day know too much of each other to be on both sides."""
    times, cut = dates.to_numpy(), []
    for number, (train, test) in enumerate(TimeSeriesSplit(cv).split(times), 1):
        older = train[times[train] < times[test[0]]]
        if not len(older):
            raise DataError(
                f"data_split.split.column = {dates.name!r}: fold {number} of train.cv = {cv} has no row to fit on that "
                f"is older than {dates.iloc[test[0]]}, the first to score; set train.cv lower, bring rows of more "
                "dates, or set train.search.kind to none."
            )
        cut.append((older, test))
    return cut


def _check_column(table: pd.DataFrame, name: str) -> None:
    if name not in table.columns:
        raise DataError(f"data_split.split.column = {name!r} is not among the training rows; run `dvc repro train`.")


def _warn_of_rare_classes(y: NDArray[Any], cv: int) -> None:
    classes, counts = np.unique(y, return_counts=True)
    rare = [f"{label!r} ({count})" for label, count in zip(classes.tolist(), counts, strict=True) if count < cv]
    if rare:
        logger.warning(
            "fewer rows than train.cv = %d folds of class %s: some folds are scored without it", cv, ", ".join(rare)
        )
