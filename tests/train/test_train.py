import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_iris
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline

from src.config.schema import ESTIMATOR_PARAMS, Train
from src.data.features import add_features
from src.data.target import split_target
from src.errors import DataError, FeatureError, TrainError
from src.train.estimators import make_estimator
from src.train.train import FitResult, fit_model, make_preprocess

ESTIMATORS = sorted(ESTIMATOR_PARAMS)
GRIDS: dict[str, dict[str, list[Any]]] = {
    "knn": {"n_neighbors": [3, 7]},
    "logreg": {"C": [0.1, 1.0], "max_iter": [1000]},
    "svm": {"C": [0.1, 1.0]},
}
FEATURES = {"sepal_ratio": {"ratio": ["sepal_length", "sepal_width"]}, "odd": {"ratio": ["petal_width", "sepal_width"]}}
RAW_COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def settings(estimator: str = "logreg", **changes: Any) -> Train:
    defaults = {
        "estimator": estimator,
        "cv": 3,
        "scoring": "f1_macro",
        "n_jobs": 1,
        "param_grid": GRIDS,
        "model_path": "models/model.joblib",
        "cv_metrics_path": "reports/cv_metrics.json",
    }
    return Train.model_validate(defaults | changes)


def iris() -> tuple[pd.DataFrame, NDArray[np.object_]]:
    X, y = load_iris(return_X_y=True, as_frame=True)
    return X.set_axis(RAW_COLUMNS, axis=1), y.map({0: "setosa", 1: "versicolor", 2: "virginica"}).to_numpy(dtype=object)


def numbers(n_rows: int = 60) -> tuple[pd.DataFrame, NDArray[np.object_]]:
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(n_rows, 2)), columns=["a", "b"])
    return X, np.where(X["a"] > 0, "high", "low").astype(object)


def fit_iris(estimator: str, **changes: Any) -> FitResult:
    X, y = iris()
    return fit_model(add_features(X, FEATURES), y, FEATURES, settings(estimator, **changes), random_state=42)


@pytest.fixture(scope="module")
def models() -> dict[str, Pipeline]:
    """Fit each estimator once, for the tests that only look."""
    return {estimator: fit_iris(estimator).model for estimator in ESTIMATORS}


def dumped(model: Pipeline) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_model_is_features_then_preprocess_then_estimator(models: dict[str, Pipeline], estimator: str) -> None:
    model = models[estimator]
    assert list(model.named_steps) == ["features", "preprocess", "estimator"]
    assert type(model["estimator"]) is type(make_estimator(estimator, random_state=0))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_raw_rows_and_featurized_rows_get_the_same_prediction(models: dict[str, Pipeline], estimator: str) -> None:
    model = models[estimator]
    raw, _ = iris()
    featurized = add_features(raw, FEATURES)
    method = "predict_proba" if hasattr(model, "predict_proba") else "decision_function"
    np.testing.assert_array_equal(model.predict(raw), model[1:].predict(featurized))
    np.testing.assert_array_equal(getattr(model, method)(raw), getattr(model[1:], method)(featurized))
    assert len(set(model.predict(raw))) == 3


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_model_learns_from_the_declared_features(models: dict[str, Pipeline], estimator: str) -> None:
    model = models[estimator]
    assert list(model["preprocess"].feature_names_in_) == [*RAW_COLUMNS, *FEATURES]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_model_takes_the_raw_columns(models: dict[str, Pipeline], estimator: str) -> None:
    model = models[estimator]
    assert list(model.feature_names_in_) == RAW_COLUMNS
    raw, _ = iris()
    with pytest.raises(FeatureError, match="needs column 'sepal_width', which is missing"):
        model.predict(raw.drop(columns="sepal_width"))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_two_fits_are_equal_to_the_byte(estimator: str) -> None:
    first, second = fit_iris(estimator), fit_iris(estimator)
    assert dumped(first.model) == dumped(second.model)
    assert (first.best_params, first.cv_metrics) == (second.best_params, second.cv_metrics)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_number_of_processes_changes_nothing(estimator: str) -> None:
    alone, together = fit_iris(estimator), fit_iris(estimator, n_jobs=2)
    assert dumped(alone.model) == dumped(together.model)
    assert (alone.best_params, alone.cv_metrics) == (together.best_params, together.cv_metrics)


