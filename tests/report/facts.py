"""The settings and facts of a report to build."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from src.config.schema import Config
from src.report.content import Facts
from tests.config.conftest import VALID
from tests.report.conftest import make_classes

REGRESSION: dict[str, Any] = {
    "base__task": "regression",
    "train__scoring": "r2",
    "train__estimator": "ridge",
    "data_split__split": {"kind": "random"},
}
MD5 = "0123456789abcdef0123456789abcdef"
METRICS: dict[str, Any] = {
    "test_accuracy": 0.9,
    "test_f1_macro_baseline": 0.25,
    "test_f1_class": {"yes": 0.8, "no": 1.0},
    "test_f1_macro": 0.9,
    "test_f1_macro_ci95_high": 0.95,
    "test_f1_macro_ci95_low": 0.81234,
    "test_precision_class": {"yes": 0.7, "no": 0.6},
    "test_recall_class": {"yes": 0.5, "no": 0.4},
    "test_support_class": {"yes": 12.0, "no": 28.0},
}


def make_config(**changes: Any) -> Config:
    settings = copy.deepcopy(VALID)
    for dotted, value in changes.items():
        section, key = dotted.split("__")
        settings[section][key] = value
    return Config.model_validate(settings)


def make_model(estimator: Any) -> Pipeline:
    """Return a model that is not fitted: the report needs its parameters only."""
    return Pipeline([("preprocess", FunctionTransformer()), ("estimator", estimator)])


def make_facts(**changes: Any) -> Facts:
    values: dict[str, Any] = {
        "model": make_model(LogisticRegression(C=0.1, random_state=42)),
        "candidates": pd.DataFrame(
            {"estimator": "logreg", "C": [0.1, 1, 10, 100], "mean": [0.9, 0.8, 0.7, None], "std": 0.01}
        ).assign(rank=[1, 2, 3, None]),
        "features": {"number": ["a", "b"], "category": ["c"], "boolean": []},
        "n_train": 160,
        "X_shown": pd.DataFrame({"a": np.arange(40.0), "b": 1.0, "c": ["x", "y"] * 20}),
        "predictions": make_classes(40, 2),
        "metrics": METRICS,
        "cv_metrics": {"cv_f1_macro_mean": 0.88},
        "findings": [],
        "md5s": {"data/test.parquet": "aa", "models/model.joblib": MD5},
        "plots": [Path("reports/plots/roc.png")],
    }
    values |= changes
    return Facts(**{"shown": values["predictions"], **values})
