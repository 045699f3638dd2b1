"""Stage `data_load`: from the source to `data/raw/dataset.parquet`."""

from src.config.schema import Config
from src.data.files import write_table
from src.data.sources import load_source
from src.data.target import split_target
from src.tracking.recorder import StageRecord
from src.utils.mlflow_run_decorator import mlflow_run
from src.utils.run_stage import run_stage


@mlflow_run
def data_load(config: Config) -> StageRecord:
    """Load the table that `data_load.source` names."""
    table, origin = load_source(config.data_load.source, config.base.target_column)
    split_target(table, config.base.target_column)
    write_table(table, config.data_load.dataset_path)
    n_rows, n_columns = table.shape
    return StageRecord(metrics={"n_rows": n_rows, "n_columns": n_columns}, tags=origin)


if __name__ == "__main__":
    run_stage(data_load)
