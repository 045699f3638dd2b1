import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.compute.engine import Engine
from src.config.data_split import DataSplit
from src.config.schema import Base
from src.data.files import read_table
from src.data.parts import list_parts, new_table, write_part
from src.data_split import select
from src.data_split import split as split_module
from src.data_split.split import plan_split, write_split
from src.errors import DataError


def split_and_sample(
    table: pd.DataFrame,
    test_size: float = 0.2,
    random_state: int = 0,
    target: str = "target",
    n_parts: int = 1,
    **kind: str,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Split a table that is divided into parts, and return the training rows, the test rows and the sample."""
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
    with TemporaryDirectory() as folder:
        paths = [Path(folder, f"{name}.parquet") for name in ("table", "train", "test")]
        with new_table(paths[0]) as parts:
            for number, rows in enumerate(np.array_split(np.arange(len(table)), n_parts)):
                write_part(table.iloc[rows], parts, number)
        features = list_parts(paths[0], made_by="featurize")
        plan = plan_split(features, base, settings, Engine())
        with new_table(paths[1]) as train, new_table(paths[2]) as test:
            sample = write_split(features, plan, train, test, Engine()).sample
        return (*(read_table(path, made_by="data_split") for path in paths[1:]), sample)


def split(table: pd.DataFrame, *args: Any, **kwargs: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training and the test rows."""
    return split_and_sample(table, *args, **kwargs)[:2]


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


@pytest.mark.parametrize("n_parts", [1, 3])
def test_rows_keep_the_order_and_the_values_of_the_table(n_parts: int) -> None:
    table = make_table(a=30, b=20)
    for side in split(table, test_size=0.3, n_parts=n_parts):
        pd.testing.assert_frame_equal(side, table.iloc[rows(side)].reset_index(drop=True))
        assert side["row"].is_monotonic_increasing


def test_same_seed_gives_the_same_rows() -> None:
    table = make_table(a=30, b=20)
    first, second = (split(table, test_size=0.2, random_state=7) for _ in range(2))
    pd.testing.assert_frame_equal(first[0], second[0])
    pd.testing.assert_frame_equal(first[1], second[1])


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("stratified", None), ("stratified", "id"), ("random", None), ("random", "id"), ("hash", "id"),
        ("group", "patient"), ("time", "day"),
    ],
)  # fmt: skip
def test_parts_change_no_side(kind: str, column: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    table, settings = make_visits(), {"kind": kind} | ({} if column is None else {"column": column})
    expected = split(table, 0.3, **settings)
    assert 0 < len(expected[1]) < len(expected[0])
    # Then the keys of this table are too many to be sorted at once.
    monkeypatch.setattr(select, "MAX_KEYS", 10)
    monkeypatch.setattr(select, "MAX_BINS", 256)
    for n_parts in (1, 6):
        for side, same in zip(split(table, 0.3, n_parts=n_parts, **settings), expected, strict=True):
            pd.testing.assert_frame_equal(side, same)


@pytest.mark.parametrize(
    ("kind", "column"),
    [("stratified", "id"), ("random", "id"), ("hash", "id"), ("group", "patient"), ("time", "day")],
)
def test_order_of_the_rows_changes_no_side(kind: str, column: str) -> None:
    table = make_visits()
    expected = split(table, 0.3, kind=kind, column=column)
    shuffled = split(table.sample(frac=1, random_state=1), 0.3, n_parts=4, kind=kind, column=column)
    assert [sorted(rows(side)) for side in shuffled] == [rows(side) for side in expected]


@pytest.mark.parametrize("column", ["id", "name"])
def test_row_keeps_its_side_when_the_table_grows(column: str) -> None:
    table = make_visits()
    _, before = split(table.head(150), kind="hash", column=column)
    _, after = split(table, kind="hash", column=column)
    assert rows(before) == [row for row in rows(after) if row < 150]


@pytest.mark.parametrize("kind", ["random", "stratified", "hash"])
def test_rows_of_one_class_with_equal_ids_stay_together(kind: str) -> None:
    table = make_visits().assign(id=lambda rows: rows["row"] // 3)
    train, test = split(table, kind=kind, column="id")
    for label in ("a", "b", "c"):
        sides = [set(side.loc[side["target"] == label, "id"]) for side in (train, test)]
        assert not sides[0] & sides[1]


@pytest.mark.parametrize(("kind", "n_test"), [("random", 24), ("stratified", 24), ("time", 24), ("group", None)])
def test_share_is_exact(kind: str, n_test: int | None) -> None:
    column = {"time": {"column": "row"}, "group": {"column": "patient"}}.get(kind, {})
    _, test = split(make_table(a=40, b=50, c=30).assign(patient=lambda rows: rows["row"] % 40), kind=kind, **column)
    assert test["patient"].nunique() == 8 if n_test is None else len(test) == n_test


def test_test_rows_of_a_hash_split_are_about_the_share() -> None:
    table = make_table(a=5_000, b=5_000)
    for seed in range(3):
        _, test = split(table, random_state=seed, kind="hash", column="row")
        # Four standard deviations.
        assert abs(len(test) - 2_000) < 160


@pytest.mark.parametrize("kind", ["random", "hash", "stratified"])
def test_sides_of_seeds_and_of_neighbours_are_independent(kind: str) -> None:
    table, column = make_table(a=5_000, b=5_000), {"column": "row"} if kind == "hash" else {}
    first, second = (set(rows(split(table, random_state=seed, kind=kind, **column)[1])) for seed in (1, 2))
    # A fifth of a fifth, within five standard deviations.
    assert abs(len(first & second) - 400) < 100
    assert abs(len({row + 1 for row in first} & first) - 400) < 100


def make_visits() -> pd.DataFrame:
    """Make rows with unique ids and names, patients, and days that are not in order."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "row": range(240),
            "id": rng.permutation(240) * 1.0,
            "name": [f"visit {row}" for row in range(240)],
            "patient": [f"p{number}" for number in rng.integers(0, 40, 240)],
            "day": pd.Timestamp("1969-12-01") + pd.to_timedelta(rng.integers(0, 60, 240), "D"),
            "target": rng.choice(["a", "b", "c"], 240, p=[0.6, 0.3, 0.1]),
        }
    )


def test_other_seed_gives_other_rows() -> None:
    table = make_table(a=30, b=20)
    (_, first), (_, second) = (split(table, test_size=0.2, random_state=seed) for seed in (1, 2))
    assert first["row"].tolist() != second["row"].tolist()


def test_class_of_a_single_row_is_named() -> None:
    with pytest.raises(DataError) as caught:
        split(make_table(a=30, b=20, rare=1), test_size=0.2, random_state=0)
    assert str(caught.value) == "too few rows of class 'rare' (1): a stratified split needs at least 2 of each class."


@pytest.mark.parametrize("test_size", [0.001, 0.01, 0.99, 0.999])
def test_each_class_has_rows_on_both_sides(test_size: float) -> None:
    for side in split(make_table(a=40, b=40, rare=2), test_size):
        assert set(side["target"]) == {"a", "b", "rare"}


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


@pytest.mark.parametrize("kind", ["time", "group", "hash", "random", "stratified"])
def test_rows_without_a_date_or_group_are_counted(kind: str) -> None:
    table = DAYS.assign(day=DAYS["day"].where(DAYS["row"] > 2))
    for n_parts in (1, 4):
        with pytest.raises(DataError, match=r"^data_split\.split\.column = 'day' is missing in 3 of 8 rows; fix or"):
            split(table, kind=kind, column="day", n_parts=n_parts)


@pytest.mark.parametrize("kind", ["time", "group", "hash", "random", "stratified"])
def test_missing_column_of_a_split_is_named_with_the_known_columns(kind: str) -> None:
    with pytest.raises(
        DataError, match=r"data_split\.split\.column = 'gone' is not in the table; its columns are row, day, target"
    ):
        split(DAYS, kind=kind, column="gone")


@pytest.mark.parametrize("kind", ["group", "hash", "random", "stratified"])
def test_lists_cannot_be_ids(kind: str) -> None:
    with pytest.raises(DataError, match=r"'day' holds lists or other values that cannot be compared; choose"):
        split(DAYS.assign(day=[[1], [2]] * 4), kind=kind, column="day")


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


@pytest.mark.parametrize(
    ("kind", "side"), [("group", "test"), ("random", "test"), ("stratified", "test"), ("hash", "training")]
)
def test_single_group_or_id_cannot_be_split(kind: str, side: str) -> None:
    with pytest.raises(DataError) as caught:
        split(make_groups(n_groups=1, size=10), kind=kind, column="patient")
    assert str(caught.value) == (
        f"data_split.split = {{kind: {kind}, column: patient}} with data_split.test_size = 0.2 makes all 10 rows "
        f"{side} rows; choose another column, split or fraction, or provide more rows."
    )


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


def test_two_rows_are_split() -> None:
    assert [len(side) for side in split(DAYS.head(2), 0.99, kind="random", task="regression", target="row")] == [1, 1]


def test_missing_and_single_targets_of_parts_are_counted_in_the_whole_table() -> None:
    table = make_table(a=30).assign(target="a")
    with pytest.raises(DataError, match="'target' holds only the value 'a'"):
        split(table, n_parts=3)
    table.loc[[1, 12, 29], "target"] = None
    with pytest.raises(DataError, match="'target' is missing in 3 of 30 rows"):
        split(table, n_parts=3)
    # Each part has a single class.
    assert counts(split(make_table(a=10).assign(target=["a"] * 5 + ["b"] * 5), n_parts=2)[1]) == {"a": 1, "b": 1}


@pytest.mark.parametrize("days", [[5, -3, 0, 2], [0.5, -1.5, -0.25, 1e9], [True, False, False, True]], ids=str)
@pytest.mark.parametrize("dtype", [None, "uint64"])
def test_numbers_of_any_dtype_are_ordered(days: list[float], dtype: str | None) -> None:
    values = pd.Series(days) if dtype is None else pd.Series(days).abs().round().astype(dtype)
    keys = select.order_keys(values)
    assert np.argsort(keys, kind="stable").tolist() == np.argsort(values, kind="stable").tolist()


def test_border_of_a_split_by_time_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        split(DAYS, 0.25, n_parts=3, kind="time", column="day")
    assert "the test rows begin at day = 2024-01-07 00:00:00" in caplog.text


def test_few_training_rows_are_the_sample() -> None:
    train, _, sample = split_and_sample(make_table(a=30, b=20), n_parts=3)
    pd.testing.assert_frame_equal(sample, train)


def test_sample_of_many_training_rows_does_not_depend_on_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_module, "MAX_SAMPLE", 50)
    table = make_table(a=250, b=250)
    train, _, sample = split_and_sample(table, kind="random")
    assert 30 <= len(sample) <= 70
    assert set(rows(sample)) < set(rows(train))
    pd.testing.assert_frame_equal(split_and_sample(table, kind="random", n_parts=5)[2], sample)
