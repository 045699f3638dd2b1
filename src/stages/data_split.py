"""Stage `data_split`: from the features to `train.parquet` and `test.parquet`."""

from src.config.schema import Config
from src.data.files import read_table, write_table
from src.data.split import split_table
from src.tracking.recorder import StageRecord
from src.utils.mlflow_run_decorator import mlflow_run
from src.utils.run_stage import run_stage


@mlflow_run
def data_split(config: Config) -> StageRecord:
    """Divide the rows into train and test, stratified and seeded."""
    settings = config.data_split
    table = read_table(config.featurize.features_path, made_by="featurize")
    train, test = split_table(table, config.base.target_column, settings.test_size, config.base.random_state)
    write_table(train, settings.train_path)
    write_table(test, settings.test_path)
    return StageRecord(metrics={"n_train_rows": len(train), "n_test_rows": len(test)})


if __name__ == "__main__":
    run_stage(data_split)
