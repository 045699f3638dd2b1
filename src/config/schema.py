"""The whole of `params.yaml`, and the sections that have no module of their own."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from src.config.compute import Compute
from src.config.data_load import DataLoad
from src.config.data_split import DataSplit
from src.config.featurize import Featurize
from src.config.section import ColumnName, OutputPath, Section
from src.config.service import Monitor, Registry, Serve
from src.config.train import Task, Train

# The names of all figures that `evaluate` may write, and of the files for DVC's plots: DVC may delete these.
FIGURES = ("confusion_matrix", "roc", "precision_recall", "calibration", "predicted_against_true", "residuals",
           "permutation_importance", "search")  # fmt: skip
CURVES = ("confusion_matrix", "roc", "precision_recall", "calibration", "predicted_against_true",
          "permutation_importance")  # fmt: skip


def _check_label(value: Any) -> Any:
    if value is not None and not isinstance(value, bool | int | str):
        raise ValueError("must be a label (text, an integer or a boolean), or null")
    return value


class Base(Section):
    """Settings that several stages share.

    Attributes:
        positive: For a binary target, the label of the positive class; None takes the rarer one.
    """

    task: Task
    target_column: ColumnName
    positive: Annotated[bool | int | str | None, BeforeValidator(_check_label)]
    random_state: Annotated[int, Field(ge=0, le=2**32 - 1)]
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Evaluate(Section):
    """How the model is evaluated, and where the report is written.

    Attributes:
        n_bootstrap: Bootstrap resamples of the test set behind each confidence interval.
    """

    n_bootstrap: Annotated[int, Field(ge=100)]
    metrics_path: OutputPath
    plots_dir: OutputPath
    curves_dir: OutputPath
    report_path: OutputPath
    model_card_path: OutputPath
    reference_path: OutputPath


class Tracking(Section):
    """What MLflow records, and in which experiment."""

    enabled: bool
    experiment_name: Annotated[str, Field(min_length=1, max_length=500)]
    system_metrics: bool


class Config(Section):
    """All settings, one section per stage, and those of what follows the pipeline."""

    base: Base
    data_load: DataLoad
    featurize: Featurize
    data_split: DataSplit
    train: Train
    evaluate: Evaluate
    compute: Compute
    tracking: Tracking
    registry: Registry
    serve: Serve
    monitor: Monitor

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """Declared features as plain values, which a fitted model can carry."""
        return {name: feature.model_dump(exclude_none=True) for name, feature in self.featurize.features.items()}

    @property
    def declared_columns(self) -> dict[str, dict[str, Any]]:
        """Declared columns as plain values, without defaults."""
        return {name: column.model_dump(exclude_unset=True) for name, column in self.data_load.columns.items()}

    @property
    def no_features(self) -> list[str]:
        """Raw columns that are not features: the group or id by which rows are split."""
        split = self.data_split.split
        return [split.column] if split.kind != "time" and split.column is not None else []
