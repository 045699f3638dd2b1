"""Train and test rows: stratified and seeded."""

import pandas as pd
from sklearn.model_selection import train_test_split

from src.config.schema import Base, DataSplit
from src.data.target import check_class_counts, split_target
from src.errors import DataError


def split_table(table: pd.DataFrame, base: Base, settings: DataSplit) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide rows so that both parts keep the ratio of the classes.

    Args:
        table: Featurized rows with their target, shape (n_rows, n_columns).
        base: The section `base`.
        settings: The section `data_split`.

    Returns:
        Train and test rows in the order of the table; no row is in both.

    Raises:
        DataError: A class has fewer than two rows, or a part has no room for every class.
    """
    target_column, test_size, random_state = base.target_column, settings.test_size, base.random_state
    _, y = split_target(table, target_column, base.task)
    if settings.split.kind == "random":
        train, test = train_test_split(table, test_size=test_size, random_state=random_state)
        return train.sort_index(), test.sort_index()
    check_class_counts(y, at_least=2, reason="a stratified split")
    try:
        train, test = train_test_split(table, test_size=test_size, random_state=random_state, stratify=y)
    except ValueError as error:
        raise DataError(
            f"data_split.test_size = {test_size} leaves no row of some class on one side ({error}); "
            "choose a share nearer to 0.5 or bring more rows."
        ) from error
    # Stratification rounds: 5 % of 6 rows are none.
    for label in pd.unique(y):
        if not (train[target_column] == label).any() or not (test[target_column] == label).any():
            raise DataError(
                f"data_split.test_size = {test_size} leaves no row of class {label!r} on one side; "
                "choose a share nearer to 0.5 or bring more rows of it."
            )
    return train.sort_index(), test.sort_index()
