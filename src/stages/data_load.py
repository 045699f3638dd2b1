"""Stage `data_load`: from the source to `data/raw/dataset.parquet` and the kinds of its columns."""

from src.config.schema import Config
from src.data.files import write_table
from src.data.schema import infer_columns, write_columns
from src.data.sources import load_source
from src.data.target import split_target
from src.tracking.recorder import StageRecord
from src.utils.mlflow_run_decorator import mlflow_run
from src.utils.run_stage import run_stage


@mlflow_run
def data_load(config: Config) -> StageRecord:
    """Load the table that `data_load.source` names, and tell what its columns are."""
    settings, base = config.data_load, config.base
    table, origin = load_source(settings.source, base.target_column)
    X, _ = split_target(table, base.target_column, base.task)
    columns = infer_columns(X, config.declared_columns)
    write_table(table, settings.dataset_path)
    write_columns(columns, settings.schema_path)
    n_rows, n_columns = table.shape
    return StageRecord(metrics={"n_rows": n_rows, "n_columns": n_columns}, tags=origin)


if __name__ == "__main__":
    run_stage(data_load)
