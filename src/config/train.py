"""Settings of `train`: the estimators and parameters to search, and how they are scored."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from src.config.section import OutputPath, Section

Task = Literal["classification", "regression"]

# Parameters that a grid may search, by task and estimator. Every stage checks them, and importing
# scikit-learn would add a second to each; a test compares them with scikit-learn.
_FOREST = ("bootstrap", "ccp_alpha", "criterion", "max_depth", "max_features", "max_leaf_nodes", "max_samples",
           "min_samples_leaf", "min_samples_split", "n_estimators")  # fmt: skip
_BOOSTING = ("early_stopping", "l2_regularization", "learning_rate", "max_bins", "max_depth", "max_features",
             "max_iter", "max_leaf_nodes", "min_samples_leaf")  # fmt: skip
_MLP = ("activation", "alpha", "batch_size", "early_stopping", "hidden_layer_sizes", "learning_rate",
        "learning_rate_init", "max_iter", "solver", "tol")  # fmt: skip
_LIGHTGBM = ("boosting_type", "colsample_bytree", "learning_rate", "max_depth", "min_child_samples", "n_estimators",
             "num_leaves", "reg_alpha", "reg_lambda", "subsample", "subsample_freq")  # fmt: skip
_KNN = ("algorithm", "leaf_size", "metric", "n_neighbors", "p", "weights")
ESTIMATOR_PARAMS: dict[str, dict[str, tuple[str, ...]]] = {
    "classification": {
        "dummy": ("strategy",),
        "extra_trees": _FOREST,
        "hist_gradient_boosting": _BOOSTING,
        "knn": _KNN,
        "lightgbm": _LIGHTGBM,
        "logreg": ("C", "fit_intercept", "l1_ratio", "max_iter", "solver", "tol"),
        "mlp": _MLP,
        "random_forest": _FOREST,
        "svm": ("C", "coef0", "degree", "gamma", "kernel", "max_iter", "tol"),
    },
    "regression": {
        "dummy": ("quantile", "strategy"),
        "elastic_net": ("alpha", "fit_intercept", "l1_ratio", "max_iter", "positive", "selection", "tol"),
        "extra_trees": _FOREST,
        "hist_gradient_boosting": (*_BOOSTING, "loss", "quantile"),
        "knn": _KNN,
        "lightgbm": (*_LIGHTGBM, "objective"),
        "linear": ("fit_intercept", "positive"),
        "mlp": _MLP,
        "random_forest": _FOREST,
        "ridge": ("alpha", "fit_intercept", "positive", "solver", "tol"),
        "svm": ("C", "coef0", "degree", "epsilon", "gamma", "kernel", "max_iter", "tol"),
    },
}
# What `train.estimator: auto` stands for, the simplest first.
AUTO: dict[str, tuple[str, ...]] = {
    "classification": ("logreg", "hist_gradient_boosting"),
    "regression": ("ridge", "hist_gradient_boosting"),
}
SCORINGS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "average_precision", "balanced_accuracy", "f1", "f1_macro", "f1_weighted",
                       "neg_log_loss", "precision", "recall", "roc_auc", "roc_auc_ovr"),
    "regression": ("neg_mean_absolute_error", "neg_median_absolute_error", "neg_root_mean_squared_error", "r2"),
}  # fmt: skip
# Scorings of two classes, about the positive one.
BINARY_SCORINGS = ("average_precision", "f1", "precision", "recall", "roc_auc")
# Scorings of predicted labels, which a threshold changes.
LABEL_SCORINGS = ("accuracy", "balanced_accuracy", "f1", "f1_macro", "f1_weighted", "precision", "recall")
# Metric by the name of its scorer in scikit-learn, where the names differ.
_METRIC_OF_SCORING = {
    "neg_log_loss": "log_loss",
    "neg_mean_absolute_error": "mae",
    "neg_median_absolute_error": "median_absolute_error",
    "neg_root_mean_squared_error": "rmse",
}
# Columns of `train.cv_results_path` that are not parameters of a candidate.
RESULT_COLUMNS = ("estimator", "n_rows", "mean", "std", "rank", "chosen")


def metric_of(scoring: str) -> str:
    """Return the name of the metric behind a scorer of scikit-learn; `evaluate` prefixes it with `test_`."""
    return _METRIC_OF_SCORING.get(scoring, scoring)


def is_loss(scoring: str) -> bool:
    """Return whether the metric behind a scorer is better if it is lower."""
    return scoring.startswith("neg_")


class NoSearch(Section):
    """Fit once, with the first value of each parameter, without cross-validation."""

    kind: Literal["none"]


class GridSearch(Section):
    """Evaluate every combination.

    Attributes:
        seconds: Time after which no further combination is started; then the first combination of each estimator
            comes first, and two runs may differ.
    """

    kind: Literal["grid"]
    seconds: Annotated[float, Field(gt=0)] | None = None


class HalvingSearch(Section):
    """Evaluate every combination on few rows, and the best 1 in `factor` on `factor` times as many, up to all rows.

    The first round has at least 100 rows.

    Attributes:
        seconds: As for `GridSearch`; each round scores at least one combination.
    """

    kind: Literal["halving"]
    factor: Annotated[int, Field(ge=2)] = 3
    seconds: Annotated[float, Field(gt=0)] | None = None


class RandomSearch(Section):
    """Evaluate random combinations.

    Attributes:
        n_candidates: Maximum number of combinations.
        seconds: Time after which no further combination is started; two runs may differ.
    """

    kind: Literal["random"]
    n_candidates: Annotated[int, Field(ge=1)] = 20
    seconds: Annotated[float, Field(gt=0)] | None = None


class OptunaSearch(Section):
    """Evaluate combinations that Optuna proposes from the scores of the earlier ones; bad ones skip the last folds.

    Attributes:
        n_trials: Number of proposals; the first ones are the first combination of each estimator.
        seconds: Time after which no further combination is started; two runs may differ.
    """

    kind: Literal["optuna"]
    n_trials: Annotated[int, Field(ge=1)] = 50
    seconds: Annotated[float, Field(gt=0)] | None = None


Search = Annotated[NoSearch | GridSearch | HalvingSearch | RandomSearch | OptunaSearch, Field(discriminator="kind")]


class Preprocess(Section):
    """How columns become numbers; fitted on the training rows only.

    Attributes:
        impute: Replacement of a missing number.
        scale: Scaling of numbers; trees are never scaled.
        max_categories: Maximum number of columns per category: its most frequent levels and one for all others.
            Histogram boosting takes up to 255 levels directly instead.
    """

    impute: Literal["mean", "median", "most_frequent"]
    scale: Literal["none", "robust", "standard"]
    max_categories: Annotated[int, Field(ge=2)]


def _check_estimator(name: str) -> str:
    known = sorted(set().union(*ESTIMATOR_PARAMS.values()))
    if name not in known and "." not in name:
        raise ValueError(f"is unknown; choose one of {', '.join(known)}, or the dotted path of a class")
    return name


def _check_unique(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("must name each estimator once")
    if "auto" in names and len(names) > 1:
        raise ValueError("must be auto alone, which is a list already")
    return names


def _check_threshold(value: object) -> object:
    if value != "best" and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1):
        raise ValueError("must be best or a number between 0 and 1")
    return value


def _check_n_jobs(n_jobs: int) -> int:
    if n_jobs == 0:
        raise ValueError("must be a number of processes, or -1 for all cores")
    return n_jobs


EstimatorName = Annotated[str, AfterValidator(_check_estimator)]
# Without Literal, whose error would come beside that of the name.
EstimatorOrAuto = Annotated[str, AfterValidator(lambda name: name if name == "auto" else _check_estimator(name))]


class Train(Section):
    """The estimators and parameters to search, and how they are scored.

    Attributes:
        estimator: Names or dotted paths of classes, the simplest first; the best by cross-validation is fitted, or
            an earlier one if it is within luck of the best. `auto` alone is the list in `AUTO`.
        threshold: For a binary target, the probability from which the positive class is predicted; `best` maximises
            the scoring.
        calibrate: How probabilities are calibrated; the candidates are compared without.
        param_grid: Values to search, by estimator; an estimator that is not listed has a default grid.
    """

    estimator: Annotated[
        list[EstimatorOrAuto],
        Field(min_length=1),
        AfterValidator(_check_unique),
        BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    ]
    preprocess: Preprocess
    class_weight: Literal["none", "balanced"]
    threshold: Annotated[float | Literal["best"], PlainValidator(_check_threshold)]
    calibrate: Literal["none", "sigmoid", "isotonic"]
    cv: Annotated[int, Field(ge=2)]
    max_rows: Annotated[int, Field(ge=100)]
    scoring: str
    search: Search
    n_jobs: Annotated[int, Field(ge=-1), AfterValidator(_check_n_jobs)]
    param_grid: dict[EstimatorName, dict[str, Annotated[list[Any], Field(min_length=1)]]]
    model_path: OutputPath
    cv_metrics_path: OutputPath
    cv_results_path: OutputPath

    def list_estimators(self, task: Task) -> list[str]:
        """List the names of the estimators, the simplest first."""
        return list(AUTO[task]) if self.estimator == ["auto"] else self.estimator
