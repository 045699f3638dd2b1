from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.files import read_table, write_table
from src.errors import DataError, FeatureError
from src.featurize.features import add_features, prepare_rows

RATIO = {"a_to_b": {"ratio": ["a", "b"]}}


def test_ratio_divides_the_first_column_by_the_second() -> None:
    X = pd.DataFrame({"a": [6.0, 1.0, -3.0], "b": [3.0, 4.0, 2.0]})
    assert add_features(X, RATIO)["a_to_b"].tolist() == [2.0, 0.25, -1.5]


def test_features_follow_the_raw_columns_in_the_order_declared() -> None:
    X = pd.DataFrame({"b": [2.0], "a": [1.0], "text": ["x"]})
    features = {"z": {"ratio": ["a", "b"]}, "y": {"ratio": ["b", "a"]}}
    assert list(add_features(X, features).columns) == ["b", "a", "text", "z", "y"]


def test_raw_columns_and_index_are_kept() -> None:
    X = pd.DataFrame({"a": [6, 1], "b": [3.0, 4.0], "text": ["x", None]}, index=[7, 3])
    pd.testing.assert_frame_equal(add_features(X, RATIO)[["a", "b", "text"]], X)


def test_input_is_not_modified() -> None:
    X = pd.DataFrame({"a": [6.0, np.nan], "b": [3.0, 4.0]})
    before = X.copy(deep=True)
    featurized = add_features(X, RATIO)
    featurized.loc[0, "a"] = -1.0
    pd.testing.assert_frame_equal(X, before)


def test_no_features_give_the_table_itself() -> None:
    X = pd.DataFrame({"a": [6.0], "b": [3.0]})
    pd.testing.assert_frame_equal(add_features(X, {}), X)


def test_each_row_is_computed_on_its_own() -> None:
    X = pd.DataFrame({"a": np.arange(1.0, 9.0), "b": np.arange(2.0, 10.0)})
    one_by_one = pd.concat([add_features(X.iloc[[row]], RATIO) for row in range(len(X))])
    pd.testing.assert_frame_equal(add_features(X, RATIO), one_by_one)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32", "Int64", "Float64"])
def test_ratio_is_a_plain_float_for_each_dtype_of_numbers(dtype: str) -> None:
    X = pd.DataFrame({"a": [6, 1], "b": [3, 4]}, dtype=dtype)
    ratio = add_features(X, RATIO)["a_to_b"]
    assert ratio.dtype == np.float64
    assert ratio.tolist() == [2.0, 0.25]


@pytest.mark.parametrize("numerator", [np.nan, 0.0])
def test_missing_value_stays_missing(numerator: float) -> None:
    X = pd.DataFrame({"a": [np.nan, 6.0, numerator], "b": [2.0, np.nan, np.nan]})
    assert add_features(X, RATIO)["a_to_b"].isna().tolist() == [True, True, True]


def test_missing_value_of_a_nullable_column_stays_missing() -> None:
    X = pd.DataFrame({"a": [6, None], "b": [3, 0]}, dtype="Int64")
    assert add_features(X, RATIO)["a_to_b"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("a", "b", "n_failed"),
    [([1.0, 1.0, 1.0], [0.0, 2.0, 0.0], 2), ([0.0, 1.0, 1.0], [0.0, 2.0, 2.0], 1), ([1, -1, 1], [1, 0, -1], 1)],
)
def test_division_by_zero_names_feature_column_and_number_of_rows(
    a: list[float], b: list[float], n_failed: int
) -> None:
    with pytest.raises(FeatureError) as caught:
        add_features(pd.DataFrame({"a": a, "b": b}), RATIO)
    assert str(caught.value) == (
        f"feature 'a_to_b': dividing by column 'b' gives infinity or NaN in {n_failed} of 3 rows; "
        "clean these rows or drop the feature."
    )


@pytest.mark.parametrize(("columns", "missing"), [(["gone", "b"], "gone"), (["a", "gone"], "gone")])
def test_missing_column_is_named_with_the_known_columns(columns: list[str], missing: str) -> None:
    X = pd.DataFrame({"a": [1.0], "b": [2.0]})
    with pytest.raises(FeatureError) as caught:
        add_features(X, {"x": {"ratio": columns}})
    assert str(caught.value) == (
        f"feature 'x' needs column {missing!r}, which is missing; the table has a, b; "
        "drop or fix the feature in featurize.features of params.yaml."
    )


