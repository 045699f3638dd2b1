import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from src.config.load import load_config
from src.config.schema import Config
from src.errors import ConfigError

# Not params.yaml, so that a user can change it without breaking tests.
VALID: dict[str, Any] = {
    "base": {
        "task": "classification",
        "target_column": "target",
        "positive": None,
        "random_state": 42,
        "log_level": "INFO",
    },
    "data_load": {
        "source": {"kind": "sklearn", "name": "iris"},
        "external_path": "data/external",
        "columns": {},
        "missing_target": "error",
        "rows_per_part": 1000,
        "dataset_path": "data/raw/dataset.parquet",
        "schema_path": "data/schema.json",
    },
    "featurize": {"features": {"a_to_b": {"ratio": ["a", "b"]}}, "features_path": "data/features.parquet"},
    "data_split": {
        "split": {"kind": "stratified"},
        "test_size": 0.2,
        "checks": dict.fromkeys(["leak", "duplicates", "constant", "identifier", "rare_class"], "warn"),
        "train_path": "data/train.parquet",
        "test_path": "data/test.parquet",
        "checks_path": "reports/data_checks.json",
        "data_report_path": "reports/data.html",
    },
    "train": {
        "estimator": "logreg",
        "preprocess": {"impute": "median", "scale": "standard", "max_categories": 20},
        "class_weight": "none",
        "threshold": 0.5,
        "calibrate": "none",
        "cv": 5,
        "max_rows": 1000,
        "scoring": "f1_macro",
        "search": {"kind": "grid"},
        "n_jobs": 1,
        "param_grid": {"knn": {"n_neighbors": [3]}, "logreg": {"C": [0.1, 1.0]}},
        "model_path": "models/model.joblib",
        "cv_metrics_path": "reports/cv_metrics.json",
        "cv_results_path": "reports/cv_results.csv",
    },
    "evaluate": {
        "n_bootstrap": 100,
        "metrics_path": "reports/metrics.json",
        "plots_dir": "reports/plots",
        "curves_dir": "reports/curves",
        "report_path": "reports/report.html",
        "model_card_path": "reports/model_card.md",
        "reference_path": "reports/reference.json",
    },
    "compute": {"engine": "local", "scheduler": "tcp://127.0.0.1:8786"},
    "tracking": {"enabled": True, "experiment_name": "pipeline", "system_metrics": False},
    "registry": {"model_name": "iris", "gate": {"minimum": {}, "margin": 0.02, "confidence": 0.95}},
    "serve": {
        "workers": 2,
        "poll_seconds": 5,
        "max_body_mb": 100,
        "max_rows": 100_000,
        "max_queue": 200_000,
        "timeout_seconds": 30,
        "record": {"sample": 1.0, "exclude": [], "max_mb": 1000},
    },
    "monitor": {"alpha": 0.05, "min_effect": 0.1, "min_rows": 100, "max_rows": 50_000},
}
ABSENT = object()

Changes = dict[str, Any]
Load = Callable[[Changes], Config]
Refusal = Callable[[Changes], str]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load valid settings with some changed by dotted key; ABSENT removes a key."""
    monkeypatch.chdir(tmp_path)

    def load_changed(changes: Changes) -> Config:
        params = copy.deepcopy(VALID)
        for dotted, value in changes.items():
            *parents, key = dotted.split(".")
            section = params
            for parent in parents:
                section = section[parent]
            if value is ABSENT:
                del section[key]
            else:
                section[key] = value
        Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        return load_config(Path("params.yaml"))

    return load_changed


@pytest.fixture
def refusal(load: Load) -> Refusal:
    """Return the error message for changed settings."""

    def refuse(changes: Changes) -> str:
        with pytest.raises(ConfigError) as caught:
            load(changes)
        return str(caught.value)

    return refuse
