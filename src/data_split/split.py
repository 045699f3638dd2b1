"""Split rows into train and test: stratified, at random, by time or by group.

The seeded draws are those of scikit-learn's `train_test_split` and `GroupShuffleSplit`, row for
row. They are computed here because importing scikit-learn takes longer than splitting a million rows.
"""

import logging
import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from src.config.data_split import DataSplit, GroupSplit, TimeSplit
from src.config.schema import Base
from src.data.target import check_class_counts, check_target
from src.errors import DataError

logger = logging.getLogger(__name__)

Rows = NDArray[np.intp]


def split_table(table: pd.DataFrame, base: Base, settings: DataSplit) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split a table in two.

    Args:
        table: Featurized rows with their target, shape (n_rows, n_columns). If the caller holds no
            reference to it, the memory of each column is freed once it is split.
        base: The section `base`.
        settings: The section `data_split`.

    Returns:
        Train and test rows, each in the order of the table.

    Raises:
        DataError: A side would have no rows or lack a class, a row has no date or group, or the
            column of the split does not exist.
    """
    check_target(table, base.target_column, base.task)
    target = table[base.target_column]
    split, test_size, random_state = settings.split, settings.test_size, base.random_state
    if split.kind == "stratified":
        check_class_counts(target, at_least=2, reason="a stratified split")
    classes = pd.factorize(target, sort=True) if base.task == "classification" else None
    del target
    if isinstance(split, TimeSplit):
        test = _newest(_complete_column(table, split.column), test_size)
    elif isinstance(split, GroupSplit):
        test = _whole_groups(_complete_column(table, split.column), test_size, random_state)
    elif classes and split.kind == "stratified":
        test = _stratified(classes[0], test_size, random_state)
    else:
        test = _at_random(len(table), test_size, random_state)
    in_test = np.zeros(len(table), dtype=bool)
    in_test[test] = True
    if classes:
        _check_classes(*classes, in_test, test_size, strict=split.kind == "stratified")
    names, index = list(table.columns), table.index
    # Arrays, because a Series of each part would carry its own index.
    columns = [table[name].array for name in names]
    del table
    train_columns, test_columns = {}, {}
    for name in names:
        values = columns.pop(0)
        train_columns[name], test_columns[name] = values[~in_test], values[in_test]
    return (
        pd.DataFrame(train_columns, index=index[~in_test], copy=False),
        pd.DataFrame(test_columns, index=index[in_test], copy=False),
    )


def _at_random(n_rows: int, test_size: float, random_state: int) -> Rows:
    n_test = math.ceil(test_size * n_rows)
    if n_test == n_rows:
        raise DataError(
            f"data_split.test_size = {test_size} leaves no row for training ({n_rows} rows in total); choose a smaller "
            "fraction or provide more rows."
        )
    rows: Rows = np.random.RandomState(random_state).permutation(n_rows)[:n_test]
    return rows


def _stratified(codes: NDArray[np.intp], test_size: float, random_state: int) -> Rows:
    """Draw from each class in proportion to its rows.

    Args:
        codes: Number of the class of each row, from 0; each class has at least 2 rows.
        test_size: Fraction of the rows to draw.
        random_state: Seed.
    """
    counts = np.bincount(codes)
    n_test = math.ceil(test_size * len(codes))
    n_train = len(codes) - n_test
    if min(n_train, n_test) < len(counts):
        raise DataError(
            f"data_split.test_size = {test_size} leaves no row of some class on one side ({n_train} training and "
            f"{n_test} test rows for {len(counts)} classes); choose a fraction nearer to 0.5 or provide more rows."
        )
    rng = np.random.RandomState(random_state)
    train_counts = _draw_counts(counts, n_train, rng)
    test_counts = _draw_counts(counts - train_counts, n_test, rng)
    ends = np.cumsum(counts)
    by_class = np.split(np.argsort(codes, kind="stable"), ends[:-1])
    drawn = []
    for rows, n_before, n_rows in zip(by_class, train_counts, test_counts, strict=True):
        drawn.append(rows[rng.permutation(len(rows))][n_before : n_before + n_rows])
    return np.concatenate(drawn)


def _draw_counts(counts: NDArray[np.intp], n_draws: int, rng: np.random.RandomState) -> NDArray[np.intp]:
    """Divide draws among classes by their rows, as scikit-learn's `_approximate_mode`; ties are drawn at random."""
    exact = counts / counts.sum() * n_draws
    result = np.floor(exact)
    fractions = exact - result
    n_left = int(n_draws - result.sum())
    for fraction in np.unique(fractions)[::-1]:
        if n_left == 0:
            break
        (tied,) = np.nonzero(fractions == fraction)
        chosen = rng.choice(tied, size=min(len(tied), n_left), replace=False)
        result[chosen] += 1
        n_left -= len(chosen)
    return np.asarray(result, dtype=np.intp)


