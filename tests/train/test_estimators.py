import sys
from pathlib import Path
from typing import Any

import pytest
from sklearn.base import is_classifier, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.metrics import get_scorer_names
from sklearn.model_selection import ParameterGrid

from src.config.train import ESTIMATOR_PARAMS, SCORINGS, Task
from src.errors import ConfigError
from src.train.estimators import balance_classes, find_estimator, import_estimator, make_estimator

TASKS: list[Task] = ["classification", "regression"]
NAMES = [(task, name) for task in TASKS for name in sorted(ESTIMATOR_PARAMS[task])]


def make(task: Task, name: str, **params: Any) -> Any:
    return make_estimator(find_estimator(name, task), task, params, random_state=17)


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_estimator_supports_its_task_and_parameters(task: Task, name: str) -> None:
    estimator = make(task, name)
    assert (is_classifier(estimator), is_regressor(estimator)) == (task == "classification", task == "regression")
    assert not hasattr(estimator, "n_features_in_")
    inner = estimator.regressor if isinstance(estimator, TransformedTargetRegressor) else estimator
    assert inner.get_params().get("random_state", 17) == 17
    assert set(ESTIMATOR_PARAMS[task][name]) <= set(inner.get_params())


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_default_grid_is_small_and_valid_in_params_yaml(task: Task, name: str) -> None:
    grid = find_estimator(name, task).grid
    assert set(grid) <= set(ESTIMATOR_PARAMS[task][name])
    assert 1 <= len(ParameterGrid(dict(grid))) <= 8


@pytest.mark.parametrize(
    ("task", "name", "fixed"),
    [
        ("classification", "logreg", {"max_iter": 1000}),
        ("classification", "mlp", {"max_iter": 500}),
        ("regression", "mlp", {"max_iter": 500}),
        ("regression", "elastic_net", {"max_iter": 10_000}),
        ("classification", "lightgbm", {"deterministic": True, "force_col_wise": True, "verbosity": -1, "n_jobs": 0}),
        ("regression", "lightgbm", {"deterministic": True, "force_col_wise": True, "verbosity": -1, "n_jobs": 0}),
    ],
)
def test_defaults_differ_from_the_class(task: Task, name: str, fixed: dict[str, Any]) -> None:
    estimator = make(task, name)
    inner = estimator.regressor if isinstance(estimator, TransformedTargetRegressor) else estimator
    assert {param: inner.get_params()[param] for param in fixed} == fixed


def test_default_that_differs_from_the_class_can_be_changed() -> None:
    assert make("classification", "logreg", max_iter=3).max_iter == 3


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_target_is_standardised_where_the_defaults_assume_it(task: Task, name: str) -> None:
    standardised = {("regression", "elastic_net"), ("regression", "mlp"), ("regression", "svm")}
    assert isinstance(make(task, name), TransformedTargetRegressor) == ((task, name) in standardised)


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_one_hot_columns_are_sparse_where_the_estimator_accepts_them(task: Task, name: str) -> None:
    assert find_estimator(name, task).accepts_sparse == (name in ("knn", "logreg", "mlp", "svm"))


@pytest.mark.parametrize("name", sorted(ESTIMATOR_PARAMS["classification"]))
def test_docs_name_the_classifiers_without_probabilities(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/own-table.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith("|") and f"`{name}`" in line]
    assert hasattr(make("classification", name), "predict_proba") == ("without probabilities" not in row)


@pytest.mark.parametrize("task", TASKS)
def test_settings_allow_only_scorings_of_scikit_learn(task: Task) -> None:
    assert set(SCORINGS[task]) <= set(get_scorer_names())


def test_estimator_of_the_other_task_is_an_error() -> None:
    with pytest.raises(ConfigError, match="'ridge' does not support classification; choose one of dummy, "):
        find_estimator("ridge", "classification")


@pytest.mark.parametrize(
    ("path", "encoding"),
    [("sklearn.naive_bayes.GaussianNB", "scaled"), ("sklearn.tree.DecisionTreeClassifier", "unscaled")],
)
def test_any_class_is_found_by_its_dotted_path(path: str, encoding: str) -> None:
    assert type(make("classification", path)).__name__ == path.rpartition(".")[2]
    assert find_estimator(path, "classification").encoding == encoding


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere.to.Be", r"cannot be imported \(No module named 'nowhere'\); install the package or fix the path\."),
        ("sklearn.naive_bayes.Gauss", r"cannot be imported \(module .* has no attribute 'Gauss'\)"),
        (".GaussianNB", r"cannot be imported \(ValueError: Empty module name\)"),
        ("sklearn.naive_bayes.", "cannot be imported"),
        ("json.dumps", "not a scikit-learn estimator class, got a function without fit, predict"),
        ("collections.OrderedDict", "got a type without fit"),
        ("sklearn.preprocessing.StandardScaler", "got a type without predict;"),
        ("sklearn.ensemble.VotingClassifier", "cannot be created without arguments"),
        ("sklearn.linear_model.Lasso", "does not support base.task = 'classification'"),
        ("sklearn.cluster.KMeans", "does not support base.task"),
    ],
)
def test_path_without_a_usable_estimator_is_an_error(path: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        import_estimator(path, "classification")
    assert str(caught.value).startswith(f"params.yaml: train.estimator = '{path}': ")
    assert "\n" not in str(caught.value)


def test_instance_instead_of_a_class_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.train.tables.instance", make("classification", "knn"), raising=False)
    with pytest.raises(ConfigError, match="got a KNeighborsClassifier; name a class"):
        import_estimator("tests.train.tables.instance", "classification")


def test_module_that_fails_at_import_is_reported_in_one_line(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_estimators.py").write_text("raise RuntimeError('two\\nlines')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot be imported \(RuntimeError: two lines\)"):
        import_estimator("broken_estimators.Mine", "classification")


def test_missing_lightgbm_is_reported_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ConfigError, match=r"lightgbm is not installed: run .*pip install 'lightgbm>=4\.6,<5'"):
        make("classification", "lightgbm")


def test_wrong_class_of_lightgbm_is_not_reported_as_missing() -> None:
    with pytest.raises(ConfigError, match=r"lightgbm\.Nothing': cannot be imported"):
        import_estimator("lightgbm.Nothing", "classification")


def test_unknown_parameter_is_an_error() -> None:
    with pytest.raises(
        ConfigError, match=r"GaussianNB\.depth is not a parameter of .*; choose one of priors, var_smoothing\."
    ):
        make("classification", "sklearn.naive_bayes.GaussianNB", depth=3)


@pytest.mark.parametrize(("name", "class_weight"), [("logreg", "balanced"), ("lightgbm", "balanced"), ("mlp", None)])
def test_classes_are_balanced_by_the_estimator_where_it_can(name: str, class_weight: str | None) -> None:
    estimator = make("classification", name)
    balance_classes(name, estimator)
    assert estimator.get_params().get("class_weight") == class_weight


def test_balanced_classes_need_an_estimator_with_weights() -> None:
    with pytest.raises(ConfigError, match="'balanced': knn supports neither class weights nor row weights; set"):
        balance_classes("knn", make("classification", "knn"))
