import numpy as np
import pandas as pd
import pytest

from src.data.features import add_features
from src.errors import FeatureError

RATIO = {"a_to_b": {"ratio": ["a", "b"]}}


def test_ratio_divides_the_first_column_by_the_second() -> None:
    X = pd.DataFrame({"a": [6.0, 1.0, -3.0], "b": [3.0, 4.0, 2.0]})
    assert add_features(X, RATIO)["a_to_b"].tolist() == [2.0, 0.25, -1.5]


def test_features_follow_the_raw_columns_in_the_order_declared() -> None:
    X = pd.DataFrame({"b": [2.0], "a": [1.0], "text": ["x"]})
    features = {"z": {"ratio": ["a", "b"]}, "y": {"ratio": ["b", "a"]}}
    assert list(add_features(X, features).columns) == ["b", "a", "text", "z", "y"]


def test_raw_columns_and_index_stay_as_they_are() -> None:
    X = pd.DataFrame({"a": [6, 1], "b": [3.0, 4.0], "text": ["x", None]}, index=[7, 3])
    pd.testing.assert_frame_equal(add_features(X, RATIO)[["a", "b", "text"]], X)


def test_input_is_not_changed() -> None:
    X = pd.DataFrame({"a": [6.0, np.nan], "b": [3.0, 4.0]})
    before = X.copy(deep=True)
    featurized = add_features(X, RATIO)
    featurized.loc[0, "a"] = -1.0
    pd.testing.assert_frame_equal(X, before)


def test_no_features_give_the_table_itself() -> None:
    X = pd.DataFrame({"a": [6.0], "b": [3.0]})
    pd.testing.assert_frame_equal(add_features(X, {}), X)


def test_rows_do_not_know_of_each_other() -> None:
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
def test_missing_column_is_named_with_the_columns_there_are(columns: list[str], missing: str) -> None:
    X = pd.DataFrame({"a": [1.0], "b": [2.0]})
    with pytest.raises(FeatureError) as caught:
        add_features(X, {"x": {"ratio": columns}})
    assert str(caught.value) == f"feature 'x' needs column {missing!r}, which is missing; the table has a, b."


@pytest.mark.parametrize(
    "values", [pd.Series(["1", "2"]), pd.Series(["1", 2], dtype=object), pd.Series(pd.Categorical([1, 2]))]
)
@pytest.mark.parametrize("position", [0, 1])
def test_column_that_holds_no_numbers_is_named(values: pd.Series, position: int) -> None:
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
