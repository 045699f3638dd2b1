"""Open the parent run and print its id: `MLFLOW_RUN_ID=$(python start_pipeline.py) dvc repro`."""

import mlflow

mlflow.set_experiment("dvc_mlflow")
with mlflow.start_run(run_name="dvc_mlflow") as run:
    print(run.info.run_id)  # noqa: T201 - the caller reads it