def test_search_runs_in_processes_of_its_own(tmp_path: Path) -> None:
    def weigh(distances: NDArray[np.float64]) -> NDArray[np.float64]:
        (tmp_path / str(os.getpid())).touch()
        return np.ones_like(distances)

    X, y = numbers()
    for n_jobs in (1, 2):
        fit_model(X, y, {}, settings("knn", n_jobs=n_jobs, param_grid={"knn": {"weights": [weigh]}}), random_state=0)
        pids = {path.name for path in tmp_path.iterdir()}
        assert (pids == {str(os.getpid())}) == (n_jobs == 1)


def test_seed_decides_on_the_folds() -> None:
    X, y = iris()
    first, second = (fit_model(X, y, {}, settings(), random_state=seed).cv_metrics for seed in (1, 2))
    assert first != second


def test_model_is_found_again_by_a_process_that_has_the_features_module_only(
    models: dict[str, Pipeline], tmp_path: Path
) -> None:
    # What a stage reads and what is served: neither has imported src.train.
    path = tmp_path / "model.joblib"
    joblib.dump(models["logreg"], path)
    code = (
        "import joblib, json, sys\n"
        "import pandas as pd\n"
        f"model = joblib.load({str(path)!r})\n"
        f"X = pd.DataFrame([[5.1, 3.5, 1.4, 0.2]], columns={RAW_COLUMNS!r})\n"
        "loaded = sorted(name for name in sys.modules if name.startswith('src.'))\n"
        "print(json.dumps([list(model.predict(X)), loaded]))\n"
    )
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=os.environ, check=True, capture_output=True, text=True
    )
    assert json.loads(result.stdout) == [["setosa"], ["src.data", "src.data.features", "src.errors"]]


def test_best_of_the_grid_is_chosen() -> None:
    X, y = numbers()
    # One neighbour of 40 is right here, all 40 tell only which class is larger.
    grid = {"knn": {"n_neighbors": [40, 1]}}
    fit = fit_model(X, y, {}, settings("knn", param_grid=grid), random_state=0)
    assert fit.best_params == {"n_neighbors": 1}
    assert fit.model["estimator"].n_neighbors == 1


def test_empty_grid_fits_the_defaults() -> None:
    X, y = numbers()
    fit = fit_model(X, y, {}, settings("knn", param_grid={"knn": {}}), random_state=0)
    assert fit.best_params == {}
    assert fit.model["estimator"].get_params() == make_estimator("knn", random_state=0).get_params()


@pytest.mark.parametrize("scoring", ["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted"])
def test_metrics_of_the_search_are_named_after_its_scoring(scoring: str) -> None:
    X, y = numbers()
    metrics = fit_model(X, y, {}, settings(scoring=scoring), random_state=0).cv_metrics
    assert list(metrics) == [f"cv_{scoring}_mean", f"cv_{scoring}_std"]
    assert all(type(value) is float for value in metrics.values())


def test_score_of_a_fold_is_that_of_a_preprocess_which_has_not_seen_it() -> None:
    X, y = numbers()
    # A huge value in one row: whoever scales with it before the folds are cut gets another score.
    X.loc[0, "b"] = 1e4
    metrics = fit_model(X, y, {}, settings("knn", param_grid={"knn": {}}), random_state=0).cv_metrics
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    inside = Pipeline([("preprocess", make_preprocess()), ("estimator", make_estimator("knn", random_state=0))])
    scores = cross_val_score(inside, X, y, scoring="f1_macro", cv=folds)
    leaked = cross_val_score(inside[-1], make_preprocess().fit_transform(X), y, scoring="f1_macro", cv=folds)
    assert metrics["cv_f1_macro_mean"] == pytest.approx(scores.mean())
    assert metrics["cv_f1_macro_std"] == pytest.approx(scores.std())
    assert scores.mean() != pytest.approx(leaked.mean())


def test_preprocess_is_fitted_on_the_training_rows_only() -> None:
    X, y = numbers()
    X.loc[:9, "a"] = np.nan
    model = fit_model(X, y, {}, settings(), random_state=0).model
    model.predict(X * 1000)
    scaling = model["preprocess"].named_transformers_["numbers"]
    imputed = X.fillna(X.median())
    np.testing.assert_allclose(scaling["simpleimputer"].statistics_, X.median())
    np.testing.assert_allclose(scaling["standardscaler"].mean_, imputed.mean())
    np.testing.assert_allclose(scaling["standardscaler"].scale_, imputed.std(ddof=0))


