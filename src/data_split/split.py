"""Split rows into train and test: stratified, at random, by time or by group."""

import logging
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
    """Split featurized rows with their target into train and test rows, each in the order of the table.

    If the caller holds no reference to the table, the memory of each column is freed once it is split.

    Raises:
        DataError: A set would have no rows or miss a class, a row has no date or group, or the
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
        groups, levels = pd.factorize(_complete_column(table, split.column))
        drawn = _draw(len(levels), f"groups of {split.column!r}", test_size, random_state)
        test = np.flatnonzero(np.isin(groups, drawn))
        logger.info("%d of %d groups of %s are test rows", len(drawn), len(levels), split.column)
    else:
        strata = classes[0] if classes and split.kind == "stratified" else None
        test = _draw(len(table), "rows", test_size, random_state, strata)
    in_test = np.zeros(len(table), dtype=bool)
    in_test[test] = True
    if classes:
        _check_classes(*classes, in_test, test_size, strict=split.kind == "stratified")
    names, index = list(table.columns), table.index
    # Arrays, because each Series of a part would have its own index.
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


def _draw(n_units: int, units: str, test_size: float, random_state: int, classes: Rows | None = None) -> Rows:
    """Draw the positions of the test rows or groups, from each class in proportion if classes are given."""
    # Importing scikit-learn takes 1 s.
    from sklearn.model_selection import train_test_split

    try:
        drawn = train_test_split(np.arange(n_units), test_size=test_size, random_state=random_state, stratify=classes)
    except ValueError as error:
        raise DataError(
            f"data_split.test_size = {test_size} cannot split {n_units} {units} ({str(error).rstrip('.')}); choose "
            f"another fraction, provide more {units.split()[0]}, or choose another data_split.split."
        ) from None
    return np.asarray(drawn[1])


def _newest(dates: pd.Series, test_size: float) -> Rows:
    """Return the positions of the newest rows; rows of one date are not separated."""
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
    """Refuse a class without training rows and, if `strict`, without test rows."""
    n_train = np.bincount(codes[~in_test], minlength=len(labels))
    n_test = np.bincount(codes[in_test], minlength=len(labels))
    absent = labels[(n_train == 0) | (n_test == 0)].tolist()
    # Stratification rounds: 5 % of 6 rows is 0 rows.
    if strict and absent:
        raise DataError(
            f"data_split.test_size = {test_size} leaves no row of class {absent[0]!r} on one side; "
            "choose a fraction nearer to 0.5 or provide more rows of it."
        )
    if untrained := labels[n_train == 0].tolist():
        raise DataError(
            f"class {untrained[0]!r} has no training rows, so no model can learn it; choose another data_split.split "
            "or base.random_state, or drop its rows."
        )
