from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from src.config.train import Preprocess, Task
from src.data.columns import features_by_kind
from src.train.estimators import Profile, Recipe
from src.train.preprocess import make_preprocess
from tests.train.tables import COLUMNS, make_table, strange_rows

PROFILES: list[Profile] = ["scaled", "unscaled", "native"]
ALL_KINDS = features_by_kind(COLUMNS, [])


def prepare(
    rows: pd.DataFrame,
    kinds: dict[str, list[str]],
    profile: Profile = "scaled",
    fitted_on: pd.DataFrame | None = None,
    y: Any = None,
    task: Task = "classification",
    columns: Any = COLUMNS,
    **settings: Any,
) -> NDArray[np.float64]:
    """Fit on the one table and transform the other; by default, fit and transform the same."""
    chosen = Preprocess.model_validate({"impute": "median", "scale": "standard", "max_categories": 4} | settings)
    every_kind = {kind: kinds.get(kind, []) for kind in ALL_KINDS}
    step = make_preprocess(every_kind, columns, chosen, Recipe("x", profile), task, random_state=0)
    fitted_on = rows if fitted_on is None else fitted_on
    y = np.arange(len(fitted_on)) % 2 if y is None else y
    if fitted_on is rows:
        return np.asarray(step.fit_transform(rows, y))
    return np.asarray(step.fit(fitted_on, y).transform(rows))


def text(*values: str | None) -> pd.Series:
    return pd.Series(values, dtype="str")


@pytest.mark.parametrize(("impute", "value"), [("mean", 4.0), ("median", 2.0), ("most_frequent", 1.0)])
def test_missing_number_is_the_usual_one_of_the_training_rows(impute: str, value: float) -> None:
    train = pd.DataFrame({"a": [1.0, 1.0, 2.0, 5.0, 11.0]})
    (made,) = prepare(pd.DataFrame({"a": [np.nan]}), {"number": ["a"]}, fitted_on=train, impute=impute, scale="none")
    assert made == [value]


@pytest.mark.parametrize(
    ("scale", "expected"),
    [("standard", [-1.0, 1.0]), ("robust", [-1.0, 1.0]), ("none", [10.0, 30.0])],
)
def test_numbers_are_brought_to_one_scale(scale: str, expected: list[float]) -> None:
    made = prepare(pd.DataFrame({"a": [10.0, 30.0]}), {"number": ["a"]}, scale=scale)
    np.testing.assert_allclose(made[:, 0], expected)


def test_one_outlier_hardly_moves_the_robust_scale() -> None:
    usual, spoilt = pd.DataFrame({"a": np.arange(9.0)}), pd.DataFrame({"a": [*np.arange(8.0), 1e6]})
    before, after = (prepare(rows, {"number": ["a"]}, scale="robust")[:8, 0] for rows in (usual, spoilt))
    np.testing.assert_allclose(before, after, atol=0.5)


@pytest.mark.parametrize("profile", ["unscaled", "native"])
def test_trees_get_numbers_as_they_are(profile: Profile) -> None:
    made = prepare(pd.DataFrame({"a": [10.0, 30.0]}), {"number": ["a"]}, profile)
    assert made[:, 0].tolist() == [10.0, 30.0]


def test_native_estimator_gets_missing_values_as_they_are() -> None:
    rows = pd.DataFrame({"a": [1.0, np.nan], "b": text("x", None), "c": text("S", None), "d": [1.0, np.nan]})
    kinds = {"number": ["a"], "category": ["b"], "ordinal": ["c"], "boolean": ["d"]}
    made = prepare(rows, kinds, "native", columns={"c": {"order": ["S", "M"]}})
    assert np.isnan(made[1]).all()
    assert not np.isnan(made[0]).any()


def test_frequent_levels_have_a_column_each_and_rare_ones_share_one() -> None:
    levels = text(*["a"] * 9, *["b"] * 8, *["c"] * 7, "d", "e", "f")
    made = prepare(pd.DataFrame({"x": levels}), {"category": ["x"]}, max_categories=4)
    assert made.shape[1] == 4
    assert len({tuple(row) for row in made[-3:]}) == 1
    assert (made.sum(axis=1) == 1).all()


def test_missing_category_is_a_level_of_its_own() -> None:
    made = prepare(pd.DataFrame({"x": text("a", "b", None, None)}), {"category": ["x"]})
    assert len({tuple(row) for row in made}) == 3
    assert made.shape[1] == 3


def test_level_that_was_never_seen_counts_as_a_rare_one() -> None:
    train = pd.DataFrame({"x": text(*["a"] * 9, *["b"] * 8, *["c"] * 7, "d", "e")})
    rare, unseen, missing = prepare(
        pd.DataFrame({"x": text("d", "never seen", None)}), {"category": ["x"]}, fitted_on=train
    )
    assert rare.tolist() == unseen.tolist() == missing.tolist()


def test_level_that_was_never_seen_is_none_of_them_where_none_is_rare() -> None:
    train = pd.DataFrame({"x": text("a", "b", "a", "b")})
    made = prepare(pd.DataFrame({"x": text("never seen", None)}), {"category": ["x"]}, fitted_on=train)
    assert not made.any()


