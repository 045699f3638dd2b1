"""The stages of a large table beside bare libraries: pandas, pyarrow and scikit-learn in one process.

20 numbers and 5 categories, `hist_gradient_boosting` without search, without tracking. The fit
is left out on both sides: it is scikit-learn's own.
"""

import importlib
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.tables import write_table
from benchmarks.workspace import Workspace, peak_megabytes

STAGES = ("data_load", "featurize", "data_split", "train", "evaluate")
TABLE = "data/external/large.parquet"
CATEGORIES = [f"c{number}" for number in range(5)]
N_ITERATIONS = 20
CHANGES: dict[str, dict[str, Any]] = {
    "data_load": {"source": {"kind": "file"}, "external_path": TABLE},
    "featurize": {"features": {"product": {"product": ["x00", "x01"]}}},
    "train": {
        "estimator": "hist_gradient_boosting",
        "search": {"kind": "none"},
        "param_grid": {"hist_gradient_boosting": {"max_iter": [N_ITERATIONS]}},
    },
    "tracking": {"enabled": False},
}

Measured = tuple[float, float]


def measure_stages(folder: Path, n_runs: int, n_rows: int = 1_000_000) -> dict[str, Any]:
    """Run all stages, and the same work by the libraries alone, in turn, each in a process of its own.

    Returns:
        Medians of the seconds without the fit, and of the peak memory of each stage, in MB, beside
        the size of the table.
    """
    workspace = Workspace(folder, CHANGES)
    # Not here: the peak memory of a process is at least that of the one which started it.
    megabytes, _ = _in_a_process(_write_table, str(workspace.path), n_rows)
    bare, stages = [], []
    for _ in range(n_runs):
        bare.append(_in_a_process(_run_bare, str(workspace.path)))
        stages.append({name: _in_a_process(_run_stage, str(workspace.path), name) for name in STAGES})
        sys.stderr.write(f"  bare: {bare[-1][0]:.2f} s; " + "; ".join(_tell(stages[-1])) + "\n")
    seconds = [sum(cost for cost, _ in run.values()) for run in stages]
    return {
        "stages": {"seconds": statistics.median(seconds)},
        "peaks": {name: statistics.median(run[name][1] for run in stages) for name in STAGES},
        "bare": {
            "seconds": statistics.median(cost for cost, _ in bare),
            "megabytes": statistics.median(peak for _, peak in bare),
        },
        "table": {"megabytes": megabytes},
    }


def _write_table(folder: str, n_rows: int) -> float:
    """Write the table; gives its size in memory, in MB."""
    table = write_table(Path(folder) / TABLE, n_rows, len(CATEGORIES))
    return float(table.memory_usage(deep=True).sum()) / 2**20


def _tell(run: dict[str, Measured]) -> list[str]:
    return [f"{name}: {cost:.2f} s, {peak:.0f} MB" for name, (cost, peak) in run.items()]


def _run_bare(folder: str) -> float:
    """Do what the stages do with the libraries alone; gives seconds without the fit."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, roc_auc_score
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    os.chdir(folder)
    began = time.perf_counter()
    out = Path("bare")
    out.mkdir(exist_ok=True)
    pd.read_parquet(TABLE).to_parquet(out / "dataset.parquet", index=False)
    table = pd.read_parquet(out / "dataset.parquet")
    table["product"] = table["x00"] * table["x01"]
    table.to_parquet(out / "features.parquet", index=False)
    table = pd.read_parquet(out / "features.parquet")
    train, test = train_test_split(table, test_size=0.2, random_state=42, stratify=table["target"])
    train.to_parquet(out / "train.parquet", index=False)
    test.to_parquet(out / "test.parquet", index=False)
    del table, test
    train = pd.read_parquet(out / "train.parquet")
    encode = make_column_transformer((OrdinalEncoder(), CATEGORIES), remainder="passthrough")
    is_category = range(len(CATEGORIES))
    boosting = HistGradientBoostingClassifier(max_iter=N_ITERATIONS, categorical_features=is_category, random_state=42)
    model = make_pipeline(encode, boosting)
    before_fit = time.perf_counter()
    model.fit(train.drop(columns="target"), train["target"])
    fit = time.perf_counter() - before_fit
    test = pd.read_parquet(out / "test.parquet")
    X, y_true = test.drop(columns="target"), test["target"].to_numpy()
    shares = model.predict_proba(X)
    y_pred = model.classes_[shares.argmax(axis=1)]
    accuracy_score(y_true, y_pred)
    f1_score(y_true, y_pred, average="macro")
    log_loss(y_true, shares)
    roc_auc_score(y_true == "yes", shares[:, 1])
    confusion_matrix(y_true, y_pred)
    return time.perf_counter() - began - fit


def _run_stage(folder: str, name: str) -> float:
    """Run one stage; gives its seconds without the fit."""
    from src.config.load import load_config

    os.chdir(folder)
    stage = getattr(importlib.import_module(f"src.stages.{name}"), name)
    config = load_config(Path("params.yaml"))
    fits = _time_fits() if name == "train" else []
    began = time.perf_counter()
    stage(config)
    return time.perf_counter() - began - sum(fits)


def _time_fits() -> list[float]:
    from sklearn.pipeline import Pipeline

    fits: list[float] = []
    fit = Pipeline.fit

    def timed(self: Pipeline, *args: Any, **kwargs: Any) -> Pipeline:
        before = time.perf_counter()
        fitted = fit(self, *args, **kwargs)
        fits.append(time.perf_counter() - before)
        return fitted

    Pipeline.fit = timed
    return fits


def _in_a_process(function: Callable[..., float], *arguments: Any) -> Measured:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(sender, function, arguments))
    process.start()
    sender.close()
    result: Measured = receiver.recv()
    process.join()
    return result


def _report(sender: Any, function: Callable[..., float], arguments: tuple[Any, ...]) -> None:
    seconds = function(*arguments)
    sender.send((seconds, peak_megabytes(resource.getrusage(resource.RUSAGE_SELF))))
