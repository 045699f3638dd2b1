"""Estimators of `params.yaml`: by short name, or any scikit-learn-compatible class by its dotted path."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sklearn.base import is_classifier, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter

from src.config.train import Task
from src.errors import ConfigError

Grid = Mapping[str, list[Any]]
# Input that an estimator needs: scaled numbers, unscaled numbers, or numbers with missing values
# and categories as integer codes.
Encoding = Literal["scaled", "unscaled", "native"]


@dataclass(frozen=True)
class EstimatorSpec:
    """How to create an estimator for one task.

    Attributes:
        encoding: Input that the estimator needs.
        grid: Default grid. Without a search, the first value of each parameter is used.
        fixed: Parameters that differ from the defaults of the class.
        accepts_sparse: Whether one-hot columns may be a sparse matrix.
        scales_target: Whether to standardise a numeric target, because the default parameters assume it.
        parallel_fit: Whether one fit can use several processes and still give the same result.
    """

    path: str
    encoding: Encoding
    grid: Grid = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    accepts_sparse: bool = False
    scales_target: bool = False
    parallel_fit: bool = False


_ELASTIC_NET: Grid = {"alpha": [0.1, 0.001, 0.01, 1.0], "l1_ratio": [0.5, 0.9]}
# On 14 real tables of up to 3,000 rows, small trees, a low rate and half of the columns were better than the defaults.
_BOOSTING: Grid = {
    "learning_rate": [0.05],
    "max_features": [0.5],
    "max_iter": [300, 100],
    "max_leaf_nodes": [15, 7, 31],
}
_FOREST_CLASSIFIER: Grid = {"min_samples_leaf": [1, 5], "max_features": ["sqrt", 0.5]}
_FOREST_REGRESSOR: Grid = {"min_samples_leaf": [1, 5], "max_features": [1.0, 0.33]}
_KNN: Grid = {"n_neighbors": [5, 3, 15], "weights": ["uniform", "distance"]}
_LIGHTGBM: Grid = {"learning_rate": [0.1, 0.05], "num_leaves": [31, 15]}
# At a low rate, the default stops too early on more than 10,000 rows: R² of 0.46 instead of 0.54, in half of the time.
_BOOSTING_FIXED = {"early_stopping": False}
# By default, the result of LightGBM depends on the number of threads.
_LIGHTGBM_FIXED = {"deterministic": True, "force_col_wise": True, "verbosity": -1, "n_jobs": 0}
_LOGREG: Grid = {"C": [1.0, 0.01, 0.1, 10.0]}
_MLP: Grid = {"hidden_layer_sizes": [[64], [64, 32]], "alpha": [0.0001, 0.01]}
_MLP_FIXED = {"max_iter": 500}
_SVM: Grid = {"C": [1.0, 0.1, 10.0]}
_ESTIMATORS: Mapping[Task, Mapping[str, EstimatorSpec]] = {
    "classification": {
        "dummy": EstimatorSpec("sklearn.dummy.DummyClassifier", "unscaled", {"strategy": ["prior"]}),
        "extra_trees": EstimatorSpec(
            "sklearn.ensemble.ExtraTreesClassifier", "unscaled", _FOREST_CLASSIFIER, parallel_fit=True
        ),
        "hist_gradient_boosting": EstimatorSpec(
            "sklearn.ensemble.HistGradientBoostingClassifier", "native", _BOOSTING, _BOOSTING_FIXED
        ),
        "knn": EstimatorSpec("sklearn.neighbors.KNeighborsClassifier", "scaled", _KNN, accepts_sparse=True),
        "lightgbm": EstimatorSpec("lightgbm.LGBMClassifier", "native", _LIGHTGBM, _LIGHTGBM_FIXED),
        "logreg": EstimatorSpec(
            "sklearn.linear_model.LogisticRegression", "scaled", _LOGREG, {"max_iter": 1000}, accepts_sparse=True
        ),
        "mlp": EstimatorSpec("sklearn.neural_network.MLPClassifier", "scaled", _MLP, _MLP_FIXED, accepts_sparse=True),
        "random_forest": EstimatorSpec(
            "sklearn.ensemble.RandomForestClassifier", "unscaled", _FOREST_CLASSIFIER, parallel_fit=True
        ),
        "svm": EstimatorSpec("sklearn.svm.SVC", "scaled", _SVM, accepts_sparse=True),
    },
    "regression": {
        "dummy": EstimatorSpec("sklearn.dummy.DummyRegressor", "unscaled", {"strategy": ["mean", "median"]}),
        "elastic_net": EstimatorSpec(
            "sklearn.linear_model.ElasticNet", "scaled", _ELASTIC_NET, {"max_iter": 10_000}, scales_target=True
        ),
        "extra_trees": EstimatorSpec(
            "sklearn.ensemble.ExtraTreesRegressor", "unscaled", _FOREST_REGRESSOR, parallel_fit=True
        ),
        "hist_gradient_boosting": EstimatorSpec(
            "sklearn.ensemble.HistGradientBoostingRegressor", "native", _BOOSTING, _BOOSTING_FIXED
        ),
        "knn": EstimatorSpec("sklearn.neighbors.KNeighborsRegressor", "scaled", _KNN, accepts_sparse=True),
        "lightgbm": EstimatorSpec("lightgbm.LGBMRegressor", "native", _LIGHTGBM, _LIGHTGBM_FIXED),
        "linear": EstimatorSpec("sklearn.linear_model.LinearRegression", "scaled"),
        "mlp": EstimatorSpec(
            "sklearn.neural_network.MLPRegressor", "scaled", _MLP, _MLP_FIXED, accepts_sparse=True, scales_target=True
        ),
        "random_forest": EstimatorSpec(
            "sklearn.ensemble.RandomForestRegressor", "unscaled", _FOREST_REGRESSOR, parallel_fit=True
        ),
        "ridge": EstimatorSpec("sklearn.linear_model.Ridge", "scaled", {"alpha": [1.0, 0.1, 10.0, 100.0, 1000.0]}),
        "svm": EstimatorSpec("sklearn.svm.SVR", "scaled", _SVM, accepts_sparse=True, scales_target=True),
    },
}
# Packages whose estimators need no scaling, for classes given by dotted path.
_TREE_PACKAGES = ("sklearn.ensemble.", "sklearn.tree.", "xgboost.", "catboost.", "lightgbm.")


def find_estimator(name: str, task: Task) -> EstimatorSpec:
    """Look up an estimator by its short name or dotted path.

    To add a short name, add it to the table above and its parameters to `ESTIMATOR_PARAMS` of
    `src/config/train.py`.

    Raises:
        ConfigError: The short name does not support the task.
    """
    if spec := _ESTIMATORS[task].get(name):
        return spec
    if "." not in name:
        raise ConfigError(
            f"params.yaml: train.estimator = {name!r} does not support {task}; "
            f"choose one of {', '.join(_ESTIMATORS[task])}."
        )
    return EstimatorSpec(name, "unscaled" if name.startswith(_TREE_PACKAGES) else "scaled")


def make_estimator(spec: EstimatorSpec, task: Task, params: Mapping[str, Any], random_state: int) -> Any:
    """Create an unfitted estimator.

    Raises:
        ConfigError: The class cannot be used, or a parameter does not exist.
    """
    estimator = import_estimator(spec.path, task)()
    known = estimator.get_params()
    if unknown := sorted(set(params) - set(known)):
        raise ConfigError(
            f"params.yaml: train.param_grid.{spec.path}.{unknown[0]} is not a parameter of {spec.path}; "
            f"choose one of {', '.join(sorted(known))}."
        )
    seed = {"random_state": random_state} if "random_state" in known else {}
    estimator.set_params(**seed | dict(spec.fixed) | dict(params))
    if spec.scales_target:
        return TransformedTargetRegressor(estimator, transformer=StandardScaler(), check_inverse=False)
    return estimator


def balance_classes(name: str, estimator: Any) -> None:
    """Set balanced class weights in place, or check that the fit accepts row weights instead.

    Raises:
        ConfigError: The estimator supports neither.
    """
    if "class_weight" in estimator.get_params():
        estimator.set_params(class_weight="balanced")
    elif not has_fit_parameter(estimator, "sample_weight"):
        raise ConfigError(
            f"params.yaml: train.class_weight = 'balanced': {name} supports neither class weights nor row weights; "
            "set class_weight to none, or choose another estimator."
        )


def import_estimator(path: str, task: Task) -> type[Any]:
    """Import an estimator class, which runs its module, and check that it supports a task.

    Raises:
        ConfigError: The import fails, or the object is no estimator class, needs arguments, or
            does not support the task.
    """
    where = f"params.yaml: train.estimator = {path!r}"
    found = _import(path, where)
    missing = [name for name in ("fit", "predict", "get_params", "set_params") if not hasattr(found, name)]
    if not isinstance(found, type) or missing:
        without = f" without {', '.join(missing)}" if missing else ""
        raise ConfigError(
            f"{where}: not a scikit-learn estimator class, got a {type(found).__name__}{without}; "
            "name a class, for example sklearn.naive_bayes.GaussianNB."
        )
    try:
        estimator = found()
    except TypeError as error:
        raise ConfigError(
            f"{where}: cannot be created without arguments ({error}); wrap it in a class that needs none."
        ) from error
    if not (is_classifier(estimator) if task == "classification" else is_regressor(estimator)):
        raise ConfigError(f"{where}: does not support base.task = {task!r}; choose another estimator or task.")
    return found


def _import(path: str, where: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    # An import may raise anything.
    except Exception as error:
        if path.startswith("lightgbm.") and isinstance(error, ModuleNotFoundError) and error.name == "lightgbm":
            raise ConfigError(
                "lightgbm is not installed: run `.venv/bin/python -m pip install 'lightgbm>=4.6,<5'`, or choose "
                "hist_gradient_boosting, which needs no further package."
            ) from error
        reason = " ".join(str(error).split())
        if not isinstance(error, ImportError | AttributeError):
            reason = f"{type(error).__name__}: {reason}"
        raise ConfigError(f"{where}: cannot be imported ({reason}); install the package or fix the path.") from error
