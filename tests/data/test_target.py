from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from src.config.train import Task
from src.data.target import check_class_counts, prepare_target, split_target
from src.errors import DataError

TABLE = pd.DataFrame({"a": [1.0, 2.0, 3.0], "target": ["x", "y", "x"], "b": [4.0, 5.0, 6.0]})


def test_features_and_target_are_split() -> None:
    X, y = split_target(TABLE, "target", "classification")
    assert list(X.columns) == ["a", "b"]
    assert y.tolist() == ["x", "y", "x"]
    assert isinstance(y, np.ndarray)


def test_table_is_not_modified() -> None:
    table = TABLE.copy()
    split_target(table, "target", "classification")
    pd.testing.assert_frame_equal(table, TABLE)


def test_unknown_target_column_is_named_with_the_known_columns() -> None:
    with pytest.raises(DataError) as caught:
        split_target(TABLE, "species", "classification")
    assert str(caught.value) == "base.target_column = 'species' is not in the table; its columns are a, target, b."


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_missing_values_of_the_target_are_counted(missing: object) -> None:
    table = TABLE.assign(target=pd.Series(["x", missing, missing], dtype=object))
    with pytest.raises(DataError, match=r"^target 'target' is missing in 2 of 3 rows; drop these rows"):
        split_target(table, "target", "classification")


def test_single_class_is_named() -> None:
    with pytest.raises(DataError, match="holds only the value 'x'; a model needs at least two values"):
        split_target(TABLE.assign(target="x"), "target", "classification")


def test_table_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="has no rows"):
        split_target(TABLE.head(0), "target", "classification")


def test_rare_classes_are_named_with_their_rows() -> None:
    y = np.array(["a"] * 5 + ["b"] * 2 + ["c"] * 3 + ["d"], dtype=object)
    with pytest.raises(DataError) as caught:
        check_class_counts(y, at_least=3, reason="train.cv = 3")
    assert str(caught.value) == "too few rows of class 'b' (2), 'd' (1): train.cv = 3 needs at least 3 of each class."


def test_classes_with_just_enough_rows_pass() -> None:
    check_class_counts(np.array(["a", "a", "b", "b"], dtype=object), at_least=2, reason="a stratified split")


def prepare(
    target: Sequence[Any] | pd.Series, task: Task = "classification", missing: Literal["drop", "error"] = "error"
) -> pd.DataFrame:
    return prepare_target(pd.DataFrame({"row": range(len(target)), "target": target}), "target", task, missing)[0]


@pytest.mark.parametrize(
    ("labels", "dtype", "expected"),
    [
        (["x", "y"], None, "str"),
        (["x", "y"], "category", "str"),
        ([1, 2], None, "int64"),
        ([1.0, 2.0], None, "int64"),
        ([2**60, 2**60 + 1], "Int64", "int64"),
        ([2**64 - 2, 2**64 - 1], "UInt64", "uint64"),
        ([True, False], None, "bool"),
    ],
)
def test_labels_keep_their_type_and_whole_numbers_are_integers(labels: object, dtype: str, expected: str) -> None:
    assert prepare(pd.Series(labels, dtype=dtype))["target"].dtype == expected


@pytest.mark.parametrize("values", [pd.Series([1, 2]), pd.Series(["1", "2"]), pd.Series([1, 2], dtype="Int64")])
def test_numbers_to_predict_are_floats(values: pd.Series) -> None:
    assert prepare(values, "regression")["target"].tolist() == [1.0, 2.0]
    assert prepare(values, "regression")["target"].dtype == "float64"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["1", "x", "y"],
            ": 2 of 3 values are not finite numbers, for example 'x' in row 2, 'y' in row 3; fix the values, or set",
        ),
        ([1.0, np.inf, 2.0], ": 1 of 3 values are not finite numbers, for example inf in row 2; fix"),
        ([True, False, True], ": the values are booleans; fix the values, or set base.task to classification"),
        ([pd.Timestamp("2024-01-01")] * 3, ": 3 of 3 values are not finite numbers"),
    ],
)
def test_target_of_a_regression_must_be_finite_numbers(values: list[object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        prepare(values, "regression")
    assert str(caught.value).startswith(f"base.target_column = 'target'{message}")


def test_fractions_are_not_classes() -> None:
    with pytest.raises(
        DataError, match=r"holds fractions, such as 0\.5, which cannot be classes; set base\.task to regression"
    ):
        prepare([1.0, 0.5, 2.0])


def test_rows_without_a_target_are_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame({"row": range(4), "target": [1.0, None, 2.0, None]})
    prepared, n_dropped = prepare_target(table, "target", "classification", "drop")
    assert prepared.to_dict("list") == {"row": [0, 2], "target": [1, 2]}
    assert n_dropped == 2
    assert caplog.messages == ["dropped 2 of 4 rows without target 'target'"]


def test_error_about_a_missing_target_names_the_setting_that_drops_rows() -> None:
    with pytest.raises(DataError, match=r"is missing in 1 of 2 rows; .*`data_load\.missing_target: drop`"):
        prepare(["x", None])


def test_missing_large_labels_are_refused_like_others() -> None:
    with pytest.raises(DataError, match="is missing in 1 of 2 rows"):
        prepare(pd.Series([2**60, None], dtype="Int64"))


def test_table_with_no_target_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="has no rows"):
        prepare([None, None], missing="drop")


@pytest.mark.parametrize("values", [[1.0, 1.0], [3, 3]])
def test_regression_of_a_constant_is_refused(values: list[object]) -> None:
    with pytest.raises(DataError, match=r"holds only the value .*; a model needs at least two values"):
        prepare(values, "regression")


def test_regression_refuses_text() -> None:
    with pytest.raises(DataError, match=r"a regression needs numbers; set base\.task to classification"):
        split_target(TABLE, "target", "regression")


def test_only_the_first_of_many_rare_classes_are_named() -> None:
    with pytest.raises(DataError, match=r"'009' \(1\) and 290 more: a stratified split needs"):
        check_class_counts(
            np.array([f"{position:03}" for position in range(300)]), at_least=2, reason="a stratified split"
        )
