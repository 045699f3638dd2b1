from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.config.schema import Config
from src.data_load.infer import infer_columns
from src.data_load.validate import check_table
from src.errors import DataError
from tests.config.conftest import Load

TABLE = pd.DataFrame(
    {
        "age": [30, -1, 200, 40],
        "size": ["S", "M", "XXL", None],
        "smokes": ["yes", "no", "perhaps", None],
        "day": ["2024-01-31", "31.1.2024", None, "2024-02-01"],
        "target": ["a", "b", "a", "c"],
    }
)
DECLARED: dict[str, dict[str, Any]] = {
    "age": {"kind": "number", "min": 0, "max": 120},
    "size": {"kind": "ordinal", "order": ["S", "M", "L"], "missing": False},
    "smokes": {"kind": "boolean"},
    "day": {"kind": "date"},
    "target": {"kind": "category", "values": ["a", "b"]},
    "gone": {"kind": "number"},
}


def check(
    config: Config, table: pd.DataFrame, declared: dict[str, Any], recorded: dict[str, Any] | None = None
) -> pd.DataFrame:
    columns = infer_columns(table.drop(columns="target"), (recorded or {}) | declared)
    return check_table(table, columns, declared, recorded or {}, config)


@pytest.fixture
def config(load: Load) -> Config:
    return load({})


def test_all_problems_are_reported_with_counts_and_examples(config: Config) -> None:
    with pytest.raises(DataError) as caught:
        check(config, TABLE, DECLARED)
    headline, *problems = str(caught.value).splitlines()
    assert headline == (
        "the table has 8 problems; fix the table, or declare the column in data_load.columns of params.yaml:"
    )
    assert problems == [
        "  column 'gone' is declared in data_load, but is not in the table",
        "  column 'age': 1 of 4 values are below min = 0, for example -1.0 in row 2",
        "  column 'age': 1 of 4 values are above max = 120, for example 200.0 in row 3",
        "  column 'size': 1 of 4 values are missing, for example in row 4",
        "  column 'size': 1 of 4 values are not in order = ['S', 'M', 'L'], for example 'XXL' in row 3",
        "  column 'smokes': 1 of 4 values are not booleans, for example 'perhaps' in row 3",
        "  column 'day': 1 of 4 values are not dates, for example '31.1.2024' in row 2 "
        "(write dates as ISO 8601, such as 2024-01-31, or declare their format, such as %d.%m.%Y)",
        "  column 'target': 1 of 4 values are not in values = ['a', 'b'], for example 'c' in row 4",
    ]


def test_valid_table_gets_the_dtypes_of_its_kinds(config: Config) -> None:
    declared = {name: column for name, column in DECLARED.items() if name != "gone"}
    table = TABLE.iloc[[0]].reset_index(drop=True)
    checked = check(config, table, declared)
    assert [str(dtype) for dtype in checked.dtypes] == ["float64", "str", "float64", "datetime64[us]", "str"]
    assert list(checked.columns) == list(TABLE.columns)


def test_single_problem_is_one_line(config: Config) -> None:
    with pytest.raises(DataError) as caught:
        check(config, TABLE, {"age": {"kind": "number", "max": 120}})
    assert str(caught.value) == (
        "column 'age': 1 of 4 values are above max = 120, for example 200.0 in row 3; fix the table, or declare the "
        "column in data_load.columns of params.yaml."
    )


def test_infinite_values_are_refused_without_a_declaration(config: Config) -> None:
    table = TABLE.assign(age=[1.0, np.inf, -np.inf, np.nan])
    with pytest.raises(
        DataError, match=r"^column 'age': 2 of 4 values are not finite numbers, for example inf in row 2"
    ):
        check(config, table, {})


def test_dates_are_no_numbers_above_a_minimum(config: Config) -> None:
    table = pd.DataFrame({"x": pd.to_datetime(["2024-01-31"] * 4), "target": TABLE["target"]})
    with pytest.raises(DataError, match=r"^column 'x': 4 of 4 values are not finite numbers"):
        check(config, table, {"x": {"kind": "number", "min": 0}})


@pytest.mark.parametrize(
    ("declared", "column", "n_invalid"),
    [
        ({"kind": "number", "values": [1, 2]}, [1, 2, 3, 3], 2),
        ({"kind": "boolean", "values": [True]}, [True, False, True, True], 1),
        ({"kind": "date", "values": ["2024-01-31"]}, ["2024-01-31", "2024-02-01", None, None], 1),
        ({"kind": "category", "values": [1, "x"]}, ["1", "x", "y", None], 1),
        ({"kind": "number", "missing": False}, [1.0, None, None, 2.0], 2),
        ({"kind": "number", "missing": False, "min": 0}, [None, None, None, None], 4),
    ],
)
def test_values_are_compared_by_their_kind(
    config: Config, declared: dict[str, Any], column: list[Any], n_invalid: int
) -> None:
    if "order" not in declared and declared["kind"] == "category":
        declared = declared | {"values": [str(value) for value in declared["values"]]}
    with pytest.raises(DataError, match=rf"^column 'x': {n_invalid} of 4 values are "):
        check(config, pd.DataFrame({"x": column, "target": TABLE["target"]}), {"x": declared})


RECORDED = {"age": {"kind": "number"}, "size": {"kind": "category"}}


def test_new_version_of_the_table_is_checked_against_the_recorded_columns(config: Config) -> None:
    new = pd.DataFrame({"age": ["30", "old"], "extra": [1, 2], "target": ["a", "b"]})
    with pytest.raises(DataError) as caught:
        check(config, new, {}, RECORDED)
    headline, *problems = str(caught.value).splitlines()
    assert headline == (
        "the table has 3 problems; fix the table, or declare the column in data_load.columns of params.yaml, or delete "
        "data/schema.json, which records the earlier version, to infer all kinds again:"
    )
    assert problems == [
        "  column 'size' was in the table when the kinds were inferred, but is missing now",
        "  column 'extra' was not in the table when the kinds were inferred",
        "  column 'age': 1 of 2 values are not finite numbers, for example 'old' in row 2",
    ]


def test_new_column_may_be_declared(config: Config) -> None:
    new = pd.DataFrame({"age": [30], "size": ["S"], "extra": [1], "target": ["a"]})
    assert "extra" in check(config, new, {"extra": {"kind": "number"}}, RECORDED)


def test_new_version_keeps_the_recorded_kinds(config: Config) -> None:
    new = pd.DataFrame({"age": ["30", "40"], "size": [1, 2], "target": ["a", "b"]})
    checked = check(config, new, {}, RECORDED)
    assert checked["age"].tolist() == [30.0, 40.0]
    assert checked["size"].tolist() == ["1", "2"]


def test_only_the_first_of_many_problems_are_listed(config: Config) -> None:
    table = pd.DataFrame({f"x{position}": [np.inf] for position in range(300)} | {"target": ["a"]})
    with pytest.raises(DataError) as caught:
        check(config, table, {})
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("the table has 300 problems; ")
    assert lines[-1] == "  and 280 more"
    assert len(lines) == 22
