import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.metrics import get_scorer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline

from src.config.train import ESTIMATOR_PARAMS, Task
from src.errors import ConfigError, DataError, TrainError
from src.featurize import encoders
from src.featurize.features import prepare_rows
from src.train.fit import FitResult, fit_model
from src.train.folds import make_folds
from tests.train.tables import COLUMNS, USED, dump, make_config, make_table, strange_rows

TASKS: list[Task] = ["classification", "regression"]
NAMES = [(task, name) for task in TASKS for name in sorted(ESTIMATOR_PARAMS[task])]
NO_SEARCH = {"kind": "none"}
FEW_TREES = {"hist_gradient_boosting": {"max_iter": [20]}, "lightgbm": {"n_estimators": [20]}}


def fit(estimator: Any = "logreg", task: Task = "classification", **changes: Any) -> FitResult:
    return fit_model(make_table(task), COLUMNS, make_config(estimator, task, **changes))


@pytest.fixture(scope="module")
def models() -> dict[tuple[Task, str], Pipeline]:
    """Fit each estimator once, for tests that do not modify it."""
    return {(task, name): fit(name, task, search=NO_SEARCH).model for task, name in NAMES}


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_model_has_three_steps_and_takes_the_raw_columns_it_needs(
    models: dict[Any, Pipeline], task: Task, name: str
) -> None:
    assert list(models[task, name].named_steps) == ["features", "preprocess", "estimator"]
    assert list(models[task, name].feature_names_in_) == USED


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_raw_rows_and_featurized_rows_get_the_same_prediction(
    models: dict[Any, Pipeline], task: Task, name: str
) -> None:
    model, raw = models[task, name], make_table(task, seed=3).drop(columns="target")
    predicted = model.predict(raw)
    np.testing.assert_array_equal(predicted, model[1:].predict(prepare_rows(raw, COLUMNS, {})))
    assert name == "dummy" or len(set(predicted)) > 1


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_rows_with_missing_values_and_unseen_levels_are_predicted(
    models: dict[Any, Pipeline], task: Task, name: str
) -> None:
    known = {"low", "mid", "high"}
    predicted = models[task, name].predict(strange_rows())
    assert len(predicted) == 12
    assert set(predicted) <= known if task == "classification" else np.isfinite(predicted).all()


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_prediction_of_a_row_does_not_depend_on_other_rows(models: dict[Any, Pipeline], task: Task, name: str) -> None:
    rows = strange_rows()
    single = [models[task, name].predict(rows.iloc[[position]])[0] for position in range(3)]
    batch = models[task, name].predict(rows)[:3]
    assert single == pytest.approx(list(batch)) if task == "regression" else single == list(batch)


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_two_fits_are_bytewise_equal(models: dict[Any, Pipeline], task: Task, name: str) -> None:
    # Forests use the processes within one fit.
    assert dump(fit(name, task, search=NO_SEARCH, n_jobs=2).model) == dump(models[task, name])


@pytest.mark.parametrize("task", TASKS)
def test_results_do_not_depend_on_n_jobs(task: Task) -> None:
    estimators = ["mlp", "hist_gradient_boosting", "random_forest", "ridge" if task == "regression" else "logreg"]
    sequential, parallel = fit(estimators, task), fit(estimators, task, n_jobs=2)
    assert dump(sequential.model) == dump(parallel.model)
    assert (sequential.candidates, sequential.cv_metrics) == (parallel.candidates, parallel.cv_metrics)


