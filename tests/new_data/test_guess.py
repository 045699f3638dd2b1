from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.errors import DataError
from src.new_data import guess as guess_module
from src.new_data.__main__ import describe
from src.new_data.guess import Guess, guess_table

N = 60


def guess(tmp_path: Path, named: str | None = None, /, **columns: Any) -> Guess:
    path = tmp_path / "t.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return guess_table(path, named)


def guess_column(tmp_path: Path, values: Any) -> tuple[dict[str, Any], str]:
    found = guess(tmp_path, x=values, target=["a", "b"] * (len(values) // 2)).columns["x"]
    return found.declared, found.why


@pytest.mark.parametrize(
    ("names", "target", "reason"),
    [
        (["a", "Species", "b"], "Species", "its name is typical of a target"),
        (["y", "label", "b"], "label", "its name is typical of a target"),
        (["a", "b", "c"], "c", "the last column that can be one; set another with TARGET=…"),
    ],
)
def test_target_is_guessed_by_name_or_is_the_last_column(
    tmp_path: Path, names: list[str], target: str, reason: str
) -> None:
    assert guess(tmp_path, **{name: ["x", "y"] * 10 for name in names}).target == (target, reason)


def test_identifier_or_date_is_no_target(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=N).strftime("%d.%m.%Y")
    assert guess(tmp_path, a=[0.5, 1.5] * 30, customer_id=range(N), day=days).target[0] == "a"


def test_time_that_counts_the_rows_is_a_feature(tmp_path: Path) -> None:
    found = guess(tmp_path, time=range(N), obs=range(N), target=["a", "b"] * (N // 2)).columns
    assert (found["time"].declared, found["obs"].declared) == ({"kind": "number"}, {"kind": "ignore"})


def test_word_that_is_a_level_elsewhere_is_no_mark(tmp_path: Path) -> None:
    rows = ["yes", *map(str, range(100, 100 + N - 1))]
    assert guess(tmp_path, x=rows, z=["yes", "no"] * (N // 2), target=["a", "b"] * (N // 2)).source == {}
    assert guess(tmp_path, x=rows, target=["a", "b"] * (N // 2)).source["na_values"][0] == ["yes"]


def test_given_target_is_used(tmp_path: Path) -> None:
    assert guess(tmp_path, "a", a=[1, 2], target=["x", "y"]).target == ("a", "given as TARGET")
    with pytest.raises(DataError, match=r"^TARGET = 'gone' is not in the table; it has a, target\."):
        guess(tmp_path, "gone", a=[1, 2], target=["x", "y"])


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["x", "y"] * 10, "classification"),
        ([True, False] * 10, "classification"),
        ([0, 1] * 10, "classification"),
        ([1.0, 2.0, None, 1.0] * 10, "classification"),
        ([0.5, 1.0] * 10, "regression"),
        (list(range(100)), "regression"),
        ([1, 2, 3, 4], "regression"),
    ],
)
def test_task_depends_on_the_values_of_the_target(tmp_path: Path, values: list[Any], task: str) -> None:
    assert guess(tmp_path, x=range(len(values)), target=values).task[0] == task


@pytest.mark.parametrize(
    ("values", "declared", "reason"),
    [
        (np.linspace(0, 5, N), {"kind": "number"}, "0 to 5"),
        ([1, None] * (N // 2), {"kind": "number"}, "1 to 1, 30 of 60 missing"),
        (["u", "v", "w"] * (N // 3), {"kind": "category"}, "3 levels such as u, v, w"),
        ([f"v{position}" for position in range(N)], {"kind": "ignore"}, "different in each row, such as v0"),
        (
            [f"v{position} {position % 7}" for position in range(N - 2)] + ["v0 0"] * 2,
            {"kind": "high_cardinality"},
            "58 levels such as v0 0, v1 1, v2 2",
        ),
        ([True, False] * (N // 2), {"kind": "boolean"}, "2 values of type bool"),
        (["2024-01-31", "2024-02-01"] * (N // 2), {"kind": "date"}, "2024-01-31 to 2024-02-01"),
        (["31.01.2024", "01.02.2024"] * (N // 2), {"kind": "date", "format": "%d.%m.%Y"}, "dates such as 31.01.2024"),
        (["01/02/2024"] * N, {"kind": "date", "format": "%d/%m/%Y"}, "dates such as 01/02/2024, day first"),
        (["01/31/2024"] * N, {"kind": "date", "format": "%m/%d/%Y"}, "dates such as 01/31/2024"),
        (["007", "123"] * (N // 2), {"kind": "category"}, "codes with leading zeros"),
        ([None] * N, {"kind": "ignore"}, "no values"),
        ([*map(str, range(N - 1)), "A7"], {"kind": "high_cardinality"}, "numbers mixed with text, please check"),
    ],
)
def test_kind_of_a_column_is_guessed_with_a_reason(
    tmp_path: Path, values: Any, declared: dict[str, Any], reason: str
) -> None:
    assert guess_column(tmp_path, values) == (declared, reason)


@pytest.mark.parametrize("name", ["id", "customer_id", "ID", "rownames"])
def test_identifier_is_ignored(tmp_path: Path, name: str) -> None:
    found = guess(tmp_path, **{name: range(20)}, target=["x", "y"] * 10).columns[name]
    assert (found.declared, found.why) == ({"kind": "ignore"}, "an identifier by its name, different in each row")


def test_identifier_with_repeated_values_is_a_feature(tmp_path: Path) -> None:
    assert guess(tmp_path, id=[1, 2] * 10, target=["x", "y"] * 10).columns["id"].declared == {"kind": "number"}


def test_index_written_by_pandas_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame({"a": [1.5] * 20, "target": ["x", "y"] * 10}).to_csv(path)
    assert guess_table(path).columns["column_1"].declared == {"kind": "ignore"}


def test_mark_among_numbers_is_a_missing_value(tmp_path: Path) -> None:
    found = guess(tmp_path, x=["?", *map(str, range(N - 1))], target=["a", "b"] * (N // 2))
    assert found.source["na_values"] == (["?"], "'?' among other values")
    assert found.columns["x"].declared == {"kind": "number"}
    assert found.columns["x"].why == "0 to 58, 1 of 60 missing"


@pytest.mark.parametrize(
    "values",
    [
        ["?", "-", "*"],
        ["?", "1"],
        ["?", "-", "1", "2"],
        ["?", "low", "high"],
        ["A7", *map(str, range(29))],
        ["?", "A7", *map(str, range(28))],
    ],
)
def test_mark_in_other_columns_is_a_value(tmp_path: Path, values: list[str]) -> None:
    rows = [*values] * (N // len(values))
    assert guess(tmp_path, x=rows, target=["a", "b"] * (len(rows) // 2)).source == {}


def test_european_csv_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("größe;target\n1,5;café\n2,5;b\n".encode("cp1252"))
    found = guess_table(path)
    assert {name: value for name, (value, _) in found.source.items()} == {
        "encoding": "cp1252", "separator": ";", "decimal": ","
    }  # fmt: skip
    assert found.columns["größe"].declared == {"kind": "number"}


def test_missing_targets_rare_classes_and_dates_are_noted(tmp_path: Path) -> None:
    found = guess(tmp_path, day=["2024-01-31"] * 22, target=["x", "y"] * 10 + ["rare", None])
    assert found.n_missing_targets == 1
    assert sorted(found.notes) == [
        "1 of 3 classes have fewer than 10 rows: 'rare'",
        "the stratified split is not possible: too few rows of class 'rare' (1): a stratified split needs at least 2 "
        "of each class.",
        "to predict the future, set data_split.split: {kind: time, column: day}",
    ]


def test_split_by_time_is_suggested_for_dates_without_gaps(tmp_path: Path) -> None:
    gaps, full = ["2024-01-31", None] * 10, ["2024-01-31", "2024-02-01"] * 10
    labels = ["x", "x", "y", "y"] * 5
    (note,) = guess(tmp_path, seen=gaps, day=full, target=labels).notes
    assert "{kind: time, column: day}" in note
    assert guess(tmp_path, seen=gaps, target=labels).notes == []


def test_table_with_a_single_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has a single column, 'a'; check data_load\.source\.separator\."):
        guess(tmp_path, a=[1, 2])


def test_large_table_is_guessed_from_its_first_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"x": [*range(N), "?"], "target": ["a", "b"] * (N // 2) + ["a"]}
    whole = guess(tmp_path, **columns)
    assert (whole.n_rows, whole.is_sample) == (N + 1, False)
    monkeypatch.setattr(guess_module, "MAX_ROWS", N)
    found = guess(tmp_path, **columns)
    assert (found.n_rows, found.is_sample, "na_values" in found.source) == (N, True, False)
    first = describe(found, Path("t.csv")).splitlines()[0]
    assert first == f"t.csv: the first {N} rows × 2 columns; the table has more rows"


def test_parquet_is_guessed(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1.5, 2.5] * 10, "target": ["x", "y"] * 10}).to_parquet(tmp_path / "t.parquet")
    found = guess_table(tmp_path / "t.parquet")
    assert found.source == {}
    assert {name: column.declared for name, column in found.columns.items()} == {"a": {"kind": "number"}}


LISTS: list[Any] = [[[1, 2]] * N, [["a"], None] * (N // 2), [{"p": 1}] * N]


@pytest.mark.parametrize("values", LISTS)
def test_lists_and_structs_of_parquet_are_ignored(tmp_path: Path, values: list[Any]) -> None:
    columns = {"a": range(N), "v": values, "target": ["x", "y"] * (N // 2)}
    pd.DataFrame(columns).to_parquet(tmp_path / "t.parquet")
    found = guess_table(tmp_path / "t.parquet")
    assert found.columns["v"].declared == {"kind": "ignore"}
    assert found.columns["v"].why == "lists or other objects, which cannot be features"
    with pytest.raises(DataError, match="the target 'v' holds lists or other objects; set another with TARGET"):
        guess_table(tmp_path / "t.parquet", "v")


def test_dates_of_any_year_are_described(tmp_path: Path) -> None:
    columns = {"a": pd.Series([2**40] * N, dtype="datetime64[s]"), "target": ["x", "y"] * (N // 2)}
    pd.DataFrame(columns).to_parquet(tmp_path / "t.parquet")
    assert guess_table(tmp_path / "t.parquet").columns["a"].why == "36812-02-20 to 36812-02-20"


def test_fields_between_several_blanks_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("  a   target\n" + " 1.5   2\n10  30\n" * 10)
    found = guess_table(tmp_path / "t.txt")
    assert found.source["separator"][0] == "whitespace"
    assert found.columns["a"].why == "1.5 to 10"


def test_column_without_values_is_no_target(tmp_path: Path) -> None:
    columns = {"target": [None] * N, "a": range(N), "z": [None] * N}
    assert guess(tmp_path, **columns).target[0] == "a"
    with pytest.raises(DataError, match="the target 'z' has no values; set another with TARGET=…"):
        guess(tmp_path, "z", **columns)


@pytest.mark.parametrize("content", ["a,b", "\ufeff"])
def test_header_alone_has_no_rows(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"t\.csv has no rows\.$"):
        guess_table(tmp_path / "t.csv")


def test_columns_that_give_the_target_are_noted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 900, (2, 300))
    (note,) = guess(tmp_path, a=a, b=b, z=rng.normal(size=300), target=a + b).notes
    assert note.startswith("possible leak: 'a' + 'b' give the target")
    labels = rng.choice(["no", "yes"], 300)
    (note,) = guess(tmp_path, z=rng.normal(size=300), code=[f"c{len(label)}" for label in labels], target=labels).notes
    assert note.startswith("possible leak: 'code' (1.000): predicts the target almost perfectly")
