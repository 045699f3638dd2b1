"""Settings of `data_split`: how rows are split, and what each data check does."""

from typing import Annotated, Literal

from pydantic import Field

from src.config.section import ColumnName, OutputPath, Section


class StratifiedSplit(Section):
    """Random split that keeps the class ratio.

    Attributes:
        column: Id that is hashed instead of the row number, so that the order of the rows does not matter.
    """

    kind: Literal["stratified"]
    column: ColumnName | None = None


class RandomSplit(Section):
    """Random split.

    Attributes:
        column: Id that is hashed instead of the row number, so that the order of the rows does not matter.
    """

    kind: Literal["random"]
    column: ColumnName | None = None


class HashSplit(Section):
    """Random split by an id alone: a row keeps its side when the table grows."""

    kind: Literal["hash"]
    column: ColumnName


class TimeSplit(Section):
    """The newest rows are the test set."""

    kind: Literal["time"]
    column: ColumnName


class GroupSplit(Section):
    """Random split of groups: no group is in both sets."""

    kind: Literal["group"]
    column: ColumnName


Action = Literal["ignore", "warn", "error"]


class Checks(Section):
    """What to do about the findings of each data check."""

    leak: Action
    duplicates: Action
    constant: Action
    identifier: Action
    rare_class: Action


Split = Annotated[StratifiedSplit | RandomSplit | HashSplit | TimeSplit | GroupSplit, Field(discriminator="kind")]


class DataSplit(Section):
    """How rows are split, and where the sets are written."""

    split: Split
    test_size: Annotated[float, Field(gt=0, lt=1)]
    checks: Checks
    train_path: OutputPath
    test_path: OutputPath
    checks_path: OutputPath
    data_report_path: OutputPath
