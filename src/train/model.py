"""An unfitted model: what a candidate's settings make of it, and what its fit is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from src.config.train import Preprocess, Task
from src.data.columns import Columns
from src.train.estimators import find_recipe, make_estimator, weigh_classes
from src.train.preprocess import MAX_NATIVE_LEVELS, make_preprocess

# Threads of boosting wait for each other busily: on few rows, beside other work, a fit of
# 0.1 s took 2 s. Their number changes no result.
MIN_THREADED_ROWS = 20_000


@dataclass(frozen=True)
class Plan:
    """What all candidates have in common.

    Attributes:
        task: What is predicted.
        kinds: Names of the columns by kind.
        columns: What each raw column is.
        preprocess: The section `train.preprocess`.
        balanced: Whether rare classes weigh more.
        random_state: Seed of everything random.
    """

    task: Task
    kinds: Mapping[str, Sequence[str]]
    columns: Columns
    preprocess: Preprocess
    balanced: bool
    random_state: int

    @property
    def names(self) -> list[str]:
        """Names of all columns that a model takes, after the features."""
        return [name for names in self.kinds.values() for name in names]


def make_model(plan: Plan, name: str, params: Mapping[str, Any]) -> tuple[Pipeline, bool]:
    """Make the unfitted `[preprocess, estimator]` of a candidate.

    Args:
        plan: What all candidates have in common.
        name: Name or dotted path of the estimator.
        params: Its parameters.

    Returns:
        The model, and whether its fit takes weights of rows.

    Raises:
        ConfigError: The estimator cannot be used so.
    """
    recipe = find_recipe(name, plan.task)
    estimator = make_estimator(recipe, plan.task, params, plan.random_state)
    weighs_rows = plan.balanced and weigh_classes(name, estimator)
    known, max_levels = estimator.get_params(), MAX_NATIVE_LEVELS
    n_categories = len(plan.kinds["category"])
    if recipe.profile == "native" and n_categories and "categorical_features" in known:
        estimator.set_params(categorical_features=list(range(n_categories)))
        # A code must fit in a bin.
        max_levels = min(max_levels, known["max_bins"]) if isinstance(known["max_bins"], int) else max_levels
    preprocess = make_preprocess(
        plan.kinds, plan.columns, plan.preprocess, recipe, plan.task, plan.random_state, max_levels
    )
    return Pipeline([("preprocess", preprocess), ("estimator", estimator)]), weighs_rows


def fit_model_of(
    plan: Plan, name: str, params: Mapping[str, Any], X: pd.DataFrame, y: NDArray[Any], n_jobs: int | None = None
) -> Pipeline:
    """Make and fit `[preprocess, estimator]`.

    Args:
        plan: What all candidates have in common.
        name: Name or dotted path of the estimator.
        params: Its parameters.
        X: Featurized rows, shape (n_rows, n_columns).
        y: Target, shape (n_rows,).
        n_jobs: Processes of this one fit, where it can use them without another result.
    """
    model, weighs_rows = make_model(plan, name, params)
    recipe, estimator = find_recipe(name, plan.task), model["estimator"]
    fit_params: dict[str, Any] = {}
    if weighs_rows:
        fit_params["estimator__sample_weight"] = compute_sample_weight("balanced", y)
    if recipe.path.startswith("lightgbm.") and plan.kinds["category"]:
        fit_params["estimator__categorical_feature"] = list(range(len(plan.kinds["category"])))
    if recipe.own_processes:
        estimator.set_params(n_jobs=n_jobs)
    with threadpool_limits(1 if len(X) < MIN_THREADED_ROWS else None, user_api="openmp"):
        model.fit(X, y, **fit_params)
    # The file must not tell how many processes or threads wrote it.
    if recipe.own_processes:
        estimator.set_params(n_jobs=None)
    if hasattr(estimator, "_bin_mapper"):
        estimator._bin_mapper.n_threads = 1
    return model
