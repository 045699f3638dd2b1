"""Score the model on the test rows."""

import joblib
import mlflow
import pandas as pd

from benchmarks import plain

plain.PLOTS.mkdir(parents=True, exist_ok=True)
model = joblib.load(plain.MODEL)[1:]
train, test = pd.read_parquet(plain.TRAIN), pd.read_parquet(plain.TEST)
metrics, card = plain.evaluate(model, train, test, pd.read_csv(plain.REPORTS / "cv_results.csv"))

mlflow.set_experiment("dvc_mlflow")
with mlflow.start_run():
    with mlflow.start_run(run_name="evaluate", nested=True):
        flat = {name: value for name, value in metrics.items() if isinstance(value, float)}
        mlflow.log_metrics(flat)
        mlflow.log_artifact(str(card))
        mlflow.log_artifacts(str(plain.PLOTS), "plots")
        plain.log_table(test, plain.TEST)
    mlflow.log_metrics(flat)
    mlflow.log_artifact(str(card))
    mlflow.log_artifacts(str(plain.PLOTS), "plots")
