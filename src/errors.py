"""Errors that a user can mend, in one tree.

    PipelineError                 one line on stderr, exit code 2
    ├── ConfigError               params.yaml or dvc.yaml says what cannot be
    ├── DataError                 a table, a column or a row is not as needed
    │   ├── MissingTableError     a file is absent or is not Parquet
    │   └── FeatureError          a declared feature cannot be computed
    ├── TrainError                no estimator could be fitted
    └── TrackingError             the MLflow store cannot be used; never stops a stage

Anything else that escapes is a bug and keeps its traceback.
"""


class PipelineError(Exception):
    """Stop with one clear line: what, where, what was got, what to do."""


class ConfigError(PipelineError):
    """A setting is missing, unknown, of the wrong type or out of range."""


class DataError(PipelineError):
    """A table, a column or a row is not what the stage needs."""


class MissingTableError(DataError):
    """A table's file is absent or is not Parquet."""


class FeatureError(DataError):
    """A declared feature cannot be computed on this table."""


class TrainError(PipelineError):
    """The search could not fit the estimator."""


class TrackingError(PipelineError):
    """The MLflow store cannot be used; training goes on without it."""
