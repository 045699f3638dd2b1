import logging
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data_load import infer
from src.data_load.infer import MANY_LEVELS, infer_columns, infer_kind
from src.errors import DataError

LEVELS = [f"level {position}" for position in range(MANY_LEVELS + 1)]


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        ([1, 2], None, "number"),
        ([1.5, None], None, "number"),
        ([1, None], "Int64", "number"),
        ([True, False], None, "boolean"),
        ([True, None], "boolean", "boolean"),
        ([True, None], object, "boolean"),
        (["x", None], None, "category"),
        (["x", "y"], "category", "category"),
        (LEVELS[:-1], None, "category"),
        (LEVELS, None, "high_cardinality"),
        (["007", "008"], None, "category"),
        ([datetime(2024, 1, 1, tzinfo=UTC)], None, "date"),
        ([2**53 + 1, 1], "int64", "high_cardinality"),
        ([2**64 - 1, 1], "uint64", "high_cardinality"),
        ([2**53, -(2**53)], "int64", "number"),
        (["x", 1], object, "category"),
    ],
)
def test_kind_is_inferred_from_the_type_and_the_number_of_levels(values: list[Any], dtype: Any, kind: str) -> None:
    assert infer_kind(pd.Series(values, dtype=dtype), "a") == kind


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pd.Series([None, None], dtype=object), "has no values"),
        (pd.Series([np.nan]), "has no values"),
        (pd.Series([[1], [2]], dtype=object), "holds lists"),
        (pd.Series(pd.to_timedelta(["1 day"])), "has dtype timedelta64"),
        (pd.Series([1 + 2j]), "has dtype complex128"),
    ],
)
def test_column_that_cannot_be_a_feature_is_ignored_with_a_warning(
    values: pd.Series, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert infer_kind(values, "a") == "ignore"
    assert "column 'a' " + message in caplog.text


def test_numbers_among_other_values_are_refused_with_counts_and_examples() -> None:
    column = pd.Series([str(position) for position in range(40)] + ["?", "?", "x"])
    with pytest.raises(DataError) as caught:
        infer_kind(column, "a")
    assert str(caught.value) == (
        "column 'a' holds numbers and, in 3 of 43 rows, other values, for example '?', 'x'; add them "
        "to data_load.source.na_values if they mean a missing value, or declare data_load.columns.a: {kind: category}."
    )


def test_mixed_column_is_found_though_its_first_rows_are_text() -> None:
    column = pd.Series([f"x{position}" for position in range(90)] + [str(position) for position in range(910)])
    with pytest.raises(DataError, match="in 90 of 1000 rows, other values, for example 'x0', 'x1', 'x2'"):
        infer_kind(column, "a")


def test_many_rows_of_text_and_some_numbers_are_of_high_cardinality() -> None:
    column = pd.Series([f"x{position}" for position in range(111)] + [str(position) for position in range(889)])
    assert infer_kind(column, "a") == "high_cardinality"


def test_few_other_values_are_found_among_more_numbers_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "MAX_LEVELS", 100)
    monkeypatch.setattr(infer, "FIRST_ROWS", 16)
    column = pd.Series([*map(str, range(900)), "?", *map(str, range(900))])
    with pytest.raises(DataError, match=r"in 1 of 1801 rows, other values, for example '\?';"):
        infer_kind(column, "a")


def test_all_mixed_columns_are_reported_at_once() -> None:
    mixed = [*map(str, range(40)), "?"]
    with pytest.raises(DataError) as caught:
        infer_columns(pd.DataFrame({"a": mixed, "b": range(41), "c": mixed, "d": mixed}), {"d": {"kind": "category"}})
    first, *others = str(caught.value).splitlines()
    assert first == "2 columns hold numbers and other values:"
    assert [line.split(" holds numbers and, in 1 of 41 rows")[0] for line in others] == ["  column 'a'", "  column 'c'"]


def test_only_the_first_of_many_mixed_columns_are_listed() -> None:
    mixed = [*map(str, range(40)), "?"]
    with pytest.raises(DataError) as caught:
        infer_columns(pd.DataFrame({f"a{position}": mixed for position in range(25)}), {})
    assert len(str(caught.value).splitlines()) == 22
    assert str(caught.value).endswith("\n  and 5 more")


def test_text_with_a_few_numbers_is_a_category() -> None:
    assert infer_kind(pd.Series(["A1", "7", "8", "B2"]), "a") == "category"


def test_known_columns_are_kept_and_the_others_are_inferred_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "src")
    X = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [1, 2], "d": [1, 2]})
    known = {"a": {"kind": "ordinal", "order": ["1", "2"]}, "gone": {"kind": "number"}, "d": {}}
    assert infer_columns(X, known) == {
        "a": {"kind": "ordinal", "order": ["1", "2"]},
        "b": {"kind": "category"},
        "c": {"kind": "number"},
        "d": {"kind": "number"},
    }
    assert "inferred kinds: 1 category, 2 number" in caplog.messages
