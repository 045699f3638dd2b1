import numpy as np
import pandas as pd
import pytest

from src.data.target import check_class_counts, split_target
from src.errors import DataError

TABLE = pd.DataFrame({"a": [1.0, 2.0, 3.0], "target": ["x", "y", "x"], "b": [4.0, 5.0, 6.0]})


def test_target_is_separated_from_the_features() -> None:
    X, y = split_target(TABLE, "target", "classification")
    assert list(X.columns) == ["a", "b"]
    assert y.tolist() == ["x", "y", "x"]
    assert isinstance(y, np.ndarray)


def test_table_is_not_changed() -> None:
    table = TABLE.copy()
    split_target(table, "target", "classification")
    pd.testing.assert_frame_equal(table, TABLE)


def test_missing_target_is_named_with_the_columns_there_are() -> None:
    with pytest.raises(DataError) as caught:
        split_target(TABLE, "species", "classification")
    assert str(caught.value) == "base.target_column = 'species' is not in the table; it has a, target, b."


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_rows_without_a_target_are_counted(missing: object) -> None:
    table = TABLE.assign(target=pd.Series(["x", missing, missing], dtype=object))
    with pytest.raises(DataError, match=r"^target 'target' lacks a value in 2 of 3 rows; drop these rows"):
        split_target(table, "target", "classification")


def test_single_class_is_named() -> None:
    with pytest.raises(DataError, match="holds only the class 'x'; a classifier needs at least two classes"):
        split_target(TABLE.assign(target="x"), "target", "classification")


def test_table_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="holds no rows"):
        split_target(TABLE.head(0), "target", "classification")


def test_every_class_that_is_too_rare_is_named_with_its_rows() -> None:
    y = np.array(["a"] * 5 + ["b"] * 2 + ["c"] * 3 + ["d"], dtype=object)
    with pytest.raises(DataError) as caught:
        check_class_counts(y, at_least=3, reason="train.cv = 3")
    assert str(caught.value) == "too few rows of class 'b' (2), 'd' (1): train.cv = 3 needs at least 3 of each class."


def test_classes_with_just_enough_rows_pass() -> None:
    check_class_counts(np.array(["a", "a", "b", "b"], dtype=object), at_least=2, reason="a stratified split")
