"""Settings of `data_split`: how rows are divided, and what is done about findings of the data checks."""

from typing import Annotated, Literal

from pydantic import Field

from src.config.section import ColumnName, RepoPath, Section


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
