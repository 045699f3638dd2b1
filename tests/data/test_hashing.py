import numpy as np
import pandas as pd
import pytest

from src.data.hashing import hash_row_numbers, hash_values, highest_hash, merge_unique
from src.data.kinds import TEXT


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1.5, 0.0, np.nan, 7.0, 1.5]),
        pd.Series(["a", "é", None, "a", ""], dtype=TEXT),
        pd.Series(pd.to_datetime(["2024-01-01", "1950-01-01", None, "2024-01-01", "2024-01-02"])),
    ],
    ids=["numbers", "text", "dates"],
)
def test_hash_of_a_value_depends_on_the_value_and_the_seed_only(values: pd.Series) -> None:
    whole = hash_values(values, seed=1)
    assert [*hash_values(values[:2], seed=1), *hash_values(values[2:], seed=1)] == whole.tolist()
    assert not set(whole) & set(hash_values(values, seed=2))
    assert len(set(whole)) == values.nunique(dropna=False)


def test_hash_of_a_row_number_depends_on_its_position_in_the_table() -> None:
    whole = hash_row_numbers(0, 1000, seed=0)
    assert [*hash_row_numbers(0, 300, seed=0), *hash_row_numbers(300, 700, seed=0)] == whole.tolist()
    # Evenly distributed, within five standard deviations.
    assert abs((whole <= highest_hash(0.3)).sum() - 300) < 75


def test_highest_hash_of_no_and_of_all_hashes() -> None:
    assert [int(highest_hash(share)) for share in (0.0, 0.5, 1.0)] == [0, 2**63 - 1, 2**64 - 1]


def test_unique_hashes_are_merged_in_order() -> None:
    first, second, none = (np.array(hashes, dtype=np.uint64) for hashes in ([3, 1, 3], [2, 1], []))
    assert merge_unique(first, second, none).tolist() == [1, 2, 3]
    assert merge_unique(none).tolist() == []
