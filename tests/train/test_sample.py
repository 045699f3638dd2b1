from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.parts import Part, list_parts, new_table, write_part
from src.errors import DataError
from src.train.sample import choose_rows, read_rows
from tests.train.tables import make_config, make_table


def write_parts(table: pd.DataFrame, path: Path, n_parts: int) -> list[Part]:
    """Write a table in parts of different sizes."""
    bounds = (np.linspace(0, 1, n_parts + 1) ** 2 * len(table)).astype(int)
    with new_table(path) as folder:
        for number, (start, stop) in enumerate(pairwise(bounds)):
            write_part(table.iloc[start:stop], folder, number)
    return list_parts(path, made_by="data_split")


def sample_config(path: Path, max_rows: int = 100, **changes: Any) -> Any:
    config = make_config(**changes, max_rows=max_rows)
    return config.model_copy(update={"data_split": config.data_split.model_copy(update={"train_path": path})})


def test_sample_has_as_many_rows_as_allowed_in_their_order_whatever_the_parts(tmp_path: Path) -> None:
    table, found = make_table(n_rows=400), []
    for n_parts in (1, 4):
        path = tmp_path / f"{n_parts}.parquet"
        found.append(read_rows(write_parts(table, path, n_parts), sample_config(path, 100)))
    pd.testing.assert_frame_equal(found[0], found[1])
    assert len(found[0]) == 100
    assert found[0].index.is_monotonic_increasing
    pd.testing.assert_frame_equal(found[0], table.loc[found[0].index])
    # About as many from each quarter of the table.
    assert np.histogram(found[0].index, 4)[0].min() > 15


def test_table_that_is_small_enough_is_read_as_it_is(tmp_path: Path) -> None:
    table = make_table(n_rows=100)
    path = tmp_path / "t.parquet"
    read = read_rows(write_parts(table, path, 3), sample_config(path, 100))
    pd.testing.assert_frame_equal(read, table)
    assert isinstance(read.index, pd.RangeIndex)


def test_each_class_keeps_some_rows() -> None:
    target = pd.Series(["common"] * 5000 + ["rare"] * 3 + ["few"] * 10 + ["common"] * 5000)
    numbers = choose_rows([target[:5001], target[5001:]], 100, 5, random_state=0)
    assert len(numbers) == len(set(numbers)) == 100
    assert target[numbers].value_counts().to_dict() == {"common": 92, "few": 5, "rare": 3}
    plain = choose_rows([target], 100, 0, random_state=0)
    assert len(set(plain) & set(numbers)) == 92


def test_another_seed_chooses_other_rows() -> None:
    target = pd.Series(range(1000))
    first, second, other = (set(choose_rows([target], 100, 0, seed)) for seed in (1, 1, 2))
    assert first == second
    assert len(first & other) < 30


def test_too_many_classes_for_the_sample_are_an_error() -> None:
    target = pd.Series(range(60)).repeat(20)
    with pytest.raises(
        DataError, match=r"train\.max_rows = 100 is too small for two rows of each of 60 classes; raise"
    ):
        choose_rows([target], 100, 5, random_state=0)
