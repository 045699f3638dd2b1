import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from src.config.data_split import DataSplit
from src.config.schema import Base
from src.data_split.split import split_table
from src.errors import DataError


def split(
    table: pd.DataFrame, test_size: float = 0.2, random_state: int = 0, target: str = "target", **kind: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    base = Base(
        task="regression" if kind.pop("task", "") == "regression" else "classification",
        target_column=target,
        positive=None,
        random_state=random_state,
        log_level="INFO",
    )
    findings = dict.fromkeys(["leak", "duplicates", "constant", "identifier", "rare_class"], "warn")
    settings = DataSplit.model_validate(
        {
            "split": kind or {"kind": "stratified"},
            "test_size": test_size,
            "checks": findings,
            **{f"{name}_path": f"data/{name}.parquet" for name in ("train", "test", "checks", "data_report")},
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


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("kind", ["stratified", "random", "group"])
def test_drawn_rows_are_those_of_scikit_learn(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_rows, test_size = int(rng.integers(40, 400)), float(rng.uniform(0.15, 0.85))
    # Classes of equal and of unequal size, since ties are drawn too.
    labels = rng.choice(["a", "b", "c"], n_rows, p=[0.6, 0.3, 0.1]) if seed % 2 else np.array(["a", "b", "c"] * n_rows)
    table = pd.DataFrame({"row": range(n_rows), "target": labels[:n_rows], "g": rng.integers(0, 17, n_rows)})
    _, test = split(table, test_size, seed, kind=kind, **({"column": "g"} if kind == "group" else {}))
    if kind == "group":
        splitter = GroupShuffleSplit(1, test_size=test_size, random_state=seed)
        # Groups are numbered as they appear.
        ((_, expected),) = splitter.split(table, groups=pd.factorize(table["g"])[0])
    else:
        strata = table["target"] if kind == "stratified" else None
        _, expected = train_test_split(table["row"], test_size=test_size, random_state=seed, stratify=strata)
    assert rows(test) == sorted(expected)


def test_other_seed_gives_other_rows() -> None:
    table = make_table(a=30, b=20)
    (_, first), (_, second) = (split(table, test_size=0.2, random_state=seed) for seed in (1, 2))
    assert first["row"].tolist() != second["row"].tolist()


def test_class_of_a_single_row_is_named() -> None:
    with pytest.raises(DataError) as caught:
        split(make_table(a=30, b=20, rare=1), test_size=0.2, random_state=0)
    assert str(caught.value) == "too few rows of class 'rare' (1): a stratified split needs at least 2 of each class."


@pytest.mark.parametrize("test_size", [0.01, 0.99, 0.999])
def test_test_size_without_room_for_every_class_is_refused(test_size: float) -> None:
    with pytest.raises(DataError, match=rf"^data_split\.test_size = {test_size} cannot split 100 rows"):
        split(make_table(a=40, b=40, c=20), test_size, random_state=0)


@pytest.mark.parametrize("test_size", [0.05, 0.95])
def test_test_size_that_leaves_out_a_rare_class_is_refused(test_size: float) -> None:
    # Room for both classes, but 5 % of 6 rows are none.
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


def rows(part: pd.DataFrame) -> list[int]:
    return [int(row) for row in part["row"]]


DAYS = pd.DataFrame(
    {
        "row": range(8),
        "day": pd.to_datetime(["2024-01-0" + day for day in "42317658"]),
        "target": ["a", "b"] * 4,
    }
)


def test_newest_rows_are_the_test() -> None:
    train, test = split(DAYS, 0.25, kind="time", column="day")
    assert test["day"].min() > train["day"].max()
    assert rows(test) == [4, 7]


@pytest.mark.parametrize("test_size", [0.2, 0.4])
def test_rows_of_one_date_are_on_one_side(test_size: float) -> None:
    table = DAYS.assign(day=pd.to_datetime(["2024-01-01"] * 3 + ["2024-01-02"] * 5))
    train, test = split(table, test_size, kind="time", column="day")
    assert (rows(train), rows(test)) == ([0, 1, 2], [3, 4, 5, 6, 7])


def test_time_may_be_a_number() -> None:
    train, test = split(DAYS.assign(day=[2020, 2020, 2021, 2021] * 2), 0.5, kind="time", column="day")
    assert (set(train["day"]), set(test["day"])) == ({2020}, {2021})


def test_rows_of_a_single_date_cannot_be_split() -> None:
    with pytest.raises(DataError, match="reach back to the oldest date"):
        split(DAYS.assign(day=pd.Timestamp("2024-01-01")), kind="time", column="day")


@pytest.mark.parametrize("kind", ["time", "group"])
def test_rows_without_a_date_or_group_are_counted(kind: str) -> None:
    table = DAYS.assign(day=DAYS["day"].where(DAYS["row"] > 2))
    with pytest.raises(DataError, match=r"^data_split\.split\.column = 'day' is missing in 3 of 8 rows; fix or"):
        split(table, kind=kind, column="day")


@pytest.mark.parametrize("kind", ["time", "group"])
def test_missing_column_of_a_split_is_named_with_the_known_columns(kind: str) -> None:
    with pytest.raises(
        DataError, match=r"data_split\.split\.column = 'gone' is not in the table; its columns are row, day, target"
    ):
        split(DAYS, kind=kind, column="gone")


def test_text_as_time_is_refused_with_the_declaration_to_add() -> None:
    with pytest.raises(
        DataError, match=r"has dtype str, with values such as 'a'; .*declare data_load\.columns\.word: \{kind: date\}"
    ):
        split(DAYS.assign(word=["a"] * 8), kind="time", column="word")


def make_groups(n_groups: int = 20, size: int = 5) -> pd.DataFrame:
    table = make_table(a=n_groups * size // 2, b=n_groups * size // 2)
    return table.assign(patient=[f"p{row % n_groups}" for row in table["row"]])


def test_no_group_is_in_both_parts() -> None:
    train, test = split(make_groups(), 0.25, kind="group", column="patient")
    assert not set(train["patient"]) & set(test["patient"])
    assert test["patient"].nunique() == 5
    assert sorted([*rows(train), *rows(test)]) == list(range(100))


def test_groups_are_drawn_by_the_seed() -> None:
    drawn = [set(split(make_groups(), 0.25, seed, kind="group", column="patient")[1]["patient"]) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_single_group_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"^data_split\.test_size = 0\.2 cannot split 1 groups of 'patient' \("):
        split(make_groups(n_groups=1, size=10), kind="group", column="patient")


def test_random_split_uses_every_row_once() -> None:
    for task in ("classification", "regression"):
        table = DAYS.assign(target=[0.5, 1.5] * 4) if task == "regression" else DAYS
        train, test = split(table, 0.25, kind="random", task=task)
        assert sorted([*rows(train), *rows(test)]) == list(range(8))
        assert len(test) == 2


def test_class_without_training_rows_is_refused() -> None:
    table = DAYS.assign(target=np.where(DAYS["day"] < "2024-01-08", "old", "new"), row=range(8))
    table.loc[0, "target"] = "other"
    with pytest.raises(DataError, match=r"^class 'new' has no training rows, so no model can learn it"):
        split(table, 0.25, kind="time", column="day")


def test_too_few_rows_for_a_random_split_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"^data_split\.test_size = 0\.99 cannot split 2 rows \(.*train set will be empty"
    ):
        split(DAYS.head(2), 0.99, kind="random")
