import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold, cross_val_score

from src.config.train import Preprocess, Task
from src.data.columns import features_by_kind
from src.data.kinds import DATE, TEXT_KINDS
from src.featurize.encoders import DateEncoder, TextEncoder
from src.train.estimators import Encoding, EstimatorSpec
from src.train.model import Candidate, ModelSpec, make_model
from src.train.preprocess import make_preprocess
from tests.train.tables import COLUMNS, make_table, strange_rows

ENCODINGS: list[Encoding] = ["scaled", "unscaled", "native"]
ALL_KINDS = features_by_kind(COLUMNS, {})


def prepare(
    rows: pd.DataFrame,
    kinds: dict[str, list[str]],
    encoding: Encoding = "scaled",
    fitted_on: pd.DataFrame | None = None,
    y: Any = None,
    task: Task = "classification",
    columns: Any = COLUMNS,
    **settings: Any,
) -> NDArray[np.float64]:
    """Fit on `fitted_on` and transform `rows`; by default, `fit_transform` the rows."""
    chosen = Preprocess.model_validate({"impute": "median", "scale": "standard", "max_categories": 4} | settings)
    every_kind = {kind: kinds.get(kind, []) for kind in ALL_KINDS}
    step = make_preprocess(every_kind, columns, chosen, EstimatorSpec("x", encoding), task, random_state=0)
    fitted_on = rows if fitted_on is None else fitted_on
    y = np.arange(len(fitted_on)) % 2 if y is None else y
    if fitted_on is rows:
        return np.asarray(step.fit_transform(rows, y))
    return np.asarray(step.fit(fitted_on, y).transform(rows))


def text(*values: str | None) -> pd.Series:
    return pd.Series(values, dtype="str")


@pytest.mark.parametrize(("impute", "value"), [("mean", 4.0), ("median", 2.0), ("most_frequent", 1.0)])
def test_missing_number_is_imputed_from_the_training_rows(impute: str, value: float) -> None:
    train = pd.DataFrame({"a": [1.0, 1.0, 2.0, 5.0, 11.0]})
    (made,) = prepare(pd.DataFrame({"a": [np.nan]}), {"number": ["a"]}, fitted_on=train, impute=impute, scale="none")
    assert made == [value]


@pytest.mark.parametrize("encoding", ["scaled", "unscaled"])
def test_missing_number_is_marked_if_one_was_missing_in_training(encoding: Encoding) -> None:
    train = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": [1.0, 2.0, 3.0]})
    rows = pd.DataFrame({"a": [1.0, np.nan], "b": [np.nan, 2.0]})
    made = prepare(rows, {"number": ["a", "b"]}, encoding, fitted_on=train, scale="none")
    assert made.tolist() == [[1.0, 2.0, 0.0], [2.0, 2.0, 1.0]]


@pytest.mark.parametrize(
    ("scale", "expected"),
    [("standard", [-1.0, 1.0]), ("robust", [-1.0, 1.0]), ("none", [10.0, 30.0])],
)
def test_numbers_are_scaled(scale: str, expected: list[float]) -> None:
    made = prepare(pd.DataFrame({"a": [10.0, 30.0]}), {"number": ["a"]}, scale=scale)
    np.testing.assert_allclose(made[:, 0], expected)


def test_robust_scale_ignores_an_outlier() -> None:
    clean, with_outlier = pd.DataFrame({"a": np.arange(9.0)}), pd.DataFrame({"a": [*np.arange(8.0), 1e6]})
    before, after = (prepare(rows, {"number": ["a"]}, scale="robust")[:8, 0] for rows in (clean, with_outlier))
    np.testing.assert_allclose(before, after, atol=0.5)


@pytest.mark.parametrize("encoding", ["unscaled", "native"])
def test_trees_get_unscaled_numbers(encoding: Encoding) -> None:
    made = prepare(pd.DataFrame({"a": [10.0, 30.0]}), {"number": ["a"]}, encoding)
    assert made[:, 0].tolist() == [10.0, 30.0]


def test_native_encoding_keeps_missing_values() -> None:
    rows = pd.DataFrame({"a": [1.0, np.nan], "b": text("x", None), "c": text("S", None), "d": [1.0, np.nan]})
    kinds = {"number": ["a"], "category": ["b"], "ordinal": ["c"], "boolean": ["d"]}
    made = prepare(rows, kinds, "native", columns={"c": {"order": ["S", "M"]}})
    assert np.isnan(made[1]).all()
    assert not np.isnan(made[0]).any()


