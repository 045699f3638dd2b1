"""Faults between settings of different sections."""

import re
from collections.abc import Iterator
from pathlib import Path

from src.config.featurize import Feature
from src.config.schema import Config
from src.config.train import ESTIMATOR_PARAMS, SCORINGS

EXTERNAL_DIR = Path("data/external")
TARGET_KINDS = {"classification": ("boolean", "category", "number", "ordinal"), "regression": ("number",)}
_NUMBERS, _TEXTS = ("boolean", "number"), ("category", "high_cardinality", "ordinal")
# What each calculation of a feature can be of.
KINDS_OF_FEATURES = {
    "ratio": _NUMBERS,
    "difference": (*_NUMBERS, "date"),
    "product": _NUMBERS,
    "log": _NUMBERS,
    "date_part": ("date",),
    "text_length": _TEXTS,
    "bins": _NUMBERS,
}


def find_conflicts(config: Config) -> list[str]:
    """List what no section could say alone: settings that contradict each other."""
    return [*_of_the_source(config), *_of_columns(config), *_of_the_task(config), *_of_paths(config)]


def _of_the_source(config: Config) -> Iterator[str]:
    section = config.data_load
    if section.source.kind in ("file", "url") and EXTERNAL_DIR not in section.external_path.parents:
        yield (
            f"data_load.external_path = '{section.external_path}': must name a file or folder in {EXTERNAL_DIR}/, "
            f"since data_load.source.kind is {section.source.kind}"
        )


def _of_columns(config: Config) -> Iterator[str]:
    target, split, declared = config.base.target_column, config.data_split.split, config.data_load.columns
    source = config.data_load.source
    for name in () if source.kind == "sklearn" else source.dates:
        if name in declared and declared[name].kind != "date":
            yield f"data_load.columns.{name}.kind = {declared[name].kind!r}, and data_load.source.dates has it"
    if target in declared and declared[target].kind not in TARGET_KINDS[config.base.task]:
        yield (
            f"data_load.columns.{target}.kind = {declared[target].kind!r}: the target of a {config.base.task} is "
            f"one of {', '.join(TARGET_KINDS[config.base.task])}"
        )
    for name, feature in config.featurize.features.items():
        yield from _of_a_feature(config, name, feature)
    if split.kind in ("time", "group") and split.column == target:
        yield f"data_split.split.column = {target!r} is base.target_column; name another column"
    if split.kind == "time" and split.column in declared and declared[split.column].kind not in ("date", "number"):
        yield f"data_split.split.column = {split.column!r} is declared as {declared[split.column].kind}, not as date"


def _of_a_feature(config: Config, name: str, feature: Feature) -> Iterator[str]:
    target, declared, features = config.base.target_column, config.data_load.columns, config.featurize.features
    where = f"featurize.features.{name}"
    if target in (name, *feature.columns):
        yield f"{where} uses base.target_column = {target!r}: a feature must not know the answer"
    if name in declared:
        yield f"{where} has the name of a column that data_load.columns declares; choose another name"
    (calculation,) = feature.model_dump(exclude_none=True)
    for column in feature.columns:
        if column in features and column not in declared:
            yield f"{where} uses {column!r}, which is a feature; features are computed from columns of the table"
        if column in declared and declared[column].kind not in KINDS_OF_FEATURES[calculation]:
            yield (
                f"{where}: {calculation} of {column!r}, which data_load.columns declares as {declared[column].kind}; "
                f"it takes {', '.join(KINDS_OF_FEATURES[calculation])}"
            )


def _of_the_task(config: Config) -> Iterator[str]:
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


def _of_paths(config: Config) -> Iterator[str]:
    sections = (config.data_load, config.featurize, config.data_split, config.train, config.evaluate)
    paths = [str(value) for section in sections for key, value in section if re.search("_(path|dir)$", key)]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield f"{path!r} is the path of {paths.count(path)} outputs; each output needs its own"
