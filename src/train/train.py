"""Search and fit: from featurized rows to a model that takes raw rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from src.config.schema import Config
from src.data.features import prepare_rows
from src.data.schema import Columns, features_by_kind
from src.data.target import check_class_counts, split_target
from src.errors import TrainError
from src.train.estimators import make_estimator


@dataclass(frozen=True)
class FitResult:
    """What a search found.

    Attributes:
        model: Fitted Pipeline `[features, preprocess, estimator]` that takes raw columns.
        estimator: Name or dotted path of the chosen estimator.
        best_params: Chosen value of each parameter of the grid.
        cv_metrics: Mean and standard deviation of the score over the folds.
        cv_results: A row for each candidate: estimator, its parameters, `mean`, `std`, `rank`.
    """

    model: Pipeline
    estimator: str
    best_params: dict[str, Any]
    cv_metrics: dict[str, float]
    cv_results: pd.DataFrame


def fit_model(table: pd.DataFrame, columns: Columns, config: Config) -> FitResult:
    """Search the grids by cross-validation and refit the best on all rows.

    Args:
        table: Featurized training rows with their target, shape (n_samples, n_columns).
        columns: What each raw column is.
        config: All settings.

    Returns:
        The model, how it was chosen, and `cv_<scoring>_mean` and `_std`.

    Raises:
        DataError: A class has fewer rows than `cv`.
        TrainError: A combination of the grid cannot be fitted.
    """
    settings, random_state = config.train, config.base.random_state
    X_train, y_train = split_target(table, config.base.target_column, config.base.task)
    kinds = features_by_kind(columns, config.features, config.no_features)
    name = settings.estimators[0]
    if config.base.task == "classification":
        check_class_counts(y_train, at_least=settings.cv, reason=f"train.cv = {settings.cv}")
        folds = StratifiedKFold(settings.cv, shuffle=True, random_state=random_state)
    else:
        folds = KFold(settings.cv, shuffle=True, random_state=random_state)
    grid = settings.param_grid.get(name, {})
    search = GridSearchCV(
        Pipeline([("preprocess", make_preprocess(kinds)), ("estimator", make_estimator(name, random_state))]),
        {f"estimator__{key}": values for key, values in grid.items()},
        scoring=settings.scoring,
        cv=folds,
        n_jobs=settings.n_jobs,
        error_score="raise",
    )
    try:
        search.fit(X_train, y_train)
    except (TypeError, ValueError) as error:
        raise TrainError(
            f"{name} cannot be fitted with train.param_grid.{name} = {grid}: {' '.join(str(error).split())}"
        ) from error
    # Put in front only now: the features are row-wise, so the rows that were
    # searched on have them already, and the model learns nothing from them.
    used = {name for names in kinds.values() for name in names} | {
        column for feature in config.featurize.features.values() for column in feature.columns
    }
    raw_columns = [name for name in columns if name in used]
    row_wise = FunctionTransformer(
        prepare_rows,
        kw_args={"columns": {name: dict(columns[name]) for name in raw_columns}, "features": config.features},
    ).fit(X_train[raw_columns])
    best = search.best_index_
    results = pd.DataFrame(search.cv_results_)
    scores = results.filter(regex="^param_").assign(
        estimator=name, mean=results["mean_test_score"], std=results["std_test_score"], rank=results["rank_test_score"]
    )
    return FitResult(
        model=Pipeline([("features", row_wise), *search.best_estimator_.steps]),
        estimator=name,
        best_params={name.removeprefix("estimator__"): value for name, value in search.best_params_.items()},
        cv_metrics={
            f"cv_{settings.scoring}_{statistic}": float(search.cv_results_[f"{statistic}_test_score"][best])
            for statistic in ("mean", "std")
        },
        cv_results=scores,
    )


def make_preprocess(kinds: Mapping[str, Sequence[str]]) -> ColumnTransformer:
    """Make the unfitted step that imputes and scales numbers and encodes the rest."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    others = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    names = [name for kind in ("category", "ordinal", "high_cardinality", "boolean") for name in kinds[kind]]
    return ColumnTransformer([("numbers", numbers, list(kinds["number"])), ("others", others, names)])