def test_rare_levels_share_a_column() -> None:
    levels = text(*["a"] * 9, *["b"] * 8, *["c"] * 7, "d", "e", "f")
    made = prepare(pd.DataFrame({"x": levels}), {"category": ["x"]}, max_categories=4)
    assert made.shape[1] == 4
    assert len({tuple(row) for row in made[-3:]}) == 1
    assert (made.sum(axis=1) == 1).all()


def test_missing_category_is_a_level() -> None:
    made = prepare(pd.DataFrame({"x": text("a", "b", None, None)}), {"category": ["x"]})
    assert len({tuple(row) for row in made}) == 3
    assert made.shape[1] == 3


def test_unseen_level_counts_as_a_rare_level() -> None:
    train = pd.DataFrame({"x": text(*["a"] * 9, *["b"] * 8, *["c"] * 7, "d", "e")})
    rare, unseen, missing = prepare(
        pd.DataFrame({"x": text("d", "never seen", None)}), {"category": ["x"]}, fitted_on=train
    )
    assert rare.tolist() == unseen.tolist() == missing.tolist()


def test_unseen_level_is_all_zeros_where_no_level_is_rare() -> None:
    train = pd.DataFrame({"x": text("a", "b", "a", "b")})
    made = prepare(pd.DataFrame({"x": text("never seen", None)}), {"category": ["x"]}, fitted_on=train)
    assert not made.any()


def test_native_categories_are_codes_that_fit_in_a_byte() -> None:
    levels = text(*(f"level {number}" for number in range(400) for _ in range(1 + (number < 100))))
    made = prepare(pd.DataFrame({"x": levels}), {"category": ["x"]}, "native")[:, 0]
    assert sorted(set(made)) == list(range(255))


def test_unseen_native_category_is_missing() -> None:
    train = pd.DataFrame({"x": text("a", "b")})
    made = prepare(pd.DataFrame({"x": text("never seen", None, "b")}), {"category": ["x"]}, "native", fitted_on=train)
    np.testing.assert_array_equal(made[:, 0], [np.nan, np.nan, 1.0])


def test_ordinal_levels_keep_the_declared_order() -> None:
    rows = pd.DataFrame({"x": text("L", "S", "M", None, "huge")})
    columns = {"x": {"kind": "ordinal", "order": ["S", "M", "L"]}}
    made = prepare(rows, {"ordinal": ["x"]}, "unscaled", columns=columns)[:, 0]
    assert made[:3].tolist() == [2.0, 0.0, 1.0]
    assert made[3] == made[4]


def test_ordinal_columns_may_have_different_orders() -> None:
    rows = pd.DataFrame({"x": text("L", "S"), "y": text("high", "low")})
    columns = {"x": {"order": ["S", "L"]}, "y": {"order": ["low", "mid", "high"]}}
    made = prepare(rows, {"ordinal": ["x", "y"]}, "unscaled", columns=columns)
    assert made.tolist() == [[1.0, 2.0], [0.0, 0.0]]


def test_missing_boolean_is_the_most_frequent_value() -> None:
    rows = pd.DataFrame({"x": [1.0, 0.0, 1.0, np.nan]})
    assert prepare(rows, {"boolean": ["x"]})[:, 0].tolist() == [1.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_high_cardinality_level_becomes_its_target_mean(encoding: Encoding) -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 50, 2000)
    rows = pd.DataFrame({"x": pd.Series(levels).map("p{:02}".format).astype("str")})
    made = prepare(rows, {"high_cardinality": ["x"]}, encoding, y=levels * 1.0, task="regression")
    # Boosting gets the level, too.
    assert made.shape == (2000, 2 if encoding == "native" else 1)
    assert np.corrcoef(made[:, -1], levels)[0, 1] > 0.99


def test_high_cardinality_has_one_column_per_class() -> None:
    rows = pd.DataFrame({"x": text(*"aabbcc" * 20)})
    y = np.array(["u", "u", "v", "v", "w", "w"] * 20, dtype=object)
    assert prepare(rows, {"high_cardinality": ["x"]}, y=y).shape == (120, 3)


