"""The floor: the five stages and their tracking in one process, without DVC.

    python -m benchmarks.floor

What the pipeline costs beyond this is the price of processes, DVC and its cache.
"""

import importlib
import os
from pathlib import Path

from src.config.load import load_config
from src.tracking import names
from src.utils.logs import setup_logging
from src.utils.start_pipeline import open_by_hand

STAGES = ("data_load", "featurize", "data_split", "train", "evaluate")


def main() -> None:
    """Run every stage under one parent run."""
    stages = [getattr(importlib.import_module(f"src.stages.{name}"), name) for name in STAGES]
    config = load_config(Path("params.yaml"))
    setup_logging(config.base.log_level)
    os.environ[names.MLFLOW_RUN_ID] = open_by_hand(config, "floor")
    for stage in stages:
        stage(config)


if __name__ == "__main__":
    main()
