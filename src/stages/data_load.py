"""Stage `data_load`: from the source to `data/raw/dataset.parquet` and the kinds of its columns."""

from functools import partial

from src.compute.engine import Engine
from src.compute.start import start_engine
from src.config.schema import Config
from src.data.columns import declared_columns, recorded_columns, write_columns
from src.data.parts import new_table
from src.data_load.sources import load_table
from src.data_load.table import convert_part
from src.data_load.validate import report_problems
from src.utils.command import run_stage
from src.utils.mlflow_run_decorator import StageResult, mlflow_run


@mlflow_run
def data_load(config: Config) -> StageResult:
    """Load the table that `data_load.source` names, infer the kinds of its columns, and check it."""
    declared, recorded = declared_columns(config), recorded_columns(config)
    path, target_column = config.data_load.dataset_path, config.base.target_column
    path.parent.mkdir(parents=True, exist_ok=True)
    with start_engine(config.compute, [path.parent]) as engine, load_table(config, recorded | declared) as table:
        raw = table.raw
        with new_table(path) as folder:
            convert = partial(
                convert_part,
                folder=folder,
                columns=table.columns,
                declared=declared,
                target_column=target_column,
                target=table.target,
            )
            # A single part is in memory, so no worker can read it.
            where = engine if raw.is_divided else Engine()
            checks = list(where.map(convert, raw.parts, len(raw.parts), "data_load"))
            report_problems(raw.columns, raw.n_rows, checks, declared, recorded, config)
    write_columns(table.columns, config)
    metrics = {
        "n_rows": raw.n_rows,
        "n_columns": len(raw.columns),
        "n_rows_without_target": table.target.n_dropped,
    }
    return StageResult(metrics=metrics, tags=table.origin)


if __name__ == "__main__":
    run_stage(data_load)
