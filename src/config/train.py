"""Settings of the search: which estimators, over what, judged how."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from src.config.section import RepoPath, Section

Task = Literal["classification", "regression"]

# Parameters that a grid may search, by estimator and task. Written out because the whole
# configuration is checked before any stage runs, and importing scikit-learn for it
# would cost a second per stage; a test compares them with scikit-learn.
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
SCORINGS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "neg_log_loss", "roc_auc_ovr"),
    "regression": ("neg_mean_absolute_error", "neg_median_absolute_error", "neg_root_mean_squared_error", "r2"),
}
# Columns of the table of candidates, which `train` writes and the report reads, that are
# no parameters.
RESULT_COLUMNS = ("estimator", "n_rows", "mean", "std", "rank")


class NoSearch(Section):
    """Fit once, with the first value of each parameter, and without cross-validation."""

    kind: Literal["none"]


class GridSearch(Section):
    """Try every combination."""

    kind: Literal["grid"]


class HalvingSearch(Section):
    """Try every combination on few rows, and the best 1 in `factor` on `factor` times as many, and so on.

    The last round has all rows; where the first would have fewer than 100 there are fewer rounds.
    """

    kind: Literal["halving"]
    factor: Annotated[int, Field(ge=2)] = 3


class RandomSearch(Section):
    """Try combinations drawn at random, until there are enough or the time is over.

    Attributes:
        n_candidates: How many, at the most.
        seconds: When no further candidate is begun; how far that leads depends on the machine, so two runs may differ.
    """

    kind: Literal["random"]
    n_candidates: Annotated[int, Field(ge=1)] = 20
    seconds: Annotated[float, Field(gt=0)] | None = None


Search = Annotated[NoSearch | GridSearch | HalvingSearch | RandomSearch, Field(discriminator="kind")]


class Preprocess(Section):
    """How columns become numbers, learnt from the training rows only.

    Attributes:
        impute: What stands for a missing number.
        scale: How numbers are brought to one scale; trees need none and get none.
        max_categories: Columns that a category becomes at most: its most frequent levels, and one for all others.
            Histogram boosting takes 255 levels as they are instead.
    """

    impute: Literal["mean", "median", "most_frequent"]
    scale: Literal["none", "robust", "standard"]
    max_categories: Annotated[int, Field(ge=2)]


def _number_of_processes(n_jobs: int) -> int:
    if n_jobs == 0:
        raise ValueError("must be -1 for all cores or a number of processes")
    return n_jobs


class Train(Section):
    """Which estimators are searched, over which grid, judged how.

    Attributes:
        estimator: A name, the dotted path of a class, or several of both: the best by cross-validation is kept.
        param_grid: Values to search by estimator; one that is not here searches its default grid.
    """

    estimator: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1)]
    preprocess: Preprocess
    class_weight: Literal["none", "balanced"]
    cv: Annotated[int, Field(ge=2)]
    scoring: str
    search: Search
    n_jobs: Annotated[int, Field(ge=-1), AfterValidator(_number_of_processes)]
    param_grid: dict[str, dict[str, Annotated[list[Any], Field(min_length=1)]]]
    model_path: RepoPath
    cv_metrics_path: RepoPath
    cv_results_path: RepoPath

    @property
    def estimators(self) -> list[str]:
        """Names or dotted paths of all estimators."""
        return [self.estimator] if isinstance(self.estimator, str) else list(self.estimator)

    @field_validator("estimator")
    @classmethod
    def _is_known(cls, estimator: str | list[str]) -> str | list[str]:
        names = [estimator] if isinstance(estimator, str) else estimator
        known = sorted(set().union(*ESTIMATOR_PARAMS.values()))
        if unknown := [name for name in names if name not in known and "." not in name]:
            raise ValueError(
                f"{', '.join(unknown)} names no estimator; choose of {', '.join(known)}, or give a class's dotted path"
            )
        if len(set(names)) < len(names):
            raise ValueError("names an estimator twice")
        return estimator

    # Of the field, not of the section: pydantic drops the latter while another field is wrong.
    @field_validator("param_grid")
    @classmethod
    def _is_of_known_estimators(cls, grids: dict[str, Any]) -> dict[str, Any]:
        known = sorted(set().union(*ESTIMATOR_PARAMS.values()))
        faults = [
            f"{name} names no estimator; choose of {', '.join(known)}, or give the dotted path of a class"
            for name in grids
            if name not in known and "." not in name
        ]
        if faults:
            raise ValueError("\n".join(faults))
        return grids
