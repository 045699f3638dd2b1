from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.kinds import DATE, TEXT, convert, convert_columns, text_of
from src.errors import DataError

NAN = float("nan")
DTYPES: dict[str, Any] = {
    "number": np.dtype("float64"),
    "boolean": np.dtype("float64"),
    "category": TEXT,
    "ordinal": TEXT,
    "high_cardinality": TEXT,
    "date": DATE,
}


def values(column: pd.Series) -> list[Any]:
    return [None if pd.isna(value) else value for value in column]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (pd.Series([1, 2]), [1.0, 2.0]),
        (pd.Series([1, None], dtype="Int64"), [1.0, None]),
        (pd.Series([1.5, None], dtype="float32"), [1.5, None]),
        (pd.Series([True, False]), [1.0, 0.0]),
        (pd.Series(["1.5", " 2 ", "", None, "NaN", "1e3"]), [1.5, 2.0, None, None, None, 1000.0]),
        (pd.Series(["1", 2, None, True], dtype=object), [1.0, 2.0, None, 1.0]),
        (pd.Series([Decimal("1.25"), None], dtype=object), [1.25, None]),
        (pd.Series(["1", "2", "1"], dtype="category"), [1.0, 2.0, 1.0]),
        (pd.Series([None, None], dtype=object), [None, None]),
    ],
)
def test_values_are_converted_to_numbers(raw: pd.Series, expected: list[float | None]) -> None:
    column, wrong = convert(raw, {"kind": "number"})
    assert wrong is None
    assert values(column) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (pd.Series([True, False]), [1.0, 0.0]),
        (pd.Series([True, None], dtype="boolean"), [1.0, None]),
        (pd.Series([True, None, False], dtype=object), [1.0, None, 0.0]),
        (pd.Series([1, 0]), [1.0, 0.0]),
        (pd.Series([1.0, NAN]), [1.0, None]),
        (pd.Series(["yes", "No", " TRUE ", "f", "1", "0", "", None]), [1, 0, 1, 0, 1, 0, None, None]),
    ],
)
def test_values_are_converted_to_booleans(raw: pd.Series, expected: list[float | None]) -> None:
    column, wrong = convert(raw, {"kind": "boolean"})
    assert wrong is None
    assert values(column) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (pd.Series(["x", None, "None", ""]), ["x", None, "None", ""]),
        (pd.Series([1.0, NAN, 0.5]), ["1", None, "0.5"]),
        (pd.Series([1, 2, 1]), ["1", "2", "1"]),
        (pd.Series(["b", "a", None], dtype="category"), ["b", "a", None]),
        (pd.Series([True, None], dtype=object), ["True", None]),
        (pd.Series(["x", pd.NA], dtype="string"), ["x", None]),
        (pd.Series([date(2024, 1, 31), None], dtype=object), ["2024-01-31", None]),
        (pd.Series([[1, 2], None], dtype=object), ["[1, 2]", None]),
    ],
)
@pytest.mark.parametrize("kind", ["category", "ordinal", "high_cardinality"])
def test_levels_are_converted_to_text(raw: pd.Series, expected: list[str | None], kind: str) -> None:
    column, wrong = convert(raw, {"kind": kind})
    assert wrong is None
    assert values(column) == expected


