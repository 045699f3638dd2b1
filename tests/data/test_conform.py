import numpy as np
import pandas as pd
import pytest

from src.data.conform import convert_columns
from src.errors import DataError

COLUMNS = {
    "n": {"kind": "number"},
    "c": {"kind": "category"},
    "o": {"kind": "ordinal", "order": ["low", "high"]},
    "b": {"kind": "boolean"},
    "d": {"kind": "date"},
    "i": {"kind": "ignore"},
}
ROWS = pd.DataFrame(
    {
        "n": ["1", ""],
        "c": ["x", None],
        "o": ["high", "middle"],
        "b": ["yes", None],
        "d": ["2024-01-31", None],
        "i": [1, 2],
        "other": [3, 4],
    }
)


def test_each_column_gets_the_dtype_of_its_kind_and_others_pass() -> None:
    rows = convert_columns(ROWS, COLUMNS)
    assert [str(dtype) for dtype in rows.dtypes] == [
        "float64", "str", "str", "float64", "datetime64[us]", "int64", "int64"
    ]  # fmt: skip
    assert list(rows.columns) == list(ROWS.columns)


def test_missing_values_stay_missing_and_an_unknown_level_of_an_ordinal_is_missing() -> None:
    rows = convert_columns(ROWS, COLUMNS)
    assert rows.iloc[1].isna().tolist() == [True, True, True, True, True, False, False]
    assert rows.loc[0, "o"] == "high"


def test_rows_that_conform_stay_as_they_are() -> None:
    rows = convert_columns(ROWS, COLUMNS)
    pd.testing.assert_frame_equal(convert_columns(rows, COLUMNS), rows)


def test_input_is_not_changed_and_index_is_kept() -> None:
    raw = ROWS.set_index(pd.Index([7, 3]))
    before = raw.copy()
    rows = convert_columns(raw, COLUMNS)
    rows.loc[7, "n"] = -1.0
    pd.testing.assert_frame_equal(raw, before)
    assert rows.index.tolist() == [7, 3]


def test_typed_rows_and_rows_of_a_csv_become_the_same() -> None:
    typed = pd.DataFrame(
        {
            "n": [1.0, np.nan],
            "c": pd.Categorical(["x", None]),
            "o": ["high", None],
            "b": pd.array([True, None], dtype="boolean"),
            "d": pd.to_datetime(["2024-01-31", None]),
        }
    )
    known = {name: column for name, column in COLUMNS.items() if name != "i"}
    pd.testing.assert_frame_equal(convert_columns(typed, known), convert_columns(ROWS[list(known)], known))


def test_rows_without_a_column_name_it_and_what_is_needed() -> None:
    with pytest.raises(DataError, match=r"^the rows lack column 'c', 'd'; these are needed: n, c, o, b, d\.$"):
        convert_columns(ROWS.drop(columns=["c", "d", "i"]), COLUMNS)


def test_rows_of_a_later_piece_are_counted_from_the_first() -> None:
    with pytest.raises(DataError, match="as 'x' in row 12"):
        convert_columns(pd.DataFrame({"n": ["1", "x"]}), {"n": {"kind": "number"}}, offset=10)


def test_column_that_is_there_twice_is_named() -> None:
    with pytest.raises(DataError, match=r"^column 'n' is there more than once"):
        convert_columns(pd.concat([ROWS, ROWS[["n"]]], axis="columns"), COLUMNS)


def test_value_of_another_kind_is_named_with_its_row() -> None:
    with pytest.raises(DataError) as caught:
        convert_columns(pd.DataFrame({"n": ["1", "x", "2", "y", "z", "q"]}), {"n": {"kind": "number"}})
    assert str(caught.value) == (
        "column 'n' holds 4 of 6 values that are no finite number, as 'x' in row 2, 'y' in row 4, 'z' in row 5."
    )


def test_ten_thousand_columns_are_brought_to_their_kinds() -> None:
    names = [f"x{position}" for position in range(10_000)]
    rows = convert_columns(
        pd.DataFrame(np.ones((2, 10_000), dtype=int), columns=names), {name: {"kind": "number"} for name in names}
    )
    assert rows.shape == (2, 10_000)
    assert set(rows.dtypes) == {np.dtype("float64")}
