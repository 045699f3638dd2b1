"""A table with a column of every kind, and settings to train on it."""

import copy
import io
from typing import Any

import joblib
import numpy as np
import pandas as pd

from src.config.schema import Config
from src.config.train import Task
from tests.config.conftest import VALID

COLUMNS: dict[str, dict[str, Any]] = {
    "height": {"kind": "number"},
    "weight": {"kind": "number"},
    "colour": {"kind": "category"},
    "size": {"kind": "ordinal", "order": ["S", "M", "L"]},
    "postcode": {"kind": "high_cardinality"},
    "member": {"kind": "boolean"},
    "day": {"kind": "date"},
    "clinic": {"kind": "category"},
    "review": {"kind": "text"},
    "note": {"kind": "ignore"},
}
USED = [name for name in COLUMNS if name != "note"]
# Smaller grids for estimators that take long with their default ones.
QUICK = {
    "extra_trees": {"n_estimators": [5]},
    "hist_gradient_boosting": {"max_iter": [5]},
    "lightgbm": {"n_estimators": [5]},
    "mlp": {"hidden_layer_sizes": [[8]], "max_iter": [20]},
    "random_forest": {"n_estimators": [5]},
}


def make_table(task: Task = "classification", n_rows: int = 90, seed: int = 0, gaps: bool = True) -> pd.DataFrame:
    """Make rows of the dtypes that stage `featurize` writes, with missing values in every column but the target."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "height": rng.normal(size=n_rows),
            "weight": rng.integers(0, 9, n_rows).astype(float),
            "colour": rng.choice(["red", "green", "blue"], n_rows),
            "size": rng.choice(["S", "M", "L"], n_rows),
            "postcode": rng.choice([f"p{number:02}" for number in range(20)], n_rows),
            "member": rng.integers(0, 2, n_rows).astype(float),
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.permutation(n_rows), "D"),
            "clinic": rng.choice(list("abcdefgh"), n_rows),
            "review": [" ".join(rng.choice(["good", "bad", "fine", "old", "new"], 3)) for _ in range(n_rows)],
            "note": "x",
        }
    )
    signal = 2 * table["height"] + 3 * (table["colour"] == "red") + table["size"].map({"S": 0, "M": 1, "L": 2})
    if gaps:
        for name in [name for name in USED if name != "day"]:
            table.loc[rng.random(n_rows) < 0.1, name] = np.nan
    if task == "regression":
        return table.assign(target=5000 + 1000 * signal)
    return table.assign(target=pd.qcut(signal, 3, labels=["low", "mid", "high"]).astype("str"))


def strange_rows() -> pd.DataFrame:
    """Make rows with only missing values, and rows with unseen levels."""
    rows = make_table(n_rows=12, seed=9).drop(columns="target")
    rows.loc[0, USED] = None
    rows.loc[1:4, ["colour", "size", "postcode", "clinic", "review"]] = "never seen"
    return rows


def make_config(estimator: Any = "logreg", task: Task = "classification", **changes: Any) -> Config:
    """Make settings for the table; changes go to section `train`, except `split` and `features`."""
    settings = copy.deepcopy(VALID)
    settings["base"]["task"] = task
    settings["featurize"]["features"] = changes.pop("features", {})
    settings["data_split"]["split"] = changes.pop("split", {"kind": "random"})
    settings["train"] |= {
        "estimator": estimator,
        "cv": 3,
        "scoring": "r2" if task == "regression" else "accuracy",
        "param_grid": QUICK,
        **changes,
    }
    return Config.model_validate(settings)


def dump(model: Any) -> bytes:
    """Return the bytes of a model file."""
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()
