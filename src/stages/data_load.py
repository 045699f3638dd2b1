"""Stage `data_load`: from the source to `data/raw/dataset.parquet` and the kinds of its columns."""

from src.config.schema import Config
from src.data.columns import declared_columns, recorded_columns, write_columns
from src.data.files import write_table
from src.data_load.sources import load_table
from src.data_load.validate import check_table
from src.utils.command import run_stage
from src.utils.mlflow_run_decorator import StageResult, mlflow_run


@mlflow_run
def data_load(config: Config) -> StageResult:
    """Load the table that `data_load.source` names, infer the kinds of its columns, and check it."""
    declared, recorded = declared_columns(config), recorded_columns(config)
    table, columns, origin, n_dropped = load_table(config, recorded | declared)
    table = check_table(table, columns, declared, recorded, config)
    write_table(table, config.data_load.dataset_path)
    write_columns(columns, config)
    n_rows, n_columns = table.shape
    metrics = {"n_rows": n_rows, "n_columns": n_columns, "n_rows_without_target": n_dropped}
    return StageResult(metrics=metrics, tags=origin)


if __name__ == "__main__":
    run_stage(data_load)
