"""From columns of all kinds to the numbers that an estimator takes, learnt from the training rows only.

All numbers are float64. Forests and boosting copy them to 4 or 1 byte by themselves, and
the others lose digits that they need to converge.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from src.config.train import Preprocess, Task
from src.data.columns import Columns
from src.train.estimators import Recipe

# Histogram boosting bins numbers and categories into a byte, with one value for missing.
MAX_NATIVE_LEVELS = 255
N_TARGET_FOLDS = 5


def make_preprocess(
    kinds: Mapping[str, Sequence[str]],
    columns: Columns,
    settings: Preprocess,
    recipe: Recipe,
    task: Task,
    random_state: int,
    max_levels: int = MAX_NATIVE_LEVELS,
) -> ColumnTransformer:
    """Make the unfitted step between the features and the estimator.

    Nothing that it meets at prediction makes it fail: a level that was never seen counts
    as a rare one, or as missing, and a missing value as the usual one, or as a level.

    Args:
        kinds: Names of the columns by kind, as `features_by_kind` gives them.
        columns: What each raw column is; of ordinals the order is needed.
        settings: The section `train.preprocess`.
        recipe: The estimator that it is for.
        task: Decides on the target encoding.
        random_state: Seed of the folds of the target encoding.
        max_levels: Levels of a category for an estimator that takes codes.
    """
    orders = [list(columns[name]["order"]) for name in kinds["ordinal"]]
    ranks = OrdinalEncoder(categories=orders) if orders else OrdinalEncoder()
    # Levels that were never seen and missing ones become NaN.
    ranks.set_params(handle_unknown="use_encoded_value", unknown_value=np.nan)
    truths = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    folds = StratifiedKFold if task == "classification" else KFold
    # Cross-fitted: a row's own target is not in its code, else the estimator would trust it too much.
    targets = TargetEncoder(
        target_type="auto" if task == "classification" else "continuous",
        cv=folds(N_TARGET_FOLDS, shuffle=True, random_state=random_state),
    )
    if recipe.profile == "native":
        steps = {
            # First, so that the estimator knows their positions.
            "category": OrdinalEncoder(
                handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=max_levels
            ),
            "number": FunctionTransformer(np.asarray, kw_args={"dtype": np.float64}, feature_names_out="one-to-one"),
            "ordinal": ranks,
            "high_cardinality": targets,
            "boolean": truths,
        }
    else:
        scaling = settings.scale if recipe.profile == "scaled" else "none"
        one_hot = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=settings.max_categories,
            sparse_output=recipe.takes_sparse,
        )
        steps = {
            "category": one_hot,
            "number": _chain(_imputer(settings.impute), _scaler(scaling)),
            "ordinal": _chain(ranks, _imputer("most_frequent"), _scaler(scaling)),
            "high_cardinality": _chain(targets, _scaler(scaling)),
            "boolean": _chain(truths, _imputer("most_frequent")),
        }
    return ColumnTransformer(
        [(kind, step, list(kinds[kind])) for kind, step in steps.items() if kinds[kind]],
        sparse_threshold=0.3 if recipe.takes_sparse else 0.0,
    )


def _imputer(strategy: str) -> SimpleImputer:
    # A column without any value, in a fold say, becomes 0 rather than vanish.
    return SimpleImputer(strategy=strategy, keep_empty_features=True)


def _scaler(scaling: str) -> Any:
    return {"standard": StandardScaler, "robust": RobustScaler, "none": lambda: None}[scaling]()


def _chain(*steps: Any) -> Pipeline:
    return make_pipeline(*(step for step in steps if step is not None))
