"""What the stages cost on a large table beside bare libraries: `python -m benchmarks.large_table`.

A million rows of 20 numbers and 5 categories, `hist_gradient_boosting` without search. The
fit is left out on both sides: it is scikit-learn's own.
"""

import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]
STAGES = ("data_load", "featurize", "data_split", "train", "evaluate")
PARAMS: dict[str, dict[str, Any]] = {
    "data_load": {"source": {"kind": "file"}, "external_path": "data/external/large.parquet"},
    "featurize": {"features": {"x0_to_x1": {"product": ["x0", "x1"]}}},
    "train": {
        "estimator": "hist_gradient_boosting",
        "search": {"kind": "none"},
        "param_grid": {"hist_gradient_boosting": {"max_iter": [20]}},
    },
    "tracking": {"enabled": False},
}


def make_table(n_rows: int) -> pd.DataFrame:
    """Draw 20 numbers, 5 categories of 10 levels and a target of two classes that depends on them."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(n_rows, 20)), columns=[f"x{number}" for number in range(20)])
    levels = np.array([f"level {number}" for number in range(10)])
    for number in range(5):
        table[f"c{number}"] = pd.Series(levels[rng.integers(0, 10, n_rows)], dtype="str")
    score = table["x0"] * table["x1"] + table["x2"] + (table["c0"] == "level 3") + rng.normal(size=n_rows)
    table["target"] = pd.Series(np.where(score > 0.5, "yes", "no"), dtype="str")
    return table


def run_bare() -> float:
    """Do what the stages do with the libraries alone, in one process; gives seconds without the fit."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, roc_auc_score
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    began = time.perf_counter()
    folder = Path("bare")
    folder.mkdir(exist_ok=True)
    pd.read_parquet(PARAMS["data_load"]["external_path"]).to_parquet(folder / "dataset.parquet", index=False)
    table = pd.read_parquet(folder / "dataset.parquet")
    table.insert(25, "x0_to_x1", table["x0"] * table["x1"])
    table.to_parquet(folder / "features.parquet", index=False)
    table = pd.read_parquet(folder / "features.parquet")
    train, test = train_test_split(table, test_size=0.2, random_state=42, stratify=table["target"])
    train.to_parquet(folder / "train.parquet", index=False)
    test.to_parquet(folder / "test.parquet", index=False)
    del table, test
    train = pd.read_parquet(folder / "train.parquet")
    categories = [f"c{number}" for number in range(5)]
    encode = make_column_transformer((OrdinalEncoder(), categories), remainder="passthrough")
    boosting = HistGradientBoostingClassifier(max_iter=20, categorical_features=range(5), random_state=42)
    model = make_pipeline(encode, boosting)
    before_fit = time.perf_counter()
    model.fit(train.drop(columns="target"), train["target"])
    fit = time.perf_counter() - before_fit
    test = pd.read_parquet(folder / "test.parquet")
    X, y_true = test.drop(columns="target"), test["target"].to_numpy()
    shares = model.predict_proba(X)
    y_pred = model.classes_[shares.argmax(axis=1)]
    accuracy_score(y_true, y_pred)
    f1_score(y_true, y_pred, average="macro")
    log_loss(y_true, shares)
    roc_auc_score(y_true == "yes", shares[:, 1])
    confusion_matrix(y_true, y_pred)
    return time.perf_counter() - began - fit


def run_stage(name: str) -> float:
    """Run one stage; gives its seconds without the fit."""
    import importlib

    from sklearn.pipeline import Pipeline

    from src.config.load import load_config

    fits = [0.0]
    fit_pipeline = Pipeline.fit

    def timed_fit(self: Pipeline, *args: Any, **kwargs: Any) -> Pipeline:
        before = time.perf_counter()
        try:
            return fit_pipeline(self, *args, **kwargs)
        finally:
            fits[0] += time.perf_counter() - before

    stage = getattr(importlib.import_module(f"src.stages.{name}"), name)
    config = load_config(Path("params.yaml"))
    if name == "train":
        Pipeline.fit = timed_fit
    began = time.perf_counter()
    stage(config)
    return time.perf_counter() - began - fits[0]


def measure(function: Callable[..., float], *arguments: str) -> tuple[float, float]:
    """Run a function in a process of its own; gives its seconds and the peak of its memory in MB."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(sender, function, arguments))
    process.start()
    sender.close()
    result: tuple[float, float] = receiver.recv()
    process.join()
    return result


def _report(sender: Any, function: Callable[..., float], arguments: tuple[str, ...]) -> None:
    seconds = function(*arguments)
    sender.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main(n_rows: int = 1_000_000, n_runs: int = 3) -> None:
    """Measure, in turn, and print JSON."""
    with tempfile.TemporaryDirectory() as folder:
        params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        for section, settings in PARAMS.items():
            params[section] |= settings
        os.chdir(folder)
        Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        path = Path(params["data_load"]["external_path"])
        path.parent.mkdir(parents=True)
        table = make_table(n_rows)
        table_mb = float(table.memory_usage(deep=True).sum() / 2**20)
        table.to_parquet(path, index=False)
        del table
        bare, stages = [], []
        for _ in range(n_runs):
            bare.append(measure(run_bare))
            stages.append({name: measure(run_stage, name) for name in STAGES})
    bare_seconds = statistics.median(seconds for seconds, _ in bare)
    medians = {name: statistics.median(run[name][0] for run in stages) for name in STAGES}
    peaks = {name: max(run[name][1] for run in stages) for name in STAGES}
    result = {
        "rows": n_rows,
        "table in memory, MB": round(table_mb),
        "bare, seconds": round(bare_seconds, 2),
        "stages, seconds": {name: round(seconds, 2) for name, seconds in medians.items()},
        "ratio": round(sum(medians.values()) / bare_seconds, 2),
        "peak memory of a stage, MB": {name: round(peak) for name, peak in peaks.items()},
        "peak memory / table": round(max(peaks.values()) / table_mb, 2),
        "peak memory of bare, MB": round(max(peak for _, peak in bare)),
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
