import numpy as np
import pandas as pd
import pytest

from src.config.schema import Base, DataSplit
from src.data.split import split_table
from src.errors import DataError


def split(
    table: pd.DataFrame, test_size: float = 0.2, random_state: int = 0, target: str = "target", **kind: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    base = Base(
        task="regression" if kind.pop("task", "") == "regression" else "classification",
        target_column=target,
        random_state=random_state,
        log_level="INFO",
    )
    traps = dict.fromkeys(["leak", "duplicates", "constant", "identifier", "rare_class"], "warn")
    settings = DataSplit.model_validate(
        {
            "split": kind or {"kind": "stratified"},
            "test_size": test_size,
            "traps": traps,
            **{f"{name}_path": f"{name}.parquet" for name in ("train", "test", "traps")},
        }
    )
    return split_table(table, base, settings)


def make_table(**n_rows: int) -> pd.DataFrame:
    target = np.repeat(list(n_rows), list(n_rows.values()))
    shuffled = np.random.default_rng(0).permutation(target)
    return pd.DataFrame({"row": np.arange(len(shuffled)), "target": shuffled})


def counts(table: pd.DataFrame) -> dict[str, int]:
    return dict(table["target"].value_counts())


def test_split_keeps_the_class_ratio() -> None:
    train, test = split(make_table(a=100, b=50, c=20), test_size=0.2, random_state=1)
    assert counts(train) == {"a": 80, "b": 40, "c": 16}
    assert counts(test) == {"a": 20, "b": 10, "c": 4}


@pytest.mark.parametrize("test_size", [0.1, 0.25, 0.5, 0.8])
def test_every_row_is_in_exactly_one_part(test_size: float) -> None:
    table = make_table(a=61, b=40)
    train, test = split(table, test_size, random_state=0)
    assert sorted([*train["row"], *test["row"]]) == table["row"].tolist()
    assert abs(len(test) - test_size * len(table)) <= 1


def test_rows_keep_the_order_and_the_values_of_the_table() -> None:
    table = make_table(a=30, b=20)
    for part in split(table, test_size=0.3, random_state=0):
        pd.testing.assert_frame_equal(part, table.loc[part.index])
        assert part["row"].is_monotonic_increasing


def test_same_seed_gives_the_same_rows() -> None:
    table = make_table(a=30, b=20)
    first, second = (split(table, test_size=0.2, random_state=7) for _ in range(2))
    pd.testing.assert_frame_equal(first[0], second[0])
    pd.testing.assert_frame_equal(first[1], second[1])


def test_other_seed_gives_other_rows() -> None:
    table = make_table(a=30, b=20)
    (_, first), (_, second) = (split(table, test_size=0.2, random_state=seed) for seed in (1, 2))
    assert first["row"].tolist() != second["row"].tolist()


def test_class_of_a_single_row_is_named() -> None:
    with pytest.raises(DataError) as caught:
        split(make_table(a=30, b=20, rare=1), test_size=0.2, random_state=0)
    assert str(caught.value) == "too few rows of class 'rare' (1): a stratified split needs at least 2 of each class."


@pytest.mark.parametrize("test_size", [0.01, 0.99, 0.999])
def test_share_that_has_no_room_for_every_class_is_refused(test_size: float) -> None:
    with pytest.raises(DataError, match=rf"^data_split\.test_size = {test_size} leaves no row of some class on one"):
        split(make_table(a=40, b=40, c=20), test_size, random_state=0)


@pytest.mark.parametrize("test_size", [0.05, 0.95])
def test_share_that_leaves_out_a_rare_class_is_refused(test_size: float) -> None:
    # Room for both classes, but 5 % of 6 rows are none: no metric of that class could be told.
    with pytest.raises(DataError, match=rf"data_split\.test_size = {test_size}"):
        split(make_table(a=994, rare=6), test_size, random_state=0)


def test_missing_target_is_named() -> None:
    with pytest.raises(DataError, match=r"base\.target_column = 'species' is not in the table"):
        split(make_table(a=4, b=4), 0.5, target="species")


@pytest.mark.parametrize("labels", [[0, 1], [True, False], [1.0, 2.0]])
def test_labels_need_not_be_text(labels: list[object]) -> None:
    table = pd.DataFrame({"row": range(20), "target": labels * 10})
    _, test = split(table, test_size=0.2, random_state=0)
    assert test["target"].value_counts().tolist() == [2, 2]