def test_target_mean_of_a_row_excludes_its_own_target() -> None:
    # Each level occurs once, so a code that correlates with the target has seen the row itself.
    rows = pd.DataFrame({"x": text(*(f"level {number}" for number in range(200)))})
    y = np.random.default_rng(0).normal(size=200)
    made = prepare(rows, {"high_cardinality": ["x"]}, "native", y=y, task="regression")[:, -1]
    assert abs(np.corrcoef(made, y)[0, 1]) < 0.3


def test_unseen_high_cardinality_level_is_the_overall_mean() -> None:
    train = pd.DataFrame({"x": text(*"ab" * 10)})
    y = np.array([1.0, 3.0] * 10)
    unseen = pd.DataFrame({"x": text("never seen", None)})
    made = prepare(unseen, {"high_cardinality": ["x"]}, "native", fitted_on=train, y=y, task="regression")
    np.testing.assert_allclose(made[:, 1], 2.0)
    assert np.isnan(made[:, 0]).all()


def dates(*values: str | None) -> pd.DataFrame:
    return pd.DataFrame({"day": pd.Series(values, dtype=DATE)})


def test_december_is_beside_january_for_scaled_estimators() -> None:
    year = dates(*(f"{2000 + number // 12}-{number % 12 + 1:02}-15" for number in range(48)))
    encoder = DateEncoder(circular=True).fit(year)
    names = list(encoder.get_feature_names_out())
    month = [names.index("day_month_sin"), names.index("day_month_cos")]
    january, june, december = encoder.transform(dates("2026-01-15", "2026-06-15", "2026-12-15"))[:, month]
    assert np.linalg.norm(december - january) < 0.6 < np.linalg.norm(december - june)


def test_trees_get_plain_parts_and_the_time_of_a_date() -> None:
    rows = dates("1970-01-03 06:00", "1971-02-04 12:30", None)
    encoder = DateEncoder()
    made = encoder.fit_transform(rows)
    assert list(encoder.get_feature_names_out()) == ["day_time", "day_month", "day_weekday", "day_hour", "day_day"]
    assert made[0].tolist() == [2.25, 1.0, 5.0, 6.0, 3.0]
    assert made[1, 1:].tolist() == [2.0, 3.0, 12.5, 4.0]
    assert np.isnan(made[2]).all()


@pytest.mark.parametrize("circular", [False, True])
def test_parts_that_do_not_vary_are_left_out(circular: bool) -> None:
    encoder = DateEncoder(circular).fit(dates("2026-01-01", "2026-01-08", "2026-01-15"))
    expected = ["day_time"] if circular else ["day_time", "day_day"]
    assert list(encoder.get_feature_names_out()) == expected
    assert encoder.transform(dates("2030-05-05 07:00", None)).shape == (2, len(expected))


def test_dates_beyond_the_range_of_nanoseconds_have_parts() -> None:
    made = DateEncoder().fit(dates("1970-01-01", "1971-02-03")).transform(dates("2999-05-05", "0900-01-01"))
    assert made.tolist() == [[375959.0, 5.0, 6.0, 5.0], [-390809.0, 1.0, 4.0, 1.0]]


def test_missing_date_is_imputed_and_marked_for_scaled_estimators() -> None:
    made = prepare(dates("2026-01-01", "2026-02-02", None, "2026-01-09"), {"date": ["day"]})
    assert np.isfinite(made).all()
    encoder = DateEncoder(circular=True).fit(dates("2026-01-01", None))
    assert list(encoder.get_feature_names_out()) == ["day_time", "day_is_missing"]


