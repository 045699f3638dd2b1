"""Divide the rows."""

from pathlib import Path

import mlflow
import pandas as pd
import yaml
from sklearn.model_selection import train_test_split

INPUT, FOLDER = Path("data/processed/features.parquet"), Path("data/processed")

params = yaml.safe_load(Path("params.yaml").read_text())["data_split"]
table = pd.read_parquet(INPUT)
train, test = train_test_split(table, stratify=table["target"], **params)
train.sort_index().to_parquet(FOLDER / "train.parquet", index=False)
test.sort_index().to_parquet(FOLDER / "test.parquet", index=False)

mlflow.set_experiment("dvc_mlflow")
with mlflow.start_run(), mlflow.start_run(run_name="data_split", nested=True):
    mlflow.log_params(params)
    mlflow.log_metrics({"n_train_rows": len(train), "n_test_rows": len(test)})
    mlflow.log_input(mlflow.data.from_pandas(table, source=str(INPUT), name="features", targets="target"))