def test_model_does_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    files = set()
    for limit in (0, 10_000):
        monkeypatch.setattr("src.train.model.MIN_THREADED_ROWS", limit)
        files.add(dump(fit("hist_gradient_boosting", search=NO_SEARCH).model))
    assert len(files) == 1


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["logreg", "ridge", "svm", "knn", "hist_gradient_boosting", "lightgbm"])
def test_model_is_better_than_the_baseline(task: Task, name: str, caplog: pytest.LogCaptureFixture) -> None:
    if name not in ESTIMATOR_PARAMS[task]:
        pytest.skip("does the other task")
    table, grid = make_table(task, 240), {name: FEW_TREES.get(name, {})}
    columns = {name: COLUMNS[name] for name in ("height", "colour", "size", "member")}
    metrics = fit_model(table, columns, make_config(name, task, param_grid=grid)).cv_metrics
    scoring = "r2" if task == "regression" else "accuracy"
    assert set(metrics) == {f"cv_{scoring}_mean", f"cv_{scoring}_std", f"cv_{scoring}_mean_baseline"}
    assert metrics[f"cv_{scoring}_mean"] > metrics[f"cv_{scoring}_mean_baseline"] + 0.2
    assert [record.message for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize(
    ("scoring", "constant"),
    [
        ("neg_mean_absolute_error", np.median),
        ("neg_median_absolute_error", np.median),
        ("neg_root_mean_squared_error", np.mean),
    ],
)
def test_baseline_of_a_regression_is_the_best_constant(scoring: str, constant: Any) -> None:
    config = make_config("ridge", task="regression", scoring=scoring, param_grid={"ridge": {"alpha": [1.0]}})
    table = make_table("regression")
    table["target"] = np.exp(table["target"] / 1000)
    y = table["target"].to_numpy()
    scorer = get_scorer(scoring)
    expected = []
    for train, test in make_folds(table, y, config):
        dummy = DummyRegressor(strategy="constant", constant=constant(y[train])).fit(y[:, None], y)
        expected.append(scorer(dummy, y[test][:, None], y[test]))
    metrics = fit_model(table, COLUMNS, config).cv_metrics
    assert metrics[f"cv_{scoring}_mean_baseline"] == pytest.approx(np.mean(expected))


def test_baseline_is_scored_on_the_same_folds() -> None:
    metrics = fit("dummy").cv_metrics
    assert metrics["cv_accuracy_mean"] == metrics["cv_accuracy_mean_baseline"]


def test_preprocessing_is_fitted_on_each_fold() -> None:
    # A huge value in one row changes the scores if it is scaled before the folds are made.
    table = make_table(gaps=False)
    table.loc[0, "weight"] = 1e4
    result = fit_model(table, COLUMNS, make_config("knn", split={"kind": "stratified"}, param_grid={"knn": {}}))
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(3, shuffle=True, random_state=42)
    scores = cross_val_score(result.model[1:], table, table["target"], cv=folds, scoring="accuracy")
    leaked = cross_val_score(
        result.model[-1], result.model[1:-1].transform(table), table["target"], cv=folds, scoring="accuracy"
    )
    assert result.cv_metrics["cv_accuracy_mean"] == pytest.approx(scores.mean())
    assert result.cv_metrics["cv_accuracy_std"] == pytest.approx(scores.std())
    assert scores.mean() != pytest.approx(leaked.mean())


def test_best_candidate_is_refitted_on_all_rows() -> None:
    result = fit("knn", param_grid={"knn": {"n_neighbors": [60, 5]}})
    assert (result.estimator, result.best_params) == ("knn", {"n_neighbors": 5})
    assert result.model["estimator"].n_neighbors == 5
    assert result.model["estimator"].n_samples_fit_ == 90


def test_first_of_equal_candidates_is_chosen() -> None:
    result = fit("dummy", param_grid={"dummy": {"strategy": ["most_frequent", "prior"]}})
    assert result.best_params == {"strategy": "most_frequent"}


def test_best_of_several_estimators_is_chosen() -> None:
    result = fit(["dummy", "logreg", "sklearn.naive_bayes.GaussianNB"], param_grid={})
    assert result.estimator == "logreg"
    assert set(result.cv_results["estimator"]) == {
        "dummy",
        "logreg",
        "sklearn.naive_bayes.GaussianNB",
    }


def test_empty_grid_fits_the_defaults_and_a_missing_grid_is_the_default_one() -> None:
    assert len(fit("knn", param_grid={"knn": {}}).cv_results) == 1
    assert len(fit("knn", param_grid={}).cv_results) == 6


def test_without_a_search_the_first_values_are_fitted_and_not_scored() -> None:
    result = fit("knn", search=NO_SEARCH, param_grid={"knn": {"n_neighbors": [7, 3], "weights": ["distance"]}})
    assert result.best_params == {"n_neighbors": 7, "weights": "distance"}
    assert result.cv_metrics == {}
    assert result.cv_results["mean"].isna().tolist() == [True]
    assert [record["metrics"] for record in result.candidates] == [{}]


def test_class_given_by_dotted_path_is_fitted() -> None:
    path = "sklearn.tree.DecisionTreeClassifier"
    result = fit(path, param_grid={path: {"max_depth": [1, 4]}})
    assert (result.estimator, result.best_params) == (path, {"max_depth": 4})
    assert result.model.predict(strange_rows()).shape == (12,)


def test_balanced_classes_predict_the_rare_class_more_often() -> None:
    table = make_table(n_rows=240)
    rare = (table["target"] == "high") & (np.arange(240) % 4 == 0)
    table["target"] = np.where(rare, "rare", "common")
    for name in ("logreg", "mlp", "hist_gradient_boosting"):
        plain, balanced = (
            fit_model(table, COLUMNS, make_config(name, search=NO_SEARCH, class_weight=weight)).model
            for weight in ("none", "balanced")
        )
        assert (balanced.predict(table) == "rare").sum() > (plain.predict(table) == "rare").sum()


def test_target_may_have_any_scale() -> None:
    # The default parameters of these estimators assume a target of about 1; here it is thousands.
    for name in ("svm", "elastic_net"):
        assert fit(name, "regression", param_grid={}).cv_metrics["cv_r2_mean"] > 0.5


def test_model_takes_the_sources_of_features_and_learns_from_the_features() -> None:
    features = {"weeks": {"ratio": ["weight", "height"]}}
    columns = {"height": {"kind": "number"}, "weight": {"kind": "ignore"}}
    table = make_table(gaps=False).assign(height=lambda rows: rows["height"].abs() + 1)
    table["weeks"] = table["weight"] / table["height"]
    model = fit_model(table, columns, make_config(features=features, search=NO_SEARCH)).model
    assert list(model.feature_names_in_) == ["height", "weight"]
    assert list(model["preprocess"].feature_names_in_) == ["height", "weeks"]


def test_group_column_is_not_a_feature() -> None:
    model = fit(split={"kind": "group", "column": "clinic"}).model
    assert list(model.feature_names_in_) == [name for name in USED if name != "clinic"]


def test_date_that_a_feature_uses_is_no_feature_itself() -> None:
    columns = {"height": {"kind": "number"}, "day": {"kind": "date"}}
    features = {"month": {"date_part": {"column": "day", "part": "month"}}}
    table = make_table(gaps=False)
    by_default = fit_model(table, columns, make_config(search=NO_SEARCH)).model
    assert list(by_default["preprocess"].feature_names_in_) == ["height", "day"]
    table["month"] = table["day"].dt.month * 1.0
    declared = fit_model(table, columns, make_config(features=features, search=NO_SEARCH)).model
    assert list(declared["preprocess"].feature_names_in_) == ["height", "month"]
    assert list(declared.feature_names_in_) == ["height", "day"]


def test_texts_are_encoded_once_per_fold_for_all_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    monkeypatch.setattr(encoders, "_fill", lambda X: encoded.append(len(X)) or X.iloc[:, 0].fillna("").tolist())
    grids = {"logreg": {"C": [0.1, 1.0]}, "hist_gradient_boosting": {"max_iter": [2, 3]}}
    fit_model(make_table(), {"review": {"kind": "text"}}, make_config(list(grids), param_grid=grids))
    # Three folds of 60 rows to fit on and, for each candidate, 30 to score; then all rows.
    assert (encoded.count(60), encoded.count(30), encoded.count(90)) == (3, 12, 1)


def test_table_without_features_is_an_error() -> None:
    with pytest.raises(DataError, match="no column is a feature"):
        fit_model(make_table(), {"note": {"kind": "ignore"}}, make_config())


def test_input_is_not_changed() -> None:
    table = make_table()
    before = table.copy(deep=True)
    fit_model(table, COLUMNS, make_config(split={"kind": "time", "column": "day"}))
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize("labels", [["no", "yes"], [0, 1], [False, True]], ids=str)
@pytest.mark.parametrize("name", ["logreg", "hist_gradient_boosting", "lightgbm"])
def test_labels_may_be_text_integers_or_booleans(labels: list[Any], name: str) -> None:
    table = make_table()
    table["target"] = pd.Series(np.where(table["target"] == "high", labels[1], labels[0]))
    model = fit_model(table, COLUMNS, make_config(name, search=NO_SEARCH)).model
    assert list(model.classes_) == labels
    assert (model.predict(table) == table["target"]).mean() > 0.6


@pytest.mark.parametrize(
    ("estimator", "grid", "message"),
    [
        ("logreg", {"C": [-1]}, "logreg with C = -1 cannot be fitted: The 'C' parameter of LogisticRegression must be"),
        ("logreg", {"C": [1.0, "much"]}, "logreg with C = 'much' cannot be fitted: The 'C' parameter"),
        ("knn", {"n_neighbors": [1000]}, "knn with n_neighbors = 1000 cannot be fitted: "),
        (
            "knn",
            {"n_neighbors": [900, 1000]},
            "none of 2 candidates has a score; for knn with n_neighbors = 900: ",
        ),
        ("knn", {"metric": ["seuclidean"]}, "knn with metric = 'seuclidean' cannot be fitted: "),
        ("lightgbm", {"objective": ["nonsense"]}, "lightgbm with objective = 'nonsense' cannot be fitted: "),
    ],
)
@pytest.mark.parametrize("search", ["grid", "none"])
def test_invalid_parameter_value_is_reported_in_one_line(
    estimator: str, grid: dict[str, list[Any]], message: str, search: str
) -> None:
    if (search, len(next(iter(grid.values())))) == ("none", 2):
        pytest.skip("only the first value is fitted")
    task: Task = "regression" if estimator == "lightgbm" else "classification"
    with pytest.raises(TrainError) as caught:
        fit(estimator, task, param_grid={estimator: grid}, search={"kind": search})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_parameter_is_reported_before_any_fit() -> None:
    path = "sklearn.naive_bayes.GaussianNB"
    with pytest.raises(ConfigError, match=rf"param_grid\.{path}\.depth is not a parameter"):
        fit(["logreg", path], param_grid={"logreg": {"C": [-1]}, path: {"depth": [3]}})
