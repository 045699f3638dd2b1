"""Stage `train`: from `train.parquet` to `models/model.joblib`."""

import logging

from src.config.schema import Config
from src.data.files import read_table, write_metrics
from src.data.models import write_model
from src.data.target import split_target
from src.tracking.recorder import StageRecord
from src.train.train import fit_model
from src.utils.mlflow_run_decorator import mlflow_run
from src.utils.run_stage import run_stage

logger = logging.getLogger(__name__)


@mlflow_run
def train(config: Config) -> StageRecord:
    """Search the estimator's grid by cross-validation and save the best model."""
    table = read_table(config.data_split.train_path, made_by="data_split")
    X_train, y_train = split_target(table, config.base.target_column)
    features = config.featurize.model_dump()["features"]
    fit = fit_model(X_train, y_train, features, config.train, config.base.random_state)
    logger.info("chose %s of %s", fit.best_params, config.train.estimator)
    write_model(fit.model, config.train.model_path)
    write_metrics(fit.cv_metrics, config.train.cv_metrics_path)
    return StageRecord(tags={f"best.{name}": str(value) for name, value in fit.best_params.items()})


if __name__ == "__main__":
    run_stage(train)
