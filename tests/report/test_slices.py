import numpy as np
import pandas as pd
import pytest

from src.report.slices import Slice, find_weak_slices


def loss_where(weak: "pd.Series[bool]") -> "np.typing.NDArray[np.float64]":
    """Return losses of 1 in a slice, and of 0.1 on average elsewhere."""
    rng = np.random.default_rng(0)
    return np.where(weak, 1.0, (rng.random(len(weak)) < 0.1).astype(float))


def test_weak_level_of_a_category_is_found() -> None:
    X = pd.DataFrame({"island": ["Dream", "Biscoe", "Biscoe", "Torgersen"] * 50, "noise": range(200)})
    found = find_weak_slices(X, loss_where(X["island"] == "Dream"), {"category": ["island"], "number": ["noise"]})
    assert found.worst == [Slice("island", "= Dream", 50, 1.0)]
    # Three levels and four quarters.
    assert (found.n_checked, found.min_rows) == (7, 10)
    assert found.loss == pytest.approx(0.325, abs=0.05)


def test_weak_quarter_of_a_number_is_found() -> None:
    X = pd.DataFrame({"age": np.arange(400.0)})
    (worst,) = find_weak_slices(X, loss_where(X["age"] >= 300), {"number": ["age"]}).worst
    assert (worst.column, worst.condition, worst.n_rows, worst.loss) == ("age", "> 299.2", 100, 1.0)


@pytest.mark.parametrize("kind", ["category", "number"])
def test_missing_values_are_a_slice(kind: str) -> None:
    values: list[object] = [1.0, 2.0, 3.0, None] if kind == "number" else ["a", "b", "c", None]
    X = pd.DataFrame({"x": values * 30})
    (worst,) = find_weak_slices(X, loss_where(X["x"].isna()), {kind: ["x"]}).worst
    assert (worst.condition, worst.n_rows) == ("is missing", 30)


def test_only_the_worst_slices_are_returned_worst_first() -> None:
    X = pd.DataFrame({"level": np.repeat([f"level {i}" for i in range(20)], 50)})
    losses = np.repeat(np.arange(20.0), 50)
    found = find_weak_slices(X, losses, {"category": ["level"]})
    assert [each.condition for each in found.worst] == [f"= level {i}" for i in (19, 18, 17, 16, 15)]


def test_slices_of_few_rows_are_not_checked() -> None:
    X = pd.DataFrame({"level": ["a"] * 191 + ["b"] * 9})
    found = find_weak_slices(X, loss_where(X["level"] == "b"), {"category": ["level"]})
    assert (found.worst, found.n_checked) == ([], 1)
    many = pd.DataFrame({"level": ["a"] * 9901 + ["b"] * 99})
    assert find_weak_slices(many, loss_where(many["level"] == "b"), {"category": ["level"]}).worst == []


def test_differences_by_chance_are_not_reported() -> None:
    rng = np.random.default_rng(0)
    X = pd.DataFrame({f"x{i}": rng.choice(list("abcde"), 500) for i in range(20)})
    found = find_weak_slices(X, (rng.random(500) < 0.2).astype(float), {"category": list(X)})
    assert (found.worst, found.n_checked) == ([], 100)


@pytest.mark.parametrize("losses", [np.zeros(40), np.ones(40)])
def test_model_that_is_always_or_never_right_has_no_weak_slice(losses: "np.typing.NDArray[np.float64]") -> None:
    assert find_weak_slices(pd.DataFrame({"x": [1.0, 2.0] * 20}), losses, {"number": ["x"]}).worst == []


@pytest.mark.parametrize("values", [[1.0] * 40, [None] * 40, [True, False] * 20])
def test_column_with_one_value_has_no_slice(values: list[object]) -> None:
    X = pd.DataFrame({"x": pd.Series(values, dtype=None if True in values else float)})
    kind = "boolean" if True in values else "number"
    assert find_weak_slices(X, np.arange(40.0) % 3, {kind: ["x"]}).worst == []


def test_range_of_a_number_names_both_ends() -> None:
    X = pd.DataFrame({"age": np.arange(400.0)})
    (worst,) = find_weak_slices(X, loss_where(X["age"].between(100, 199)), {"number": ["age"]}).worst
    assert (worst.condition, worst.n_rows) == ("> 99.75 and ≤ 199.5", 100)


def test_constant_with_gaps_is_divided_into_missing_and_not_missing() -> None:
    X = pd.DataFrame({"x": [1.0] * 12 + [None] * 388}, dtype=float)
    (worst,) = find_weak_slices(X, loss_where(X["x"].notna()), {"number": ["x"]}).worst
    assert (worst.condition, worst.n_rows) == ("is not missing", 12)