def test_native_categories_are_codes_that_fit_in_a_byte() -> None:
    levels = text(*(f"level {number}" for number in range(400) for _ in range(1 + (number < 100))))
    made = prepare(pd.DataFrame({"x": levels}), {"category": ["x"]}, "native")[:, 0]
    assert sorted(set(made)) == list(range(255))


def test_native_category_that_was_never_seen_is_missing() -> None:
    train = pd.DataFrame({"x": text("a", "b")})
    made = prepare(pd.DataFrame({"x": text("never seen", None, "b")}), {"category": ["x"]}, "native", fitted_on=train)
    np.testing.assert_array_equal(made[:, 0], [np.nan, np.nan, 1.0])


def test_ordinal_keeps_the_declared_order() -> None:
    rows = pd.DataFrame({"x": text("L", "S", "M", None, "huge")})
    columns = {"x": {"kind": "ordinal", "order": ["S", "M", "L"]}}
    made = prepare(rows, {"ordinal": ["x"]}, "unscaled", columns=columns)[:, 0]
    assert made[:3].tolist() == [2.0, 0.0, 1.0]
    assert made[3] == made[4]


def test_ordinals_may_have_different_orders() -> None:
    rows = pd.DataFrame({"x": text("L", "S"), "y": text("high", "low")})
    columns = {"x": {"order": ["S", "L"]}, "y": {"order": ["low", "mid", "high"]}}
    made = prepare(rows, {"ordinal": ["x", "y"]}, "unscaled", columns=columns)
    assert made.tolist() == [[1.0, 2.0], [0.0, 0.0]]


def test_boolean_is_a_number_and_missing_ones_are_the_usual_one() -> None:
    rows = pd.DataFrame({"x": [1.0, 0.0, 1.0, np.nan]})
    assert prepare(rows, {"boolean": ["x"]})[:, 0].tolist() == [1.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("profile", PROFILES)
def test_high_cardinality_becomes_what_is_usual_for_its_level(profile: Profile) -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 50, 2000)
    rows = pd.DataFrame({"x": pd.Series(levels).map("p{:02}".format).astype("str")})
    made = prepare(rows, {"high_cardinality": ["x"]}, profile, y=levels * 1.0, task="regression")
    assert made.shape == (2000, 1)
    assert np.corrcoef(made[:, 0], levels)[0, 1] > 0.99


def test_high_cardinality_has_a_column_for_each_of_many_classes() -> None:
    rows = pd.DataFrame({"x": text(*"aabbcc" * 20)})
    y = np.array(["u", "u", "v", "v", "w", "w"] * 20, dtype=object)
    assert prepare(rows, {"high_cardinality": ["x"]}, y=y).shape == (120, 3)


def test_code_of_a_row_does_not_know_its_own_target() -> None:
    # Each level is there once, so it tells nothing: whoever looks at the row itself knows all.
    rows = pd.DataFrame({"x": text(*(f"level {number}" for number in range(200)))})
    y = np.random.default_rng(0).normal(size=200)
    made = prepare(rows, {"high_cardinality": ["x"]}, "native", y=y, task="regression")[:, 0]
    assert abs(np.corrcoef(made, y)[0, 1]) < 0.3


def test_level_of_high_cardinality_that_was_never_seen_is_the_mean() -> None:
    train = pd.DataFrame({"x": text(*"ab" * 10)})
    y = np.array([1.0, 3.0] * 10)
    unseen = pd.DataFrame({"x": text("never seen", None)})
    made = prepare(unseen, {"high_cardinality": ["x"]}, "native", fitted_on=train, y=y, task="regression")
    np.testing.assert_allclose(made[:, 0], 2.0)


@pytest.mark.parametrize("profile", PROFILES)
def test_column_without_any_value_is_kept(profile: Profile) -> None:
    rows = make_table(n_rows=20)
    for name in ALL_KINDS["number"] + ALL_KINDS["boolean"]:
        rows[name] = np.nan
    for name in ALL_KINDS["category"] + ALL_KINDS["ordinal"] + ALL_KINDS["high_cardinality"]:
        rows[name] = text(*[None] * 20)
    made = prepare(rows, ALL_KINDS, profile)
    assert made.shape[0] == 20
    assert profile == "native" or np.isfinite(made).all()
    later = prepare(make_table(n_rows=5), ALL_KINDS, profile, fitted_on=rows)
    assert later.shape == (5, made.shape[1])


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_that_comes_at_prediction_makes_it_fail(profile: Profile) -> None:
    train = make_table(gaps=False)
    made = prepare(strange_rows(), ALL_KINDS, profile, fitted_on=train)
    assert made.dtype == np.float64
    assert profile == "native" or np.isfinite(made).all()


@pytest.mark.parametrize("profile", PROFILES)
def test_every_column_that_is_made_has_a_name_of_its_own(profile: Profile) -> None:
    settings = Preprocess(impute="median", scale="none", max_categories=4)
    step = make_preprocess(ALL_KINDS, COLUMNS, settings, Recipe("x", profile), "classification", random_state=0)
    made = step.fit_transform(make_table(), make_table()["target"])
    assert len(set(step.get_feature_names_out())) == made.shape[1]
