"""Errors that a user can mend, in one tree.

    PipelineError                 one line on stderr, exit code 2
    ├── ConfigError               params.yaml or dvc.yaml says what cannot be
    ├── DataError                 a table, a column or a row is not as needed
    │   ├── MissingInputError     a file of an earlier stage is absent or damaged
    │   └── FeatureError          a declared feature cannot be computed
    ├── TrainError                no estimator could be fitted
    ├── TrackingError             the MLflow store cannot be used; never stops a stage
    ├── BusyError                 another process works in this clone
    └── VersionError              a version cannot be published, restored or made again

Anything else that escapes is a bug and keeps its traceback.
"""


class PipelineError(Exception):
    """Stop with one clear line: what, where, what was got, what to do."""


class ConfigError(PipelineError):
    """A setting is missing, unknown, of the wrong type or out of range."""


class DataError(PipelineError):
    """A table, a column or a row is not what the stage needs."""


class MissingInputError(DataError):
    """A file that an earlier stage makes is absent or damaged."""


class FeatureError(DataError):
    """A declared feature cannot be computed on this table."""


class TrainError(PipelineError):
    """The search could not fit the estimator."""


class TrackingError(PipelineError):
    """The MLflow store cannot be used; training goes on without it."""


class BusyError(PipelineError):
    """Another process works in this clone."""


class VersionError(PipelineError):
    """A version cannot be published, restored, compared or made again."""
