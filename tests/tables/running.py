"""The five stages in one process, without tracking: what the settings of a table make of it."""

from pathlib import Path
from typing import Any

import yaml

from src.config.load import load_config
from src.config.schema import Config
from src.stages.data_load import data_load
from src.stages.data_split import data_split
from src.stages.evaluate import evaluate
from src.stages.featurize import featurize
from src.stages.train import train

STAGES = (data_load, featurize, data_split, train, evaluate)


def run_stages(params: dict[str, Any]) -> Config:
    """Run all stages in the working folder, with tracking off."""
    params["tracking"]["enabled"] = False
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False, allow_unicode=True), encoding="utf-8")
    config = load_config(Path("params.yaml"))
    for stage in STAGES:
        stage(config)
    return config
