"""The settings of `params.yaml`: one frozen section per stage, unknown keys refused."""

from typing import Annotated, Any, Literal

from pydantic import Field

from src.config.columns import Column, Feature
from src.config.section import ColumnName, RepoPath, Section
from src.config.sources import Source
from src.config.training import Task, Train


class Base(Section):
    """What several stages share."""

    task: Task
    target_column: ColumnName
    random_state: Annotated[int, Field(ge=0, le=2**32 - 1)]
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class DataLoad(Section):
    """Where the rows come from, and what their columns are.

    Attributes:
        external_path: The user's own file or folder; DVC watches it.
        columns: What columns are; kinds of the others are inferred.
        missing_target: What is done with rows that lack the target.
    """

    source: Source
    external_path: RepoPath
    columns: dict[ColumnName, Column]
    missing_target: Literal["drop", "error"]
    dataset_path: RepoPath
    schema_path: RepoPath


class Featurize(Section):
    """New columns by name."""

    features: dict[ColumnName, Feature]
    features_path: RepoPath


class StratifiedSplit(Section):
    """At random, so that both parts keep the ratio of the classes."""

    kind: Literal["stratified"]


class RandomSplit(Section):
    """At random."""

    kind: Literal["random"]


class TimeSplit(Section):
    """The newest rows are the test."""

    kind: Literal["time"]
    column: ColumnName


class GroupSplit(Section):
    """At random by group: no group is in both parts."""

    kind: Literal["group"]
    column: ColumnName


class Checks(Section):
    """What is done about what would spoil a model or its score.

    Attributes:
        leak: A column that alone tells the target almost perfectly.
        duplicates: Equal rows in train and test.
        constant: A column of one value.
        identifier: A column whose values are nearly all different, as a row number.
        rare_class: A class with fewer than 5 training rows.
    """

    leak: Literal["ignore", "warn", "error"]
    duplicates: Literal["ignore", "warn", "error"]
    constant: Literal["ignore", "warn", "error"]
    identifier: Literal["ignore", "warn", "error"]
    rare_class: Literal["ignore", "warn", "error"]


Split = Annotated[StratifiedSplit | RandomSplit | TimeSplit | GroupSplit, Field(discriminator="kind")]


class DataSplit(Section):
    """How rows are divided."""

    split: Split
    test_size: Annotated[float, Field(gt=0, lt=1)]
    checks: Checks
    train_path: RepoPath
    test_path: RepoPath
    checks_path: RepoPath


class Evaluate(Section):
    """How sure the scores are told, and where the report goes.

    Attributes:
        n_bootstrap: Resamples behind an interval.
    """

    n_bootstrap: Annotated[int, Field(ge=100)]
    metrics_path: RepoPath
    plots_dir: RepoPath
    model_card_path: RepoPath


class Tracking(Section):
    """Whether and under which name MLflow records the pipeline."""

    enabled: bool
    experiment_name: Annotated[str, Field(min_length=1, max_length=500)]


class Config(Section):
    """The whole of `params.yaml`."""

    base: Base
    data_load: DataLoad
    featurize: Featurize
    data_split: DataSplit
    train: Train
    evaluate: Evaluate
    tracking: Tracking

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """Declared features as plain values, as a fitted model carries them."""
        return {name: feature.model_dump(exclude_none=True) for name, feature in self.featurize.features.items()}

    @property
    def declared_columns(self) -> dict[str, dict[str, Any]]:
        """Declared columns as plain values: what was said of them, and no defaults."""
        return {name: column.model_dump(exclude_unset=True) for name, column in self.data_load.columns.items()}

    @property
    def no_features(self) -> list[str]:
        """Raw columns that are no features whatever their kind: the one that groups rows."""
        split = self.data_split.split
        return [split.column] if split.kind == "group" else []
