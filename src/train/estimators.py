"""The estimators of `params.yaml`: by name, or any class by its dotted path."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sklearn.compose import TransformedTargetRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter

from src.config.train import Task
from src.errors import ConfigError
from src.train.classes import import_class

# What an estimator wants of its columns: all on one scale, plain numbers, or numbers
# with gaps and categories as codes.
Profile = Literal["scaled", "unscaled", "native"]
Grid = Mapping[str, list[Any]]


@dataclass(frozen=True)
class Recipe:
    """How an estimator is made for one task.

    Attributes:
        path: Dotted path of its class.
        profile: What it wants of its columns.
        grid: Values that are searched where `params.yaml` names none; the first of each alone without a search.
        fixed: Parameters that differ from the class's own defaults.
        takes_sparse: Whether one-hot columns may be a sparse matrix.
        scales_target: Whether the numbers to predict are brought to one scale too: its defaults suppose it.
        own_processes: Whether one fit can use several processes with the same result.
    """

    path: str
    profile: Profile
    grid: Grid = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    takes_sparse: bool = False
    scales_target: bool = False
    own_processes: bool = False


_BOOSTING: Grid = {"learning_rate": [0.1, 0.05], "max_leaf_nodes": [31, 15]}
_MLP: Grid = {"hidden_layer_sizes": [[64], [64, 32]], "alpha": [0.0001, 0.01]}
_KNN: Grid = {"n_neighbors": [5, 3, 15], "weights": ["uniform", "distance"]}
_SVM: Grid = {"C": [1.0, 0.1, 10.0]}
# The same result for any number of threads; otherwise LightGBM promises that for none.
_LIGHTGBM = {"deterministic": True, "force_col_wise": True, "verbosity": -1, "n_jobs": 0}
_RECIPES: Mapping[Task, Mapping[str, Recipe]] = {
    "classification": {
        "dummy": Recipe("sklearn.dummy.DummyClassifier", "unscaled", {"strategy": ["prior"]}),
        "extra_trees": Recipe(
            "sklearn.ensemble.ExtraTreesClassifier",
            "unscaled",
            {"min_samples_leaf": [1, 5], "max_features": ["sqrt", 0.5]},
            own_processes=True,
        ),
        "hist_gradient_boosting": Recipe("sklearn.ensemble.HistGradientBoostingClassifier", "native", _BOOSTING),
        "knn": Recipe("sklearn.neighbors.KNeighborsClassifier", "scaled", _KNN, takes_sparse=True),
        "lightgbm": Recipe(
            "lightgbm.LGBMClassifier",
            "native",
            {"learning_rate": [0.1, 0.05], "num_leaves": [31, 15]},
            _LIGHTGBM,
        ),
        "logreg": Recipe(
            "sklearn.linear_model.LogisticRegression",
            "scaled",
            {"C": [1.0, 0.01, 0.1, 10.0]},
            {"max_iter": 1000},
            takes_sparse=True,
        ),
        "mlp": Recipe("sklearn.neural_network.MLPClassifier", "scaled", _MLP, {"max_iter": 500}, takes_sparse=True),
        "random_forest": Recipe(
            "sklearn.ensemble.RandomForestClassifier",
            "unscaled",
            {"min_samples_leaf": [1, 5], "max_features": ["sqrt", 0.5]},
            own_processes=True,
        ),
        "svm": Recipe("sklearn.svm.SVC", "scaled", _SVM, takes_sparse=True),
    },
    "regression": {
        "dummy": Recipe("sklearn.dummy.DummyRegressor", "unscaled", {"strategy": ["mean", "median"]}),
        "elastic_net": Recipe(
            "sklearn.linear_model.ElasticNet",
            "scaled",
            {"alpha": [0.1, 0.001, 0.01, 1.0], "l1_ratio": [0.5, 0.9]},
            {"max_iter": 10_000},
            scales_target=True,
        ),
        "extra_trees": Recipe(
            "sklearn.ensemble.ExtraTreesRegressor",
            "unscaled",
            {"min_samples_leaf": [1, 5], "max_features": [1.0, 0.33]},
            own_processes=True,
        ),
        "hist_gradient_boosting": Recipe("sklearn.ensemble.HistGradientBoostingRegressor", "native", _BOOSTING),
        "knn": Recipe("sklearn.neighbors.KNeighborsRegressor", "scaled", _KNN, takes_sparse=True),
        "lightgbm": Recipe(
            "lightgbm.LGBMRegressor",
            "native",
            {"learning_rate": [0.1, 0.05], "num_leaves": [31, 15]},
            _LIGHTGBM,
        ),
        "linear": Recipe("sklearn.linear_model.LinearRegression", "scaled"),
        "mlp": Recipe(
            "sklearn.neural_network.MLPRegressor",
            "scaled",
            _MLP,
            {"max_iter": 500},
            takes_sparse=True,
            scales_target=True,
        ),
        "random_forest": Recipe(
            "sklearn.ensemble.RandomForestRegressor",
            "unscaled",
            {"min_samples_leaf": [1, 5], "max_features": [1.0, 0.33]},
            own_processes=True,
        ),
        "ridge": Recipe("sklearn.linear_model.Ridge", "scaled", {"alpha": [1.0, 0.1, 10.0, 100.0]}),
        "svm": Recipe("sklearn.svm.SVR", "scaled", _SVM, takes_sparse=True, scales_target=True),
    },
}
# Classes named by dotted path that need no scaling.
_TREES = ("sklearn.ensemble.", "sklearn.tree.", "xgboost.", "catboost.", "lightgbm.")


def find_recipe(name: str, task: Task) -> Recipe:
    """Find how an estimator is made.

    To add a name: a line in the table above, and its parameters in `ESTIMATOR_PARAMS`
    of `src/config/train.py`.

    Args:
        name: A name of the table, or the dotted path of a class.
        task: What it must do.
    """
    if recipe := _RECIPES[task].get(name):
        return recipe
    if "." not in name:
        raise ConfigError(
            f"params.yaml: train.estimator = {name!r} does no {task}; choose of {', '.join(_RECIPES[task])}."
        )
    return Recipe(name, "unscaled" if name.startswith(_TREES) else "scaled")


def make_estimator(recipe: Recipe, task: Task, params: Mapping[str, Any], random_state: int) -> Any:
    """Make an unfitted estimator.

    Args:
        recipe: How it is made.
        task: What it must do.
        params: Its parameters; others have the recipe's or the class's own default.
        random_state: Seed of the estimators that use one.

    Raises:
        ConfigError: The class cannot be used, or does not have one of the parameters.
    """
    made = import_class(recipe.path, task)()
    known = made.get_params()
    if unknown := sorted(set(params) - set(known)):
        raise ConfigError(
            f"params.yaml: train.param_grid.{recipe.path}.{unknown[0]} is no parameter of {recipe.path}; "
            f"choose of {', '.join(sorted(known))}."
        )
    seed = {"random_state": random_state} if "random_state" in known else {}
    made.set_params(**seed | dict(recipe.fixed) | dict(params))
    if recipe.scales_target:
        return TransformedTargetRegressor(made, transformer=StandardScaler(), check_inverse=False)
    return made


def weigh_classes(name: str, estimator: Any) -> bool:
    """Let rare classes weigh more; tells whether the fit must be given weights of rows for it.

    Args:
        name: What params.yaml calls the estimator.
        estimator: Changed in place if it takes weights of classes.

    Raises:
        ConfigError: It can do neither.
    """
    if "class_weight" in estimator.get_params():
        estimator.set_params(class_weight="balanced")
        return False
    if has_fit_parameter(estimator, "sample_weight"):
        return True
    raise ConfigError(
        f"params.yaml: train.class_weight = 'balanced': {name} can weigh neither classes nor rows; set it to none, or "
        "choose another estimator."
    )