def test_input_is_not_changed() -> None:
    X, y = iris()
    featurized = add_features(X, FEATURES)
    before = featurized.copy(deep=True)
    fit_model(featurized, y, FEATURES, settings(), random_state=0)
    pd.testing.assert_frame_equal(featurized, before)


def test_class_with_fewer_rows_than_folds_is_named_before_any_fit() -> None:
    X, _ = numbers()
    y = np.array(["common"] * 58 + ["rare"] * 2, dtype=object)
    # The grid could not be fitted either: it is not even tried.
    refused = settings(param_grid={"logreg": {"C": [-1]}})
    with pytest.raises(DataError) as caught:
        fit_model(X, y, {}, refused, random_state=0)
    assert str(caught.value) == "too few rows of class 'rare' (2): train.cv = 3 needs at least 3 of each class."


@pytest.mark.parametrize(
    ("estimator", "grid", "reason"),
    [
        ("logreg", {"C": [-1]}, "The 'C' parameter of LogisticRegression must be"),
        ("logreg", {"C": [1.0, "much"]}, "'much'"),
        ("knn", {"n_neighbors": [1000]}, "n_neighbors = 1000"),
        ("svm", {"kernel": ["cubic"]}, "'cubic'"),
        ("logreg", {"class_weight": [{"low": {"high": 1}}]}, "dict"),
        ("knn", {"metric": ["seuclidean"]}, "argument"),
    ],
)
def test_grid_value_that_scikit_learn_refuses_is_one_line(
    estimator: str, grid: dict[str, list[Any]], reason: str
) -> None:
    X, y = numbers()
    with pytest.raises(TrainError) as caught:
        fit_model(X, y, {}, settings(estimator, param_grid={estimator: grid}), random_state=0)
    message = str(caught.value)
    assert message.startswith(f"{estimator} cannot be fitted with train.param_grid.{estimator} = {grid}: ")
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["u", "v", "u", "w"] * 15),
        pd.Series(["u", None, "u", "v"] * 15),
        pd.Series(["u", None, "u", "v"] * 15, dtype=object),
        pd.Series(pd.Categorical(["u", None, "u", "v"] * 15)),
        pd.Series([1.0, np.nan, 1.0, 2.0] * 15),
        pd.Series([1, None, 1, 2] * 15, dtype="Int64"),
        pd.Series([True, None, True, False] * 15, dtype="boolean"),
        pd.Series([True, False, True, False] * 15),
    ],
    ids=["text", "text-missing", "object-missing", "category", "float-missing", "Int64-missing", "boolean", "bool"],
)
def test_columns_of_text_truth_and_missing_values_can_be_learned_from(column: pd.Series) -> None:
    X, y = numbers()
    X = X.assign(extra=column)
    # The extra column alone tells the class, and a missing value counts as the usual one.
    y = np.where(column.isna() | (column == column.iloc[0]), "left", "right").astype(object)
    model = fit_model(X, y, {}, settings(), random_state=0).model
    assert (model.predict(X) == y).mean() > 0.9


def test_text_that_was_never_seen_is_predicted_all_the_same() -> None:
    X, y = numbers()
    model = fit_model(X.assign(text=["u", "v"] * 30), y, {}, settings(), random_state=0).model
    assert set(model.predict(X.assign(text="new"))) <= {"high", "low"}


def test_columns_may_come_in_another_order_than_the_text() -> None:
    X, y = numbers()
    X.insert(0, "text", ["u", "v"] * 30)
    model = fit_model(X, y, {}, settings(), random_state=0).model
    assert (model.predict(X) == y).mean() > 0.9


@pytest.mark.parametrize("labels", [["no", "yes"], [0, 1], [False, True], [1.0, 2.0]], ids=lambda labels: str(labels))
def test_labels_of_any_kind_can_be_learned(labels: list[object]) -> None:
    X, y = numbers()
    target = pd.Series(y).map({"low": labels[0], "high": labels[1]})
    rows, y_train = split_target(X.assign(target=target), "target")
    model = fit_model(rows, y_train, {}, settings(), random_state=0).model
    assert list(model.classes_) == labels
    assert (model.predict(X) == target).mean() > 0.9
