"""Stage `train`: from `train.parquet` to `models/model.joblib` and the scores of the search."""

import logging

from src.compute.start import start_engine
from src.config.schema import Config
from src.data.columns import read_columns
from src.data.files import write_metrics, write_scores
from src.data.models import write_model
from src.data.parts import list_parts
from src.train.fit import fit_model
from src.train.sample import read_rows
from src.utils.command import run_stage
from src.utils.mlflow_run_decorator import StageResult, mlflow_run

logger = logging.getLogger(__name__)


@mlflow_run
def train(config: Config) -> StageResult:
    """Search the estimators' grids by cross-validation and save the best model."""
    settings, path = config.train, config.data_split.train_path
    parts = list_parts(path, made_by="data_split")
    columns = read_columns(config.data_load.schema_path)
    # Optuna runs its fits one after the other, in this process.
    is_local = settings.search.kind in ("none", "optuna")
    compute = config.compute.model_copy(update={"engine": "local"}) if is_local else config.compute
    with start_engine(compute) as engine:
        fit = fit_model(read_rows(parts, config), columns, config, engine, parts)
    logger.info("chose %s with %s", fit.estimator, fit.best_params)
    write_model(fit.model, settings.model_path)
    write_metrics(fit.cv_metrics, settings.cv_metrics_path)
    write_scores(fit.cv_results, settings.cv_results_path)
    best = {"estimator": fit.estimator, **{name: str(value) for name, value in fit.best_params.items()}}
    tags = {f"best.{name}": value for name, value in best.items()}
    if fit.threshold is not None:
        tags["threshold"] = str(fit.threshold)
    return StageResult(
        metrics=fit.cv_metrics,
        model=settings.model_path,
        tags=tags,
        candidates=fit.candidates,
    )


if __name__ == "__main__":
    run_stage(train)