@pytest.mark.parametrize(
    "values", [pd.Series(["1", "2"]), pd.Series(["1", 2], dtype=object), pd.Series(pd.Categorical([1, 2]))]
)
@pytest.mark.parametrize("position", [0, 1])
def test_column_without_numbers_is_named(values: pd.Series, position: int) -> None:
    columns = ["text", "b"] if position == 0 else ["b", "text"]
    with pytest.raises(FeatureError, match=r"^feature 'x' needs numbers in column 'text', got \w+"):
        add_features(pd.DataFrame({"text": values, "b": [1.0, 2.0]}), {"x": {"ratio": columns}})


def test_feature_with_the_name_of_a_column_is_refused() -> None:
    X = pd.DataFrame({"a": [1.0], "b": [2.0]})
    with pytest.raises(FeatureError, match="feature 'a' has the name of a column"):
        add_features(X, {"a": {"ratio": ["a", "b"]}})


@pytest.mark.parametrize("name", ["self", "per cent %", "größe", "class"])
def test_feature_may_have_any_name(name: str) -> None:
    X = pd.DataFrame({"a": [1.0], "b": [2.0]})
    assert add_features(X, {name: {"ratio": ["a", "b"]}})[name].tolist() == [0.5]


NAN = np.nan
TABLE = pd.DataFrame(
    {
        "a": [6.0, 1.0, NAN],
        "b": [3.0, 4.0, 2.0],
        "yes": [1.0, 0.0, NAN],
        "start": pd.to_datetime(["2024-02-28 12:30", "2023-12-31 00:00", None]),
        "end": pd.to_datetime(["2024-03-01 00:30", "2024-01-01 00:00", "2024-01-01 00:00"]),
        "text": pd.Series(["größe", "", None], dtype="str"),
    }
)


@pytest.mark.parametrize(
    ("declaration", "expected"),
    [
        ({"difference": ["a", "b"]}, [3.0, -3.0, NAN]),
        ({"difference": ["end", "start"]}, [1.5, 1.0, NAN]),
        ({"product": ["a", "b", "b"]}, [54.0, 16.0, NAN]),
        ({"product": ["b", "yes"]}, [3.0, 0.0, NAN]),
        ({"log": "b"}, np.log([3.0, 4.0, 2.0]).tolist()),
        ({"date_part": {"column": "start", "part": "year"}}, [2024.0, 2023.0, NAN]),
        ({"date_part": {"column": "start", "part": "quarter"}}, [1.0, 4.0, NAN]),
        ({"date_part": {"column": "start", "part": "month"}}, [2.0, 12.0, NAN]),
        ({"date_part": {"column": "start", "part": "day"}}, [28.0, 31.0, NAN]),
        ({"date_part": {"column": "start", "part": "dayofweek"}}, [2.0, 6.0, NAN]),
        ({"date_part": {"column": "start", "part": "dayofyear"}}, [59.0, 365.0, NAN]),
        ({"date_part": {"column": "start", "part": "hour"}}, [12.0, 0.0, NAN]),
        ({"date_part": {"column": "start", "part": "minute"}}, [30.0, 0.0, NAN]),
        ({"text_length": "text"}, [5.0, 0.0, NAN]),
        ({"bins": {"column": "a", "edges": [1.0, 5.0]}}, [2.0, 1.0, NAN]),
        ({"bins": {"column": "b", "edges": [2.5]}}, [1.0, 1.0, 0.0]),
    ],
)
def test_each_kind_of_feature_is_a_number_and_missing_stays_missing(
    declaration: dict[str, Any], expected: list[float]
) -> None:
    feature = add_features(TABLE, {"x": declaration})["x"]
    assert feature.dtype == np.float64
    np.testing.assert_allclose(feature, expected)
    one_by_one = pd.concat([add_features(TABLE.iloc[[row]], {"x": declaration})["x"] for row in range(len(TABLE))])
    pd.testing.assert_series_equal(one_by_one, feature)


