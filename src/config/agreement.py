"""Faults between settings of different sections."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from src.config.training import ESTIMATOR_PARAMS, SCORINGS

if TYPE_CHECKING:
    from src.config.schema import Config

EXTERNAL_DIR = Path("data/external")


def find_faults(config: "Config") -> list[str]:
    """List what no section could say alone: settings that contradict each other."""
    return [*_of_the_source(config), *_of_columns(config), *_of_the_task(config), *_of_paths(config)]


def _of_the_source(config: "Config") -> Iterator[str]:
    section = config.data_load
    if section.source.kind in ("file", "url") and EXTERNAL_DIR not in section.external_path.parents:
        yield (
            f"data_load.external_path = '{section.external_path}': must name a file or folder in {EXTERNAL_DIR}/, "
            f"since data_load.source.kind is {section.source.kind}"
        )


def _of_columns(config: "Config") -> Iterator[str]:
    target, split = config.base.target_column, config.data_split.split
    for name, feature in config.featurize.features.items():
        if target in (name, *feature.columns):
            yield f"featurize.features.{name} uses base.target_column = {target!r}: a feature must not know the answer"
    if split.kind in ("time", "group") and split.column == target:
        yield f"data_split.split.column = {target!r} is base.target_column; name another column"


def _of_the_task(config: "Config") -> Iterator[str]:
    task, train = config.base.task, config.train
    if train.scoring not in SCORINGS[task]:
        yield f"train.scoring = {train.scoring!r} is none of {task}; choose of {', '.join(SCORINGS[task])}"
    params = ESTIMATOR_PARAMS[task]
    for name in train.estimators:
        if name not in params and "." not in name:
            yield f"train.estimator = {name!r} does no {task}; choose of {', '.join(sorted(params))}"
    for name in sorted(set(train.estimators) & set(train.param_grid) & set(params)):
        for key in sorted(set(train.param_grid[name]) - set(params[name])):
            yield (
                f"train.param_grid.{name}.{key} is no parameter of {name} for {task}; "
                f"choose of {', '.join(params[name])}"
            )
    if task == "regression" and train.class_weight != "none":
        yield f"train.class_weight = {train.class_weight!r}: a regression has no classes; set it to none"
    if task == "regression" and config.data_split.split.kind == "stratified":
        yield "data_split.split.kind = 'stratified': a regression has no classes; choose random, time or group"
    if len(train.estimators) > 1 and train.search.kind == "none":
        yield "train.search.kind = 'none' cannot choose between several estimators; choose grid, halving or random"


def _of_paths(config: "Config") -> Iterator[str]:
    sections = (config.data_load, config.featurize, config.data_split, config.train, config.evaluate)
    paths = [str(value) for section in sections for key, value in section if re.search("_(path|dir)$", key)]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield f"{path!r} is the path of {paths.count(path)} outputs; each output needs its own"
