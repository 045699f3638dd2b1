"""Add the ratios."""

from pathlib import Path

import mlflow
import pandas as pd

INPUT, OUTPUT = Path("data/raw/dataset.parquet"), Path("data/processed/features.parquet")


def add_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Add the ratio of length to width of sepals and petals."""
    return table.assign(
        sepal_length_to_sepal_width=table["sepal_length"] / table["sepal_width"],
        petal_length_to_petal_width=table["petal_length"] / table["petal_width"],
    )


if __name__ == "__main__":
    raw = pd.read_parquet(INPUT)
    features = add_ratios(raw)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    features.to_parquet(OUTPUT, index=False)

    mlflow.set_experiment("dvc_mlflow")
    with mlflow.start_run(), mlflow.start_run(run_name="featurize", nested=True):
        mlflow.log_metrics({"n_features": features.shape[1] - 1})
        mlflow.log_input(mlflow.data.from_pandas(raw, source=str(INPUT), name="dataset", targets="target"))
