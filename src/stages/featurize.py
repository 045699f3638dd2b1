"""Stage `featurize`: from `data/raw/dataset.parquet` to `data/processed/features.parquet`."""

from functools import partial

from src.compute.start import start_engine
from src.config.schema import Config
from src.data.columns import read_columns
from src.data.parts import list_parts, map_parts, new_table
from src.featurize.table import featurize_part
from src.utils.command import run_stage
from src.utils.mlflow_run_decorator import StageResult, mlflow_run


@mlflow_run
def featurize(config: Config) -> StageResult:
    """Add the declared row-wise features, part by part."""
    path = config.data_load.dataset_path
    parts = list_parts(path, made_by="data_load")
    columns = read_columns(config.data_load.schema_path)
    with start_engine(config.compute, [path]) as engine, new_table(config.featurize.features_path) as folder:
        process = partial(
            featurize_part,
            folder=folder,
            columns=columns,
            features=config.features,
            base=config.base,
            n_rows=sum(part.n_rows for part in parts),
        )
        n_features = list(map_parts(process, parts, engine, "featurize"))
    return StageResult(metrics={"n_features": n_features[0]})


if __name__ == "__main__":
    run_stage(featurize)
