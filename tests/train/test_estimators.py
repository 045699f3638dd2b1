import sys
from pathlib import Path
from typing import Any

import pytest
from sklearn.base import is_classifier, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import ParameterGrid

from src.config.train import ESTIMATOR_PARAMS, SCORINGS, Task
from src.errors import ConfigError
from src.train.classes import import_class
from src.train.estimators import find_recipe, make_estimator, weigh_classes

TASKS: list[Task] = ["classification", "regression"]
NAMES = [(task, name) for task in TASKS for name in sorted(ESTIMATOR_PARAMS[task])]


def make(task: Task, name: str, **params: Any) -> Any:
    return make_estimator(find_recipe(name, task), task, params, random_state=17)


def inner(estimator: Any) -> Any:
    return estimator.regressor if isinstance(estimator, TransformedTargetRegressor) else estimator


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_estimator_does_its_task_and_is_not_fitted(task: Task, name: str) -> None:
    estimator = make(task, name)
    assert (is_classifier(estimator), is_regressor(estimator)) == (task == "classification", task == "regression")
    assert not hasattr(estimator, "n_features_in_")


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_estimator_that_knows_a_seed_gets_it(task: Task, name: str) -> None:
    assert inner(make(task, name)).get_params().get("random_state", 17) == 17


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_settings_allow_only_parameters_that_the_class_has(task: Task, name: str) -> None:
    assert set(ESTIMATOR_PARAMS[task][name]) <= set(inner(make(task, name)).get_params())


@pytest.mark.parametrize(("task", "name"), NAMES)
def test_default_grid_is_small_and_one_that_a_user_may_write(task: Task, name: str) -> None:
    grid = find_recipe(name, task).grid
    assert set(grid) <= set(ESTIMATOR_PARAMS[task][name])
    assert 1 <= len(ParameterGrid(dict(grid))) <= 8


@pytest.mark.parametrize("name", sorted(ESTIMATOR_PARAMS["classification"]))
def test_classifier_without_probabilities_is_documented_as_such(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/own-table.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith("|") and f"`{name}`" in line]
    assert hasattr(make("classification", name), "predict_proba") == ("without probabilities" not in row)


@pytest.mark.parametrize("task", TASKS)
def test_settings_allow_only_scorings_of_scikit_learn(task: Task) -> None:
    from sklearn.metrics import get_scorer_names

    assert set(SCORINGS[task]) <= set(get_scorer_names())


@pytest.mark.parametrize("name", ["linear", "ridge", "elastic_net"])
def test_estimator_of_one_task_is_refused_for_the_other(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' does no classification; choose of dummy, "):
        find_recipe(name, "classification")


def test_any_class_of_scikit_learn_is_found_by_its_path() -> None:
    from sklearn.naive_bayes import GaussianNB

    assert isinstance(make("classification", "sklearn.naive_bayes.GaussianNB"), GaussianNB)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere.to.Be", r"cannot be imported \(No module named 'nowhere'\)"),
        ("sklearn.naive_bayes.Gauss", "cannot be imported .*no attribute 'Gauss'"),
        ("sklearn.nowhere.Gauss", "cannot be imported"),
        (".GaussianNB", "cannot be imported"),
        ("sklearn.naive_bayes.", "cannot be imported"),
        ("json.dumps", "is no scikit-learn estimator but a function, without fit, predict"),
        ("collections.OrderedDict", "is no scikit-learn estimator but a type, without fit"),
        ("sklearn.preprocessing.StandardScaler", "without predict"),
        ("sklearn.ensemble.VotingClassifier", "cannot be made without arguments"),
        ("sklearn.linear_model.Lasso", "does no classification, which is base.task"),
        ("sklearn.cluster.KMeans", "does no classification"),
    ],
)
def test_path_that_names_no_estimator_of_the_task_is_refused(path: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        import_class(path, "classification")
    message = str(caught.value)
    assert message.startswith(f"params.yaml: train.estimator = '{path}': ")
    assert "\n" not in message


def test_module_that_fails_while_it_is_imported_is_one_line(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_estimators.py").write_text("raise RuntimeError('two\\nlines')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot be imported \(RuntimeError: two lines\)"):
        import_class("broken_estimators.Mine", "classification")


def test_lightgbm_that_is_absent_is_told_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    monkeypatch.setattr("importlib.import_module", _without_lightgbm)
    with pytest.raises(ConfigError, match=r"lightgbm is not installed: run .*pip install 'lightgbm>=4\.6,<5'"):
        make("classification", "lightgbm")


def _without_lightgbm(name: str) -> Any:
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_name_in_a_grid_that_the_class_does_not_have_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"GaussianNB\.depth is no parameter of .*; choose of priors, var_smoothing\."
    ):
        make("classification", "sklearn.naive_bayes.GaussianNB", depth=3)


@pytest.mark.parametrize(
    ("name", "by_rows"), [("logreg", False), ("hist_gradient_boosting", False), ("lightgbm", False), ("mlp", True)]
)
def test_classes_are_weighed_by_the_class_itself_or_by_weights_of_rows(name: str, by_rows: bool) -> None:
    estimator = make("classification", name)
    assert weigh_classes(name, estimator) == by_rows
    assert estimator.get_params().get("class_weight") == (None if by_rows else "balanced")


def test_estimator_that_can_weigh_nothing_is_refused_for_balanced_classes() -> None:
    with pytest.raises(ConfigError, match="'balanced': knn can weigh neither classes nor rows; set it to none"):
        weigh_classes("knn", make("classification", "knn"))