@pytest.mark.parametrize(
    ("declared", "texts", "numbers"),
    [
        (
            {"thousands": ",", "unit": "$"},
            ["$3,380.34", "-$1,000", "($1,234.50)", "$ 5", "7"],
            [3380.34, -1000, -1234.5, 5, 7],
        ),
        ({"thousands": ","}, ["26,991", "812", "1,234,567.5", "12,34,567"], [26991, 812, 1234567.5, 1234567]),
        ({"decimal": ",", "thousands": ".", "unit": "€"}, ["1.234,50 €", "-3,5€", "7 €"], [1234.5, -3.5, 7]),
        ({"decimal": ",", "thousands": " "}, ["1 234", "1\u202f234\u00a0567,5"], [1234, 1234567.5]),
        ({"decimal": ","}, ["14,17", "3", "-0,5", "1,5e3"], [14.17, 3, -0.5, 1500]),
        ({"thousands": "'"}, ["1'234.5", "1\u2019234'567"], [1234.5, 1234567]),
        ({"unit": "%"}, ["12.5%", "3 %", "\u22121%"], [12.5, 3, -1]),
        ({"unit": "kg"}, ["12 kg", "1e3kg", "kg 2", ".5 kg"], [12, 1000, 2, 0.5]),
        ({}, ["(1.20)", "3.4", " ( 5 ) "], [-1.2, 3.4, -5]),
    ],
)
def test_formatted_numbers_are_read(declared: dict[str, str], texts: list[str], numbers: list[float]) -> None:
    raw = pd.Series([*texts, None, " "])
    column, wrong = convert(raw, {"kind": "number", **declared})
    assert column.tolist()[: len(texts)] == pytest.approx(numbers)
    assert column.tail(2).isna().all()
    assert wrong is None
    # The same values as numbers, as in Parquet or JSON.
    for values in (numbers, [*numbers, texts[0]]):
        assert convert(pd.Series(values), {"kind": "number", **declared})[0].tolist()[: len(numbers)] == numbers


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ({"thousands": ",", "unit": "$"}, "1,2,3"),
        ({"thousands": ",", "unit": "$"}, "£5"),
        ({"thousands": ",", "unit": "$"}, "(5"),
        ({"thousands": ",", "unit": "$"}, "--5"),
        ({"thousands": ","}, "0.1.2"),
        ({"decimal": ","}, "1.5"),
        ({"decimal": ","}, ","),
        ({"decimal": ",", "thousands": "."}, "1.5"),
        ({"unit": "%"}, "%"),
        ({"unit": "kg"}, "12 g"),
        ({}, "(1,5)"),
        ({}, "()"),
    ],
)
def test_numbers_in_another_format_are_invalid(declared: dict[str, str], text: str) -> None:
    _, wrong = convert(pd.Series([text, "1"]), {"kind": "number", **declared})
    assert wrong is not None
    assert wrong.tolist() == [True, False]


@pytest.mark.parametrize(
    ("declared", "values", "dates"),
    [
        ({"format": ["%d.%m.%Y", "%Y-%m-%d"]}, ["01.02.2020", "2020-03-04", None], ["2020-02-01", "2020-03-04", None]),
        ({"format": "%Y%m%d"}, [20200102, 20200103.0], ["2020-01-02", "2020-01-03"]),
        ({"format": "%d/%m/%Y %H:%M"}, ["01/02/2020 00:30"], ["2020-02-01 00:30"]),
        ({"format": "%Y-%m-%d %H:%M%z"}, ["2020-01-02 00:30+0100"], ["2020-01-01 23:30"]),
        ({"epoch": "s"}, [1577836800, "1577836801.5", None], ["2020-01-01", "2020-01-01 00:00:01.5", None]),
        ({"epoch": "ms"}, [1577836800123, -1], ["2020-01-01 00:00:00.123", "1969-12-31 23:59:59.999"]),
    ],
)
def test_dates_of_every_format_are_read(declared: dict[str, Any], values: list[Any], dates: list[str | None]) -> None:
    column, wrong = convert(pd.Series(values, dtype=object), {"kind": "date", **declared})
    assert column.dtype == DATE
    assert column.tolist() == pd.to_datetime(pd.Series(dates), format="ISO8601").tolist()
    assert wrong is None


@pytest.mark.parametrize("value", [1e30, float("inf"), "soon", -1e15])
def test_seconds_that_are_no_date_are_invalid(value: object) -> None:
    _, wrong = convert(pd.Series([value, 0], dtype=object), {"kind": "date", "epoch": "s"})
    assert wrong is not None
    assert wrong.tolist() == [True, False]


