"""Train and test rows: stratified, at random, by time or by group."""

import logging
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from src.config.data_split import DataSplit, GroupSplit, TimeSplit
from src.config.schema import Base
from src.data.target import check_class_counts, split_target
from src.errors import DataError

logger = logging.getLogger(__name__)

Rows = NDArray[np.intp]


def split_table(table: pd.DataFrame, base: Base, settings: DataSplit) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide rows in two.

    Args:
        table: Featurized rows with their target, shape (n_rows, n_columns). If the caller keeps
            no reference to it, each column is freed when it is divided.
        base: The section `base`.
        settings: The section `data_split`.

    Returns:
        Train and test rows in the order of the table; no row is in both.

    Raises:
        DataError: A part would have no rows or lack a class, a row has no date or group,
            or the table has no column of that name.
    """
    y = split_target(table, base.target_column, base.task)[1]
    split, test_size, random_state = settings.split, settings.test_size, base.random_state
    if split.kind == "stratified":
        check_class_counts(y, at_least=2, reason="a stratified split")
    # Sorted numbers are the same strata as the labels, found much faster in a million texts, and smaller.
    classes = pd.factorize(y, sort=True) if base.task == "classification" else None
    del y
    if isinstance(split, TimeSplit):
        test = _newest(_complete(table, split.column), test_size)
    elif isinstance(split, GroupSplit):
        test = _whole_groups(_complete(table, split.column), test_size, random_state)
    else:
        strata = classes[0] if classes and split.kind == "stratified" else None
        test = _at_random(len(table), strata, test_size, random_state)
    in_test = np.zeros(len(table), dtype=bool)
    in_test[test] = True
    if classes:
        _check_classes(*classes, in_test, test_size, strict=split.kind == "stratified")
    names, index = list(table.columns), table.index
    # Arrays, since each part of a column would get an index of its own.
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


def _at_random(n_rows: int, strata: NDArray[Any] | None, test_size: float, random_state: int) -> Rows:
    try:
        _, test = train_test_split(np.arange(n_rows), test_size=test_size, random_state=random_state, stratify=strata)
    except ValueError as error:
        what = "no row" if strata is None else "no row of some class"
        raise DataError(
            f"data_split.test_size = {test_size} leaves {what} on one side ({error}); "
            "choose a share nearer to 0.5 or bring more rows."
        ) from error
    rows: Rows = test
    return rows


def _newest(dates: pd.Series, test_size: float) -> Rows:
    """Take the newest rows, and with them all that are as old as the oldest of them."""
    if not is_datetime64_any_dtype(dates) and not is_numeric_dtype(dates):
        raise DataError(
            f"data_split.split.column = {dates.name!r} holds {dates.dtype}, as {dates.iloc[0]!r}; "
            f"a split by time needs dates: declare data_load.columns.{dates.name}: {{kind: date}}."
        )
    n_test = max(1, round(test_size * len(dates)))
    values = dates.to_numpy()
    border = np.partition(values, len(values) - n_test)[len(values) - n_test]
    test = np.flatnonzero(values >= border)
    if len(test) == len(values):
        raise DataError(
            f"data_split.split.column = {dates.name!r}: the newest {n_test} of {len(values)} rows reach back to the "
            f"very oldest date, {dates.min()}; choose a smaller data_split.test_size or another split."
        )
    logger.info("the test begins at %s = %s", dates.name, dates.iloc[test].min())
    return test


def _whole_groups(groups: pd.Series, test_size: float, random_state: int) -> Rows:
    """Take whole groups at random; `test_size` is the share of groups."""
    codes, levels = pd.factorize(groups)
    try:
        ((_, test),) = GroupShuffleSplit(1, test_size=test_size, random_state=random_state).split(codes, groups=codes)
    except ValueError:
        raise DataError(
            f"data_split.split.column = {groups.name!r} has {len(levels)} groups, of which data_split.test_size = "
            f"{test_size} leaves none on one side; choose a share nearer to 0.5 or another split."
        ) from None
    logger.info("%d of %d groups of %s are the test", len(np.unique(codes[test])), len(levels), groups.name)
    rows: Rows = test
    return rows


def _complete(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table.columns:
        known = ", ".join(map(str, table.columns[:20]))
        raise DataError(f"data_split.split.column = {name!r} is not in the table; it has {known}.")
    column = table[name]
    if n_missing := int(column.isna().sum()):
        raise DataError(
            f"data_split.split.column = {name!r} lacks a value in {n_missing} of {len(table)} rows; "
            "mend or drop these rows, or choose another split."
        )
    return column


def _check_classes(
    codes: NDArray[np.intp], labels: Any, in_test: NDArray[np.bool_], test_size: float, strict: bool
) -> None:
    """Refuse a class that only the test has, and, where parts are to be alike, one that it lacks."""
    n_train = np.bincount(codes[~in_test], minlength=len(labels))
    n_test = np.bincount(codes[in_test], minlength=len(labels))
    lacking = labels[(n_train == 0) | (n_test == 0)]
    if not len(lacking):
        return
    # Stratification rounds: 5 % of 6 rows are none.
    if strict:
        raise DataError(
            f"data_split.test_size = {test_size} leaves no row of class {lacking[0]!r} on one side; "
            "choose a share nearer to 0.5 or bring more rows of it."
        )
    if len(unknown := labels[n_train == 0]):
        raise DataError(
            f"class {unknown[0]!r} is in no training row, so no model could know it; choose another data_split.split "
            "or base.random_state, or drop its rows."
        )
    logger.warning("no test row is of class %s: no metric can be told of it", ", ".join(map(repr, lacking)))
