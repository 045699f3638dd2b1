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


def hold(
    config: Config, table: pd.DataFrame, declared: dict[str, Any], recorded: dict[str, Any] | None = None
) -> pd.DataFrame:
    columns = infer_columns(table.drop(columns="target"), (recorded or {}) | declared)
    return check_table(table, columns, declared, recorded or {}, config)


@pytest.fixture
def config(load: Load) -> Config:
    return load({})


def test_all_faults_come_in_one_report_with_counts_and_example_rows(config: Config) -> None:
    with pytest.raises(DataError) as caught:
        hold(config, TABLE, DECLARED)
    headline, *faults = str(caught.value).splitlines()
    assert headline == (
        "the table has 8 faults; mend the table, or declare the column in data_load.columns of params.yaml:"
    )
    assert faults == [
        "  column 'gone' is declared in data_load, and is not in the table",
        "  column 'age': 1 of 4 values are below min = 0, as -1.0 in row 2",
        "  column 'age': 1 of 4 values are above max = 120, as 200.0 in row 3",
        "  column 'size': 1 of 4 values are missing, as row 4",
        "  column 'size': 1 of 4 values are not in order = ['S', 'M', 'L'], as 'XXL' in row 3",
        "  column 'smokes' holds 1 of 4 values that are no boolean, as 'perhaps' in row 3",
        "  column 'day' holds 1 of 4 values that are no date, as '31.1.2024' in row 2 "
        "(a date is ISO 8601, as 2024-01-31, or declared with its format, as %d.%m.%Y)",
        "  column 'target': 1 of 4 values are none of values = ['a', 'b'], as 'c' in row 4",
    ]


def test_table_that_is_as_declared_passes_in_the_dtypes_of_its_kinds(config: Config) -> None:
    declared = {name: column for name, column in DECLARED.items() if name != "gone"}
    table = TABLE.iloc[[0]].reset_index(drop=True)
    held = hold(config, table, declared)
    assert [str(dtype) for dtype in held.dtypes] == ["float64", "str", "float64", "datetime64[us]", "str"]
    assert list(held.columns) == list(TABLE.columns)


def test_single_fault_is_one_line(config: Config) -> None:
    with pytest.raises(DataError) as caught:
        hold(config, TABLE, {"age": {"kind": "number", "max": 120}})
    assert str(caught.value) == (
        "column 'age': 1 of 4 values are above max = 120, as 200.0 in row 3; mend the table, or declare the column "
        "in data_load.columns of params.yaml."
    )


def test_infinite_values_are_refused_though_nothing_is_declared(config: Config) -> None:
    table = TABLE.assign(age=[1.0, np.inf, -np.inf, np.nan])
    with pytest.raises(
        DataError, match=r"^column 'age' holds 2 of 4 values that are no finite number, as inf in row 2"
    ):
        hold(config, table, {})


@pytest.mark.parametrize(
    ("declared", "column", "n_faults"),
    [
        ({"kind": "number", "values": [1, 2]}, [1, 2, 3, 3], 2),
        ({"kind": "boolean", "values": [True]}, [True, False, True, True], 1),
        ({"kind": "date", "values": ["2024-01-31"]}, ["2024-01-31", "2024-02-01", None, None], 1),
        ({"kind": "category", "values": [1, "x"]}, ["1", "x", "y", None], 1),
        ({"kind": "number", "missing": False}, [1.0, None, None, 2.0], 2),
        ({"kind": "number", "missing": False, "min": 0}, [None, None, None, None], 4),
    ],
)
def test_values_are_compared_as_their_kind(
    config: Config, declared: dict[str, Any], column: list[Any], n_faults: int
) -> None:
    if "order" not in declared and declared["kind"] == "category":
        declared = declared | {"values": [str(value) for value in declared["values"]]}
    with pytest.raises(DataError, match=rf"^column 'x': {n_faults} of 4 values are "):
        hold(config, pd.DataFrame({"x": column, "target": TABLE["target"]}), {"x": declared})


RECORDED = {"age": {"kind": "number"}, "size": {"kind": "category"}}


def test_new_version_of_the_table_is_held_to_the_recorded_kinds_and_columns(config: Config) -> None:
    new = pd.DataFrame({"age": ["30", "old"], "extra": [1, 2], "target": ["a", "b"]})
    with pytest.raises(DataError) as caught:
        hold(config, new, {}, RECORDED)
    headline, *faults = str(caught.value).splitlines()
    assert headline == (
        "the table has 3 faults; mend the table, or declare the column in data_load.columns of params.yaml, or delete "
        "data/schema.json, to which this table was held, and all kinds are inferred anew:"
    )
    assert faults == [
        "  column 'size' was in the table when the kinds were inferred, and is not now",
        "  column 'extra' was not in the table when the kinds were inferred",
        "  column 'age' holds 1 of 2 values that are no finite number, as 'old' in row 2",
    ]


def test_declaring_a_new_column_is_a_remedy(config: Config) -> None:
    new = pd.DataFrame({"age": [30], "size": ["S"], "extra": [1], "target": ["a"]})
    assert "extra" in hold(config, new, {"extra": {"kind": "number"}}, RECORDED)


def test_number_that_became_text_is_read_as_the_category_that_it_was(config: Config) -> None:
    new = pd.DataFrame({"age": ["30", "40"], "size": [1, 2], "target": ["a", "b"]})
    held = hold(config, new, {}, RECORDED)
    assert held["age"].tolist() == [30.0, 40.0]
    assert held["size"].tolist() == ["1", "2"]


def test_hundreds_of_faults_are_counted_and_the_first_told(config: Config) -> None:
    table = pd.DataFrame({f"x{position}": [np.inf] for position in range(300)} | {"target": ["a"]})
    with pytest.raises(DataError) as caught:
        hold(config, table, {})
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("the table has 300 faults; ")
    assert lines[-1] == "  and 280 more"
    assert len(lines) == 22
