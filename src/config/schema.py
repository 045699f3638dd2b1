"""The settings of `params.yaml`: one frozen section per stage, unknown keys refused."""

from typing import Annotated, Any, Literal

from pydantic import Field

from src.config.data_load import DataLoad
from src.config.data_split import DataSplit
from src.config.featurize import Featurize
from src.config.section import ColumnName, RepoPath, Section
from src.config.train import Task, Train


class Base(Section):
    """What several stages share."""

    task: Task
    target_column: ColumnName
    random_state: Annotated[int, Field(ge=0, le=2**32 - 1)]
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]


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