@pytest.mark.parametrize("texts", [["yes", "No", "Y", "n"], ["ja", "Nein", "J", "nein"], ["Oui", "non", "oui", "NON"]])
def test_booleans_of_several_languages_are_read(texts: list[str]) -> None:
    assert convert(pd.Series(texts), {"kind": "boolean"})[0].tolist() == [1.0, 0.0, 1.0, 0.0]


NEW_YEAR = datetime(2024, 1, 1, 12, 30)  # noqa: DTZ001 - as a file has it


@pytest.mark.parametrize(
    ("raw", "date_format"),
    [
        (pd.Series(["2024-01-01T12:30:00", None, ""]), None),
        (pd.Series(["2024-01-01 12:30"]), None),
        (pd.Series(["2024-01-01T13:30:00+01:00"]), None),
        (pd.Series(["1/1/24 12:30"]), "%d/%m/%y %H:%M"),
        (pd.Series([202401011230]), "%Y%m%d%H%M"),
        (pd.Series([NEW_YEAR], dtype="datetime64[ns]"), None),
        (pd.Series([NEW_YEAR]).dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"), None),
        (pd.Series([NEW_YEAR, None], dtype=object), None),
    ],
)
def test_values_are_converted_to_dates(raw: pd.Series, date_format: str | None) -> None:
    column, wrong = convert(raw, {"kind": "date"} | ({"format": date_format} if date_format else {}))
    assert wrong is None
    assert values(column)[0] == pd.Timestamp(NEW_YEAR)
    assert column.iloc[1:].isna().all()


def test_date_format_is_not_guessed_from_other_rows() -> None:
    # 31 cannot be a month: a format guessed from the first row would fit the second one too.
    _, wrong = convert(pd.Series(["31/01/2024", "03/04/2024"]), {"kind": "date"})
    assert wrong is not None
    assert wrong.tolist() == [True, True]


@pytest.mark.parametrize(
    ("kind", "raw", "wrong"),
    [
        ("number", pd.Series(["1", "x", None]), [False, True, False]),
        ("number", pd.Series([1.0, np.inf, -np.inf, NAN]), [False, True, True, False]),
        ("number", pd.Series(["inf", "1"]), [True, False]),
        ("number", pd.Series([NEW_YEAR, None]), [True, False]),
        ("number", pd.Series([1 + 2j]), [True]),
        ("boolean", pd.Series(["yes", "maybe", None]), [False, True, False]),
        ("boolean", pd.Series([0, 1, 2]), [False, False, True]),
        ("boolean", pd.Series([0.0, 0.5, NAN]), [False, True, False]),
        ("date", pd.Series(["2024-01-01", "soon", None]), [False, True, False]),
        ("date", pd.Series([20240101]), [True]),
        ("date", pd.Series([1.5, NAN]), [True, False]),
    ],
)
def test_invalid_values_are_marked(kind: str, raw: pd.Series, wrong: list[bool]) -> None:
    _, found = convert(raw, {"kind": kind})
    assert found is not None
    assert found.tolist() == wrong


def test_ignored_column_is_not_converted() -> None:
    raw = pd.Series([[1], None, "x"], dtype=object)
    assert convert(raw, {"kind": "ignore"})[0] is raw


@pytest.mark.parametrize("kind", DTYPES)
def test_column_of_the_right_dtype_is_not_copied(kind: str) -> None:
    raw = pd.Series([None, None], dtype=DTYPES[kind])
    assert convert(raw, {"kind": kind})[0] is raw


RAW_VALUES = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=True, width=32),
    st.booleans(),
    st.dates().map(str),
)


@pytest.mark.parametrize("kind", DTYPES)
@settings(max_examples=40, deadline=None)
@given(raw=st.lists(RAW_VALUES, min_size=1, max_size=8))
def test_any_values_are_converted_or_marked_and_conversion_is_idempotent(kind: str, raw: list[Any]) -> None:
    column, wrong = convert(pd.Series(raw, dtype=object), {"kind": kind})
    if wrong is not None:
        assert wrong.any()
        return
    assert column.dtype == DTYPES[kind]
    again, wrong = convert(column, {"kind": kind})
    assert wrong is None
    pd.testing.assert_series_equal(again, column)


