"""Search and fit: from featurized rows to a model that takes raw rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from src.config.schema import Train
from src.data.features import add_features
from src.data.target import check_class_counts
from src.errors import TrainError
from src.train.estimators import make_estimator


@dataclass(frozen=True)
class FitResult:
    """What a search found.

    Attributes:
        model: Fitted Pipeline `[features, preprocess, estimator]` that takes raw columns.
        best_params: Chosen value of each parameter of the grid.
        cv_metrics: Mean and standard deviation of the score over the folds.
    """

    model: Pipeline
    best_params: dict[str, Any]
    cv_metrics: dict[str, float]


def fit_model(
    X_train: pd.DataFrame,
    y_train: NDArray[Any],
    features: Mapping[str, Mapping[str, Sequence[str]]],
    settings: Train,
    random_state: int,
) -> FitResult:
    """Search the grid by cross-validation and refit the best on all rows.

    Args:
        X_train: Featurized rows, shape (n_samples, n_features).
        y_train: Class labels, shape (n_samples,).
        features: Declared features, as `add_features` takes them.
        settings: The section `train`.
        random_state: Seed of the folds and the estimator.

    Returns:
        The model, its chosen parameters and `cv_<scoring>_mean` and `_std`.

    Raises:
        DataError: A class has fewer rows than `cv`.
        TrainError: A combination of the grid cannot be fitted.
    """
    check_class_counts(y_train, at_least=settings.cv, reason=f"train.cv = {settings.cv}")
    grid = settings.param_grid[settings.estimator]
    search = GridSearchCV(
        Pipeline([("preprocess", make_preprocess()), ("estimator", make_estimator(settings.estimator, random_state))]),
        {f"estimator__{name}": values for name, values in grid.items()},
        scoring=settings.scoring,
        cv=StratifiedKFold(settings.cv, shuffle=True, random_state=random_state),
        n_jobs=settings.n_jobs,
        error_score="raise",
    )
    try:
        search.fit(X_train, y_train)
    except (TypeError, ValueError) as error:
        raise TrainError(
            f"{settings.estimator} cannot be fitted with train.param_grid.{settings.estimator} = {grid}: "
            f"{' '.join(str(error).split())}"
        ) from error
    # Put in front only now: the features are row-wise, so the rows that were
    # searched on have them already, and the model learns nothing from them.
    raw = X_train.drop(columns=list(features))
    row_wise = FunctionTransformer(add_features, kw_args={"features": features}).fit(raw)
    best = search.best_index_
    return FitResult(
        model=Pipeline([("features", row_wise), *search.best_estimator_.steps]),
        best_params={name.removeprefix("estimator__"): value for name, value in search.best_params_.items()},
        cv_metrics={
            f"cv_{settings.scoring}_{statistic}": float(search.cv_results_[f"{statistic}_test_score"][best])
            for statistic in ("mean", "std")
        },
    )


def make_preprocess() -> ColumnTransformer:
    """Make the unfitted step that imputes and scales numbers and encodes the rest."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    others = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    return ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            # The imputer refuses them; a missing value becomes a level of its own.
            ("booleans", OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="bool")),
            ("others", others, make_column_selector(dtype_exclude=["number", "bool"])),
        ]
    )