def _newest(dates: pd.Series, test_size: float) -> Rows:
    """Take the newest rows, and all other rows of the oldest date among them."""
    if not is_datetime64_any_dtype(dates) and not is_numeric_dtype(dates):
        raise DataError(
            f"data_split.split.column = {dates.name!r} has dtype {dates.dtype}, with values such as {dates.iloc[0]!r}; "
            f"a split by time needs dates: declare data_load.columns.{dates.name}: {{kind: date}}."
        )
    n_test = max(1, round(test_size * len(dates)))
    values = dates.to_numpy()
    border = np.partition(values, len(values) - n_test)[len(values) - n_test]
    test = np.flatnonzero(values >= border)
    if len(test) == len(values):
        raise DataError(
            f"data_split.split.column = {dates.name!r}: the newest {n_test} of {len(values)} rows reach back to the "
            f"oldest date, {dates.min()}; choose a smaller data_split.test_size or another split."
        )
    logger.info("the test rows begin at %s = %s", dates.name, dates.iloc[test].min())
    return test


def _whole_groups(groups: pd.Series, test_size: float, random_state: int) -> Rows:
    """Draw whole groups; `test_size` is a fraction of the groups."""
    codes, levels = pd.factorize(groups)
    n_test = math.ceil(test_size * len(levels))
    if n_test == len(levels):
        raise DataError(
            f"data_split.split.column = {groups.name!r} has {len(levels)} groups, and data_split.test_size = "
            f"{test_size} leaves none for training; choose a smaller fraction or another split."
        )
    is_test = np.zeros(len(levels), dtype=bool)
    is_test[np.random.RandomState(random_state).permutation(len(levels))[:n_test]] = True
    logger.info("%d of %d groups of %s are test rows", n_test, len(levels), groups.name)
    return np.flatnonzero(is_test[codes])


def _complete_column(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table.columns:
        known = ", ".join(map(str, table.columns[:20]))
        raise DataError(f"data_split.split.column = {name!r} is not in the table; its columns are {known}.")
    column = table[name]
    if n_missing := int(column.isna().sum()):
        raise DataError(
            f"data_split.split.column = {name!r} is missing in {n_missing} of {len(table)} rows; "
            "fix or drop these rows, or choose another split."
        )
    return column


def _check_classes(
    codes: NDArray[np.intp], labels: Any, in_test: NDArray[np.bool_], test_size: float, strict: bool
) -> None:
    """Refuse a class without training rows; if `strict`, also a class without test rows."""
    n_train = np.bincount(codes[~in_test], minlength=len(labels))
    n_test = np.bincount(codes[in_test], minlength=len(labels))
    absent = labels[(n_train == 0) | (n_test == 0)].tolist()
    if not absent:
        return
    # Stratification rounds: 5 % of 6 rows are none.
    if strict:
        raise DataError(
            f"data_split.test_size = {test_size} leaves no row of class {absent[0]!r} on one side; "
            "choose a fraction nearer to 0.5 or provide more rows of it."
        )
    if untrained := labels[n_train == 0].tolist():
        raise DataError(
            f"class {untrained[0]!r} has no training rows, so no model can learn it; choose another data_split.split "
            "or base.random_state, or drop its rows."
        )
    logger.warning("class %s has no test rows: no metric covers it", ", ".join(map(repr, absent)))