@pytest.mark.parametrize("kind", DTYPES)
@settings(max_examples=40, deadline=None)
@given(raw=st.lists(RAW_VALUES, min_size=1, max_size=8))
def test_single_row_is_converted_as_among_others(kind: str, raw: list[Any]) -> None:
    together, wrong = convert(pd.Series(raw, dtype=object), {"kind": kind})
    for position in range(len(raw)):
        single, single_wrong = convert(pd.Series(raw[position : position + 1], dtype=object), {"kind": kind})
        assert (single_wrong is not None) == (wrong is not None and bool(wrong.iloc[position]))
        if single_wrong is None:
            assert values(single) == values(together.iloc[[position]])


@pytest.mark.parametrize("make", [float, np.float64, np.float32, int, np.int64])
def test_whole_number_becomes_text_without_a_decimal_point(make: Callable[[int], Any]) -> None:
    assert text_of(make(7)) == "7"


# --- convert_columns ---


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


def test_columns_get_the_dtypes_of_their_kinds_and_others_are_not_converted() -> None:
    rows = convert_columns(ROWS, COLUMNS)
    assert [str(dtype) for dtype in rows.dtypes] == [
        "float64", "str", "str", "float64", "datetime64[us]", "int64", "int64"
    ]  # fmt: skip
    assert list(rows.columns) == list(ROWS.columns)


def test_missing_values_and_unknown_levels_of_an_ordinal_are_missing() -> None:
    rows = convert_columns(ROWS, COLUMNS)
    assert rows.iloc[1].isna().tolist() == [True, True, True, True, True, False, False]
    assert rows.loc[0, "o"] == "high"


def test_converting_twice_changes_nothing() -> None:
    rows = convert_columns(ROWS, COLUMNS)
    pd.testing.assert_frame_equal(convert_columns(rows, COLUMNS), rows)


def test_input_is_not_modified_and_the_index_is_kept() -> None:
    raw = ROWS.set_index(pd.Index([7, 3]))
    before = raw.copy()
    rows = convert_columns(raw, COLUMNS)
    rows.loc[7, "n"] = -1.0
    pd.testing.assert_frame_equal(raw, before)
    assert rows.index.tolist() == [7, 3]


def test_typed_rows_and_rows_of_text_are_converted_to_the_same() -> None:
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


def test_missing_columns_are_named_with_those_required() -> None:
    with pytest.raises(
        DataError, match=r"^column 'c', 'd' is missing from the rows; required columns: n, c, o, b, d\.$"
    ):
        convert_columns(ROWS.drop(columns=["c", "d", "i"]), COLUMNS)


def test_row_numbers_of_a_later_chunk_start_at_the_offset() -> None:
    with pytest.raises(DataError, match="for example 'x' in row 12"):
        convert_columns(pd.DataFrame({"n": ["1", "x"]}), {"n": {"kind": "number"}}, offset=10)


def test_duplicated_column_is_named() -> None:
    with pytest.raises(DataError, match=r"^column 'n' appears more than once; give each column its own name\.$"):
        convert_columns(pd.concat([ROWS, ROWS[["n"]]], axis="columns"), COLUMNS)


def test_invalid_values_are_counted_with_examples() -> None:
    with pytest.raises(DataError) as caught:
        convert_columns(pd.DataFrame({"n": ["1", "x", "2", "y", "z", "q"]}), {"n": {"kind": "number"}})
    assert str(caught.value) == (
        "column 'n': 4 of 6 values are not finite numbers, for example 'x' in row 2, 'y' in row 4, 'z' in row 5."
    )


def test_ten_thousand_columns_are_converted() -> None:
    names = [f"x{position}" for position in range(10_000)]
    rows = convert_columns(
        pd.DataFrame(np.ones((2, 10_000), dtype=int), columns=names), {name: {"kind": "number"} for name in names}
    )
    assert rows.shape == (2, 10_000)
    assert set(rows.dtypes) == {np.dtype("float64")}