def reviews(n_filler: int, n_rows: int = 300, seed: int = 0) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Make texts of 5 to 30 words, of which one says whether the text is positive."""
    rng = np.random.default_rng(seed)
    filler = [f"w{number}" for number in range(n_filler)]
    y, texts = rng.integers(0, 2, n_rows), []
    for label in y:
        words = rng.choice(filler, rng.integers(5, 31)).tolist()
        words[0] = rng.choice(["great", "perfect", "lovely", "superb"] if label else ["awful", "broken", "poor", "sad"])
        texts.append(" ".join(rng.permutation(words)).capitalize() + ".")
    return pd.DataFrame({"review": text(*texts)}), y


@pytest.mark.parametrize("n_filler", [20, 200, 2000])
@pytest.mark.parametrize("estimator", ["logreg", "hist_gradient_boosting"])
def test_words_that_decide_the_label_are_found(estimator: str, n_filler: int) -> None:
    X, y = reviews(n_filler)
    preprocess = Preprocess(impute="median", scale="standard", max_categories=20)
    kinds = {kind: ["review"] if kind == "text" else [] for kind in ALL_KINDS}
    spec = ModelSpec("classification", kinds, {"review": {"kind": "text"}}, preprocess, False, 0)
    model = make_model(Candidate(estimator, {}), spec)
    assert cross_val_score(model, X, y, cv=StratifiedKFold(5), scoring="roc_auc").mean() > 0.95


def test_texts_predict_a_number_and_several_classes() -> None:
    X, y = reviews(200)
    for target, is_classes, n_outputs in [
        (3.0 * y, False, 1),
        (y, True, 1),
        (np.array(["u", "v", "w"])[y * 2], True, 1),
    ]:
        encoder = TextEncoder(is_classes=is_classes)
        made = encoder.fit_transform(X, target)
        assert made.shape == (300, n_outputs + 30)
        assert np.corrcoef(made[:, 0], y)[0, 1] > 0.8
    assert TextEncoder(n_topics=2).fit_transform(X, np.arange(300) % 3).shape == (300, 5)


def test_prediction_of_a_text_excludes_its_own_target() -> None:
    X, _ = reviews(2000)
    y = np.random.default_rng(1).integers(0, 2, 300)
    assert abs(np.corrcoef(TextEncoder().fit_transform(X, y)[:, 0], y)[0, 1]) < 0.2


@pytest.mark.parametrize("texts", [[None] * 9, ["", " ", "!"] * 3, ["a"] * 9, [f"w{number}" for number in range(9)]])
def test_texts_without_common_words_are_encoded(texts: list[str | None]) -> None:
    train, y = pd.DataFrame({"review": text(*texts)}), np.arange(9) % 2
    encoder = TextEncoder().fit(train, y)
    made = encoder.transform(pd.DataFrame({"review": text("never seen", None)}))
    assert np.isfinite(made).all()
    assert made.shape[1] == len(encoder.get_feature_names_out())


def test_encoders_can_be_cloned() -> None:
    assert clone(TextEncoder(n_topics=3, random_state=5)).get_params()["n_topics"] == 3
    assert clone(DateEncoder(circular=True)).circular


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_column_without_any_value_is_kept(encoding: Encoding) -> None:
    rows = make_table(n_rows=20)
    for name in ALL_KINDS["number"] + ALL_KINDS["boolean"]:
        rows[name] = np.nan
    for name in [name for kind in TEXT_KINDS for name in ALL_KINDS[kind]]:
        rows[name] = text(*[None] * 20)
    rows["day"] = pd.Series([pd.NaT] * 20, dtype=DATE)
    made = prepare(rows, ALL_KINDS, encoding)
    assert made.shape[0] == 20
    assert encoding == "native" or np.isfinite(made).all()
    later = prepare(make_table(n_rows=5), ALL_KINDS, encoding, fitted_on=rows)
    assert later.shape == (5, made.shape[1])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_unseen_and_missing_values_are_transformed(encoding: Encoding) -> None:
    train = make_table(gaps=False)
    made = prepare(strange_rows(), ALL_KINDS, encoding, fitted_on=train)
    assert made.dtype == np.float64
    assert encoding == "native" or np.isfinite(made).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_transformed_columns_have_unique_names(encoding: Encoding) -> None:
    settings = Preprocess(impute="median", scale="none", max_categories=4)
    step = make_preprocess(ALL_KINDS, COLUMNS, settings, EstimatorSpec("x", encoding), "classification", random_state=0)
    made = step.fit_transform(make_table(), make_table()["target"])
    assert len(set(step.get_feature_names_out())) == made.shape[1]


def test_text_encoder_has_the_same_bytes_after_it_was_used() -> None:
    rows = pd.DataFrame({"x": text(*("good film", "bad film", "good actor", "bad actor") * 10)})
    encoder = TextEncoder().fit(rows, ["u", "v"] * 20)
    fitted = pickle.dumps(encoder)
    encoder.transform(rows)
    assert pickle.dumps(encoder) == fitted
    # The address of an object in memory, which differs between processes.
    assert str(id(None)).encode() not in fitted
    assert encoder.vectorizer_._stop_words_id is None
