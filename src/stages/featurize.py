"""Stage `featurize`: from `data/raw/dataset.parquet` to `data/processed/features.parquet`."""

from src.config.schema import Config
from src.data.features import add_features
from src.data.files import read_table, write_table
from src.data.target import split_target
from src.tracking.recorder import StageRecord
from src.utils.mlflow_run_decorator import mlflow_run
from src.utils.run_stage import run_stage


@mlflow_run
def featurize(config: Config) -> StageRecord:
    """Add the declared row-wise features."""
    target_column = config.base.target_column
    table = read_table(config.data_load.dataset_path, made_by="data_load")
    X, _ = split_target(table, target_column)
    featurized = add_features(X, config.featurize.model_dump()["features"])
    n_features = featurized.shape[1]
    featurized[target_column] = table[target_column]
    write_table(featurized, config.featurize.features_path)
    return StageRecord(metrics={"n_features": n_features})


if __name__ == "__main__":
    run_stage(featurize)