@pytest.mark.parametrize(
    ("declaration", "column"),
    [
        ({"difference": ["a", "start"]}, "a"),
        ({"difference": ["a", "text"]}, "text"),
        ({"product": ["a", "text"]}, "text"),
        ({"log": "start"}, "start"),
        ({"date_part": {"column": "text", "part": "year"}}, "text"),
        ({"date_part": {"column": "a", "part": "year"}}, "a"),
        ({"bins": {"column": "text", "edges": [1.0]}}, "text"),
    ],
)
def test_column_of_another_kind_is_named(declaration: dict[str, Any], column: str) -> None:
    with pytest.raises(FeatureError, match=rf"^feature 'x' needs \w+ in column '{column}', got "):
        add_features(TABLE, {"x": declaration})


@pytest.mark.parametrize(
    ("declaration", "what"),
    [
        ({"log": "a"}, "the logarithm of column 'a'"),
        ({"product": ["a", "a"]}, "multiplying"),
        ({"difference": ["a", "b"]}, "subtracting column 'b'"),
    ],
)
def test_infinite_results_are_counted(declaration: dict[str, Any], what: str) -> None:
    table = pd.DataFrame({"a": [1.0, -1e308 if "log" not in declaration else 0.0, NAN], "b": [1.0, 1e308, 1.0]})
    with pytest.raises(FeatureError, match=rf"^feature 'x': {what} gives infinity or NaN in 1 of 3 rows; "):
        add_features(table, {"x": declaration})


@pytest.mark.parametrize(
    "declaration",
    [{"ratio": ["a", "b"]}, {"log": "a"}, {"date_part": {"column": "a", "part": "year"}}, {"text_length": "a"}],
)
def test_column_without_values_gives_a_feature_without_values(declaration: dict[str, Any]) -> None:
    table = pd.DataFrame({"a": pd.Series([None, None], dtype=object), "b": [1.0, 2.0]})
    assert add_features(table, {"x": declaration})["x"].isna().all()


def test_hundreds_of_features_are_added_at_once() -> None:
    features = {f"x{position}": {"ratio": ["b", "b"]} for position in range(300)}
    assert add_features(TABLE, features).shape == (3, 306)


COLUMNS: dict[str, dict[str, Any]] = {
    "n": {"kind": "number"},
    "day": {"kind": "date", "format": "%d.%m.%Y"},
    "c": {"kind": "category"},
}
FEATURES: dict[str, dict[str, Any]] = {
    "month": {"date_part": {"column": "day", "part": "month"}},
    "letters": {"text_length": "c"},
}


def test_rows_of_text_are_prepared_like_typed_rows() -> None:
    text = pd.DataFrame({"n": ["1", ""], "day": ["31.01.2024", ""], "c": ["x", None]})
    typed = pd.DataFrame({"n": [1, NAN], "day": pd.to_datetime(["2024-01-31", None]), "c": ["x", None]})
    pd.testing.assert_frame_equal(prepare_rows(text, COLUMNS, FEATURES), prepare_rows(typed, COLUMNS, FEATURES))
    assert prepare_rows(text, COLUMNS, FEATURES)["month"].tolist()[0] == 1.0


def test_preparing_twice_changes_nothing() -> None:
    typed = pd.DataFrame({"n": [1, NAN], "day": pd.to_datetime(["2024-01-31", None]), "c": ["x", None]})
    prepared = prepare_rows(typed, COLUMNS, FEATURES)
    again = prepare_rows(prepared.drop(columns=list(FEATURES)), COLUMNS, FEATURES)
    pd.testing.assert_frame_equal(again, prepared)


def test_row_with_a_value_of_another_kind_is_named() -> None:
    with pytest.raises(DataError, match=r"^column 'n': 1 of 1 values are not finite numbers, for example 'x' in row 1"):
        prepare_rows(pd.DataFrame({"n": ["x"], "day": [None], "c": ["y"]}), COLUMNS, FEATURES)


def test_rows_round_trip_through_parquet_to_the_byte(tmp_path: Path) -> None:
    rows = pd.DataFrame({"n": [1, NAN], "day": pd.to_datetime(["2024-01-31", None]), "c": ["x", None]})
    prepared = prepare_rows(rows, COLUMNS, FEATURES)
    write_table(prepared, tmp_path / "1.parquet")
    back = read_table(tmp_path / "1.parquet", made_by="featurize")
    pd.testing.assert_frame_equal(back, prepared)
    write_table(prepare_rows(back[list(COLUMNS)], COLUMNS, FEATURES), tmp_path / "2.parquet")
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
