"""Draw a random sample of the training rows; memory holds only the sample and one part."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.config.schema import Config
from src.data.files import read_table
from src.data.hashing import hash_row_numbers
from src.data.parts import Part
from src.errors import DataError


def choose_rows(
    targets: Iterable["pd.Series[Any]"], max_rows: int, at_least: int, random_state: int
) -> NDArray[np.int64]:
    """Choose the rows whose numbers have the smallest hashes, independently of the parts.

    Args:
        targets: Target of each part.
        max_rows: Number of rows to choose, fewer than there are.
        at_least: Rows of each class to choose in any case, if it has that many; 0 if there are no classes.

    Returns:
        Numbers of the rows, ascending, shape (max_rows,).

    Raises:
        DataError: `max_rows` is too small for two rows of each class.
    """
    smallest = pd.DataFrame({"number": np.empty(0, np.int64), "hash": np.empty(0, np.uint64)})
    first_of_class = pd.DataFrame()
    start = 0
    for target in targets:
        stop = start + len(target)
        rows = pd.DataFrame(
            {"number": np.arange(start, stop), "hash": hash_row_numbers(start, len(target), random_state)}
        )
        smallest = pd.concat([smallest, rows], ignore_index=True)
        if len(smallest) > max_rows:
            smallest = smallest.iloc[np.argpartition(smallest["hash"].to_numpy(), max_rows)[:max_rows]]
        if at_least:
            first_of_class = pd.concat([first_of_class, rows.assign(label=target.to_numpy())])
            first_of_class = _take_first(first_of_class, at_least)
        start = stop
    if at_least:
        n_classes = first_of_class["label"].nunique()
        if 2 * n_classes > max_rows:
            raise DataError(
                f"params.yaml: train.max_rows = {max_rows} is too small for two rows of each of {n_classes} classes; "
                f"raise it to at least {2 * n_classes}, or set base.task to regression."
            )
        first_of_class = _take_first(first_of_class, min(at_least, max_rows // n_classes))
        others = smallest[~smallest["number"].isin(first_of_class["number"])].sort_values("hash")
        smallest = pd.concat([first_of_class, others]).iloc[:max_rows]
    return np.sort(smallest["number"].to_numpy())


def _take_first(rows: pd.DataFrame, n_rows: int) -> pd.DataFrame:
    """Take the rows of each class that have the smallest hashes."""
    return rows.sort_values("hash").groupby("label", sort=False).head(n_rows)


def read_rows(parts: Sequence[Part], config: Config) -> pd.DataFrame:
    """Read the training rows, or a random sample of `train.max_rows` of them, in the order of the table.

    In a sample, each class has at least `train.cv` rows if the table has them, and the index contains the row numbers
    in the whole table.

    Raises:
        DataError: As `choose_rows`.
    """
    base, settings = config.base, config.train
    if sum(part.n_rows for part in parts) <= settings.max_rows:
        return read_table(config.data_split.train_path, made_by="data_split")
    at_least = settings.cv if base.task == "classification" else 0
    targets = (part.read([base.target_column])[base.target_column] for part in parts)
    numbers = choose_rows(targets, settings.max_rows, at_least, base.random_state)
    found = []
    for part in parts:
        first, last = np.searchsorted(numbers, [part.start, part.start + part.n_rows])
        found.append(part.read().iloc[numbers[first:last] - part.start].set_axis(numbers[first:last]))
    return pd.concat(found)
