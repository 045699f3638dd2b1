"""Errors that a user can fix: one line on stderr and exit code 2.

    PipelineError
    ├── ConfigError
    ├── DataError
    │   ├── MissingInputError
    │   └── FeatureError
    ├── TrainError
    ├── ComputeError
    ├── TrackingError
    ├── BusyError
    └── VersionError

Any other exception is a bug and keeps its traceback.
"""


class PipelineError(Exception):
    """Base class of all errors that a user can fix."""


class ConfigError(PipelineError):
    """A setting is missing, unknown, of the wrong type or out of range."""


class DataError(PipelineError):
    """A table, a column or a row is not what the stage needs."""


class MissingInputError(DataError):
    """A file that an earlier stage writes is missing or damaged."""


class FeatureError(DataError):
    """A declared feature cannot be computed from this table."""


class TrainError(PipelineError):
    """No estimator could be fitted."""


class ComputeError(PipelineError):
    """The cluster of the section `compute` cannot be used."""


class TrackingError(PipelineError):
    """The MLflow store cannot be used; stages run without it."""


class BusyError(PipelineError):
    """Another process is working in this clone."""


class VersionError(PipelineError):
    """A version cannot be published, restored, compared or reproduced."""
