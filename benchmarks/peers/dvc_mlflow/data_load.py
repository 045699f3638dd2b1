"""Load iris; the parent run of `MLFLOW_RUN_ID` is resumed, and a nested run opened."""

from pathlib import Path

import mlflow
from sklearn.datasets import load_iris

OUTPUT = Path("data/raw/dataset.parquet")

iris = load_iris(as_frame=True)
table = iris.data.rename(columns=lambda name: name.removesuffix(" (cm)").replace(" ", "_"))
table["target"] = iris.target_names[iris.target]
OUTPUT.parent.mkdir(parents=True, exist_ok=True)
table.to_parquet(OUTPUT, index=False)

mlflow.set_experiment("dvc_mlflow")
with mlflow.start_run(), mlflow.start_run(run_name="data_load", nested=True):
    mlflow.log_metrics({"n_rows": len(table), "n_columns": table.shape[1]})
    mlflow.log_input(mlflow.data.from_pandas(table, source=str(OUTPUT), name="dataset", targets="target"))
