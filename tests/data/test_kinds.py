from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.kinds import DATE, TEXT, convert, text_of

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
def test_numbers_come_out_of_whatever_holds_them(raw: pd.Series, expected: list[float | None]) -> None:
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
def test_booleans_come_out_of_whatever_holds_them(raw: pd.Series, expected: list[float | None]) -> None:
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
def test_levels_are_text(raw: pd.Series, expected: list[str | None], kind: str) -> None:
    column, wrong = convert(raw, {"kind": kind})
    assert wrong is None
    assert values(column) == expected


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
def test_dates_come_out_of_whatever_holds_them(raw: pd.Series, date_format: str | None) -> None:
    column, wrong = convert(raw, {"kind": "date"} | ({"format": date_format} if date_format else {}))
    assert wrong is None
    assert values(column)[0] == pd.Timestamp(NEW_YEAR)
    assert column.iloc[1:].isna().all()


def test_date_is_never_guessed_from_its_neighbours() -> None:
    # As 31 can be no month, a guess from the first row would read the second one so.
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
def test_each_value_that_is_not_of_the_kind_is_marked(kind: str, raw: pd.Series, wrong: list[bool]) -> None:
    _, found = convert(raw, {"kind": kind})
    assert found is not None
    assert found.tolist() == wrong


def test_ignored_column_stays_as_it_is() -> None:
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
def test_any_values_get_the_dtype_of_the_kind_or_are_marked_and_twice_is_once(kind: str, raw: list[Any]) -> None:
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
def test_row_alone_becomes_what_it_becomes_among_others(kind: str, raw: list[Any]) -> None:
    together, wrong = convert(pd.Series(raw, dtype=object), {"kind": kind})
    for position in range(len(raw)):
        alone, wrong_alone = convert(pd.Series(raw[position : position + 1], dtype=object), {"kind": kind})
        assert (wrong_alone is not None) == (wrong is not None and bool(wrong.iloc[position]))
        if wrong_alone is None:
            assert values(alone) == values(together.iloc[[position]])


@pytest.mark.parametrize("make", [float, np.float64, np.float32, int, np.int64])
def test_whole_number_is_text_without_a_point(make: Callable[[int], Any]) -> None:
    assert text_of(make(7)) == "7"
