"""The steps of `plain.py` as nodes: Kedro reads and writes the tables, each node opens a nested run."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from kedro.pipeline import Node, Pipeline
from sklearn.pipeline import Pipeline as Model
from sklearn.preprocessing import FunctionTransformer

from benchmarks import plain


def nested(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a node in a nested MLflow run."""

    @wraps(function)
    def run(*arguments: Any) -> Any:
        with mlflow.start_run(run_name=function.__name__, nested=True):
            return function(*arguments)

    return run


@nested
def data_load() -> pd.DataFrame:
    """Load iris."""
    table = plain.load_table()
    mlflow.log_metrics({"n_rows": len(table), "n_columns": table.shape[1]})
    plain.log_table(table, plain.RAW)
    return table


@nested
def featurize(table: pd.DataFrame) -> pd.DataFrame:
    """Add the ratios."""
    plain.log_table(table, plain.RAW)
    features = plain.add_ratios(table)
    mlflow.log_metrics({"n_features": features.shape[1] - 1})
    return features


@nested
def data_split(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide the rows."""
    plain.log_table(table, plain.FEATURES)
    train, test = plain.split_rows(table)
    mlflow.log_metrics({"n_train_rows": len(train), "n_test_rows": len(test)})
    return train, test


@nested
def train(rows: pd.DataFrame, raw: pd.DataFrame) -> tuple[Model, pd.DataFrame, str]:
    """Search, fit and log the model."""
    plain.log_table(rows, plain.TRAIN)
    model, results, cv_metrics = plain.search(rows)
    mlflow.log_params({"cv": plain.N_FOLDS, "scoring": plain.SCORING, "param_grid": plain.PARAM_GRID})
    mlflow.log_params({f"best.{name}": value for name, value in model["estimator"].get_params().items()})
    mlflow.log_metrics(cv_metrics)
    plain.MODEL.parent.mkdir(exist_ok=True)
    served = Model([("features", FunctionTransformer(plain.add_ratios)), *model.steps])
    model_id = plain.log_model(served, rows[raw.columns.drop(plain.TARGET)].head())
    return model, results, model_id


@nested
def evaluate(
    model: Model, train: pd.DataFrame, test: pd.DataFrame, results: pd.DataFrame, model_id: str
) -> tuple[dict[str, float], Path]:
    """Score the model."""
    plain.log_table(test, plain.TEST)
    plain.PLOTS.mkdir(parents=True, exist_ok=True)
    metrics, card = plain.evaluate(model, train, test, results)
    flat = {name: value for name, value in metrics.items() if isinstance(value, float)}
    mlflow.log_params({"n_bootstrap": plain.N_BOOTSTRAP})
    mlflow.log_metrics(flat, model_id=model_id)
    mlflow.log_artifact(str(card))
    mlflow.log_artifacts(str(plain.PLOTS), "plots")
    return flat, card


def record(metrics: dict[str, float], card: Path) -> None:
    """Log the result to the run of the pipeline."""
    mlflow.log_metrics(metrics)
    mlflow.log_artifact(str(card))
    mlflow.log_artifacts(str(plain.PLOTS), "plots")


def register_pipelines() -> dict[str, Pipeline]:
    """Give the pipeline to `kedro run`."""
    nodes = [
        Node(data_load, None, "dataset"),
        Node(featurize, "dataset", "features"),
        Node(data_split, "features", ["train", "test"]),
        Node(train, ["train", "dataset"], ["model", "cv_results", "model_id"]),
        Node(evaluate, ["model", "train", "test", "cv_results", "model_id"], ["metrics", "card"]),
        Node(record, ["metrics", "card"], None),
    ]
    return {"__default__": Pipeline(nodes)}
