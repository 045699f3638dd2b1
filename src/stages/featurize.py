"""Stage `featurize`: from `data/raw/dataset.parquet` to `data/processed/features.parquet`."""

import pandas as pd

from src.config.schema import Config
from src.data.columns import read_columns
from src.data.files import read_table, write_table
from src.data.target import check_target
from src.featurize.features import prepare_rows
from src.utils.command import run_stage
from src.utils.mlflow_run_decorator import StageResult, mlflow_run


@mlflow_run
def featurize(config: Config) -> StageResult:
    """Add the declared row-wise features."""
    base = config.base
    table = read_table(config.data_load.dataset_path, made_by="data_load")
    columns = read_columns(config.data_load.schema_path)
    check_target(table, base.target_column, base.task)
    target = table.pop(base.target_column)
    featurized = prepare_rows(table, columns, config.features)
    write_table(pd.concat([featurized, target], axis="columns"), config.featurize.features_path)
    return StageResult(metrics={"n_features": featurized.shape[1]})


if __name__ == "__main__":
    run_stage(featurize)
