"""Find settings of different sections that contradict each other."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from src.config.featurize import Feature
from src.config.schema import Config
from src.config.section import EXTERNAL_DIR
from src.config.train import ESTIMATOR_PARAMS, LABEL_SCORINGS, SCORINGS

TARGET_KINDS = {"classification": ("boolean", "category", "number", "ordinal"), "regression": ("number",)}
_NUMBERS, _TEXTS = ("boolean", "number"), ("category", "high_cardinality", "ordinal")
# Kinds of columns that each feature can be computed from.
FEATURE_INPUT_KINDS = {
    "ratio": _NUMBERS,
    "difference": (*_NUMBERS, "date"),
    "product": _NUMBERS,
    "log": _NUMBERS,
    "date_part": ("date",),
    "text_length": _TEXTS,
    "bins": _NUMBERS,
}


def find_conflicts(config: Config) -> list[str]:
    """List the settings that contradict each other."""
    return [*_check_columns(config), *_check_task(config), *_check_paths(config)]


def _check_columns(config: Config) -> Iterator[str]:
    target, split, declared = config.base.target_column, config.data_split.split, config.data_load.columns
    source = config.data_load.source
    for name in () if source.kind == "sklearn" else source.dates:
        if name in declared and declared[name].kind != "date":
            yield (
                f"data_load.columns.{name}.kind = {declared[name].kind!r} contradicts data_load.source.dates, which "
                "lists the column; remove one of them"
            )
    if target in declared and declared[target].kind not in TARGET_KINDS[config.base.task]:
        yield (
            f"data_load.columns.{target}.kind = {declared[target].kind!r} cannot be the target of a "
            f"{config.base.task}; choose one of {', '.join(TARGET_KINDS[config.base.task])}"
        )
    for name, feature in config.featurize.features.items():
        yield from _check_feature(config, name, feature)
    if split.column == target:
        yield f"data_split.split.column = {target!r} is also base.target_column; choose another column"
    if split.kind == "time" and split.column in declared and declared[split.column].kind not in ("date", "number"):
        yield (
            f"data_split.split.column = {split.column!r} is declared as {declared[split.column].kind} in "
            "data_load.columns; a split by time needs a date or a number"
        )


def _check_feature(config: Config, name: str, feature: Feature) -> Iterator[str]:
    target, declared, features = config.base.target_column, config.data_load.columns, config.featurize.features
    where = f"featurize.features.{name}"
    if target in (name, *feature.columns):
        yield f"{where} uses base.target_column = {target!r}; a feature must not use the target"
    if name in declared:
        yield f"{where} has the name of a column in data_load.columns; choose another name"
    (calculation,) = feature.model_dump(exclude_none=True)
    accepted = FEATURE_INPUT_KINDS[calculation]
    for column in feature.columns:
        if column in features and column not in declared:
            yield f"{where} uses the feature {column!r}; features can use columns of the table only"
        if column in declared and declared[column].kind not in accepted:
            yield (
                f"{where}: {calculation} does not accept {column!r}, which data_load.columns declares as "
                f"{declared[column].kind}; it accepts {', '.join(accepted)}"
            )


def _check_task(config: Config) -> Iterator[str]:
    task, train = config.base.task, config.train
    if train.scoring not in SCORINGS[task]:
        yield f"train.scoring = {train.scoring!r} is unknown for {task}; choose one of {', '.join(SCORINGS[task])}"
    params = ESTIMATOR_PARAMS[task]
    estimators = train.list_estimators(task)
    for name in estimators:
        if name not in params and "." not in name:
            yield f"train.estimator = {name!r} does not support {task}; choose one of {', '.join(sorted(params))}"
    for name in sorted(set(estimators) & set(train.param_grid) & set(params)):
        for key in sorted(set(train.param_grid[name]) - set(params[name])):
            yield (
                f"train.param_grid.{name}.{key} is not a parameter of {name} for {task}; "
                f"choose one of {', '.join(params[name])}"
            )
    if task == "regression" and config.base.positive is not None:
        yield f"base.positive = {config.base.positive!r}: a regression has no classes; set it to null"
    if task == "regression" and train.class_weight != "none":
        yield f"train.class_weight = {train.class_weight!r}: a regression has no classes; set it to none"
    if task == "regression" and train.threshold != 0.5:
        yield f"train.threshold = {train.threshold!r}: a regression has no classes; set it to 0.5"
    if task == "regression" and train.calibrate != "none":
        yield f"train.calibrate = {train.calibrate!r}: a regression has no probabilities; set it to none"
    if train.calibrate != "none" and config.data_split.split.kind == "time":
        yield (
            f"train.calibrate = {train.calibrate!r} needs folds that score every row, which a split by time has "
            "not; set it to none"
        )
    if train.threshold == "best" and train.scoring not in LABEL_SCORINGS:
        yield (
            f"train.threshold = 'best': train.scoring = {train.scoring!r} does not depend on the threshold; "
            f"choose one of {', '.join(LABEL_SCORINGS)}"
        )
    if task == "regression" and config.data_split.split.kind == "stratified":
        yield "data_split.split.kind = 'stratified': a regression has no classes; choose random, hash, time or group"
    if len(estimators) > 1 and train.search.kind == "none":
        yield "train.search.kind = 'none' cannot compare several estimators; choose grid, halving, random or optuna"
    if train.search.kind == "optuna" and train.search.n_trials < len(estimators):
        yield (
            f"train.search.n_trials = {train.search.n_trials} is fewer than the {len(estimators)} estimators of "
            "train.estimator; raise it, or list fewer"
        )


def _check_paths(config: Config) -> Iterator[str]:
    source, external = config.data_load.source, config.data_load.external_path
    if source.kind in ("file", "url") and EXTERNAL_DIR not in external.parents:
        yield (
            f"data_load.external_path = '{external}': must be a file or folder in {EXTERNAL_DIR}/, "
            f"because data_load.source.kind is {source.kind}"
        )
    paths = [value for _, section in config for _, value in section if isinstance(value, Path)]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield f"'{path}' is the path of {paths.count(path)} outputs; each output needs its own"
    for inner, outer in itertools.permutations(sorted(set(paths)), 2):
        if outer in inner.parents:
            yield f"'{inner}' is inside '{outer}', the path of another setting; put it elsewhere"
