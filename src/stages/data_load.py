"""Stage `data_load`: from the source to `data/raw/dataset.parquet` and the kinds of its columns."""

from src.config.schema import Config
from src.data.files import write_table
from src.data.infer import infer_columns
from src.data.schema import declared_columns, read_as_text, recorded_columns, write_columns
from src.data.sources import load_source
from src.data.target import settle_target
from src.data.validate import hold_to_columns
from src.tracking.recorder import StageRecord
from src.utils.mlflow_run_decorator import mlflow_run
from src.utils.run_stage import run_stage


@mlflow_run
def data_load(config: Config) -> StageRecord:
    """Load the table that `data_load.source` names, tell what its columns are, and hold it to that."""
    settings, target_column = config.data_load, config.base.target_column
    declared, recorded = declared_columns(config), recorded_columns(config)
    known = recorded | declared
    table, origin = load_source(settings, target_column, read_as_text(known))
    table, n_dropped = settle_target(table, target_column, config.base.task, settings.missing_target)
    columns = infer_columns(table.drop(columns=target_column), known)
    table = hold_to_columns(table, columns, declared, recorded, config)
    write_table(table, settings.dataset_path)
    write_columns(columns, config)
    n_rows, n_columns = table.shape
    metrics = {"n_rows": n_rows, "n_columns": n_columns, "n_rows_without_target": n_dropped}
    return StageRecord(metrics=metrics, tags=origin)


if __name__ == "__main__":
    run_stage(data_load)
