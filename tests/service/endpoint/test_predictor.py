import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler

from src.config.train import Task
from src.data.kinds import convert_columns
from src.errors import MissingInputError
from src.featurize.encoders import DateEncoder
from src.featurize.features import add_features
from src.service.endpoint.predictor import Predictor
from src.train.estimators import _ESTIMATORS
from src.train.fit import fit_model
from tests.train.tables import COLUMNS, QUICK, make_config, make_table, strange_rows

FEATURES = {"height_to_weight": {"difference": ["height", "weight"]}}
ALL = [(name, task) for task, names in _ESTIMATORS.items() for name in names]


@cache
def fitted(estimator: str = "logreg", task: Task = "classification", **changes: Any) -> Pipeline:
    table = make_table(task, n_rows=150)
    if changes.pop("two_classes", False):
        table["target"] = table["target"].replace("mid", "low")
    grid = {estimator: QUICK[estimator]} if estimator in QUICK else {}
    config = make_config(estimator, task, features=FEATURES, search={"kind": "none"}, param_grid=grid, **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_model(add_features(table, config.features), COLUMNS, config).model


def rows_of(model: Pipeline) -> pd.DataFrame:
    """Make new rows, with missing values and unseen levels."""
    raw = pd.concat([make_table(n_rows=60, seed=3), strange_rows()], ignore_index=True)
    columns = model["features"].kw_args["columns"]
    return convert_columns(raw[list(model.feature_names_in_)], columns)


def assert_equal(model: Pipeline, X: pd.DataFrame, predictor: Predictor) -> None:
    made = predictor.predict(X)
    np.testing.assert_array_equal(made.labels, model.predict(X), strict=True)
    if hasattr(model, "predict_proba"):
        np.testing.assert_array_equal(made.probabilities, model.predict_proba(X), strict=True)
    else:
        assert made.probabilities is None


@pytest.mark.parametrize(("estimator", "task"), ALL)
def test_predictions_are_equal_to_the_bit(estimator: str, task: Task, caplog: pytest.LogCaptureFixture) -> None:
    model = fitted(estimator, task)
    predictor, X = Predictor(model), rows_of(model)
    # It did not fall back to the plain steps.
    assert not [record for record in caplog.records if record.name == "src.service.endpoint.predictor"]
    for n_rows in (1, 2, 7, 32, len(X)):
        for start in range(0, len(X) - n_rows + 1, 8):
            assert_equal(model, X[start : start + n_rows], predictor)


@pytest.mark.parametrize("estimator", ["logreg", "hist_gradient_boosting", "random_forest", "svm"])
@pytest.mark.parametrize(
    "changes", [{"threshold": 0.3}, {"calibrate": "sigmoid"}, {"calibrate": "isotonic", "threshold": 0.3}]
)
def test_thresholds_and_calibration_are_kept(
    estimator: str, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    if estimator == "svm" and "calibrate" not in changes:
        pytest.skip("predicts no probabilities")
    model = fitted(estimator, two_classes=True, **changes)
    predictor, X = Predictor(model), rows_of(model)
    assert not [record for record in caplog.records if record.name == "src.service.endpoint.predictor"]
    for part in (X[:1], X[5:12], X):
        assert_equal(model, part, predictor)


@pytest.mark.parametrize(
    "preprocess", [{"scale": "robust", "impute": "most_frequent"}, {"scale": "none", "impute": "mean"}]
)
def test_every_setting_of_the_preprocessing_gives_equal_bits(preprocess: dict[str, Any]) -> None:
    columns = {"impute": "median", "scale": "standard", "max_categories": 3} | preprocess
    table = make_table(n_rows=150)
    model = fit_model(table, COLUMNS, make_config("logreg", search={"kind": "none"}, preprocess=columns)).model
    assert_equal(model, rows_of(model), Predictor(model))


def test_sparse_rows_stay_sparse() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({f"c{number}": rng.choice(list("abcdefghijklmnop"), 200) for number in range(3)})
    table = table.assign(a=rng.normal(size=200), target=np.where(rng.random(200) < 0.5, "x", "y")).astype(
        {"target": "str"}
    )
    columns = {name: {"kind": "number" if name == "a" else "category"} for name in table.columns[:-1]}
    model = fit_model(table, columns, make_config("logreg", search={"kind": "none"})).model
    X = convert_columns(table.drop(columns="target"), columns)
    assert sparse.issparse(model[:-1].transform(X))
    predictor = Predictor(model)
    for part in (X[:1], X):
        assert_equal(model, part, predictor)


def test_unknown_steps_are_used_as_they_are() -> None:
    model = fitted()
    own = ColumnTransformer([("own", MaxAbsScaler(), ["weight"]), ("date", DateEncoder(), ["day"])])
    rows = rows_of(model).dropna()
    features = model["features"]
    changed = Pipeline([("features", features), ("preprocess", own), ("estimator", GaussianNB())])
    changed.fit(rows, np.arange(len(rows)) % 3)
    assert_equal(changed, rows, Predictor(changed))


def test_model_whose_steps_cannot_be_taken_apart_is_served_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    model = fitted()
    whole = Pipeline([*model.steps])
    whole.steps[1] = ("preprocess", FunctionTransformer(model["preprocess"].transform))
    assert_equal(whole, rows_of(model), Predictor(whole))
    assert "predicting with the plain pipeline, which is slower" in caplog.text


class OwnEstimator(GaussianNB):  # type: ignore[misc]  # scikit-learn ships no types
    """Names its rows otherwise than scikit-learn does."""

    def predict_proba(self, x: Any) -> Any:
        return super().predict_proba(x)


def test_estimator_whose_methods_cannot_be_shared_is_used_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    model = fitted()
    rows = rows_of(model).dropna()
    own = Pipeline([*model.steps[:2], ("estimator", OwnEstimator())])
    own["estimator"].fit(own[:2].transform(rows), np.arange(len(rows)) % 3)
    assert_equal(own, rows, Predictor(own))
    assert "predicting with the plain pipeline, which is slower" in caplog.text


def test_other_models_are_refused() -> None:
    with pytest.raises(MissingInputError, match="the model is a Pipeline, not a fitted Pipeline with the steps"):
        Predictor(fitted()[1:])


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_values_give_equal_bits(data: st.DataObject) -> None:
    model = fitted(data.draw(st.sampled_from(["logreg", "hist_gradient_boosting"])))
    texts = st.one_of(st.none(), st.sampled_from(["red", "S", "a", "p07", "good bad"]), st.text(max_size=5))
    values = {
        "number": st.one_of(st.none(), st.floats(-1e100, 1e100)),
        "boolean": st.sampled_from([0.0, 1.0, None]),
        "date": st.one_of(st.none(), st.datetimes(*pd.to_datetime(["1700-01-01", "2261-01-01"]).to_pydatetime())),
    }
    columns = model["features"].kw_args["columns"]
    n_rows = data.draw(st.integers(1, 4))
    raw = pd.DataFrame(
        {
            name: pd.Series(
                data.draw(st.lists(values.get(columns[name]["kind"], texts), min_size=n_rows, max_size=n_rows)),
                dtype="object",
            )
            for name in model.feature_names_in_
        }
    )
    assert_equal(model, convert_columns(raw, columns), cached_predictor(model))


@cache
def cached_predictor(model: Pipeline) -> Predictor:
    return Predictor(model)
