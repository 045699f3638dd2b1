"""Names of environment variables, tags and outcomes; `docs/tracking.md` lists the tags in one table."""

from typing import Literal

# Environment variables
MLFLOW_RUN_ID = "MLFLOW_RUN_ID"  # the parent run
MLFLOW_TRACKING_URI = "MLFLOW_TRACKING_URI"
PIPELINE_SESSION = "PIPELINE_SESSION"  # session of the launcher
PIPELINE_WARM = "PIPELINE_WARM"  # folder of the warm server, or COLD
PIPELINE_CLIENT_PID = "PIPELINE_CLIENT_PID"  # in a warm fork: the process of the stage, a child of DVC
DVC_ROOT = "DVC_ROOT"  # main repository, even if an experiment runs in a temporary folder
DVC_STAGE = "DVC_STAGE"  # set for the commands of stages
DVC_EXP_NAME = "DVC_EXP_NAME"
DVC_EXP_BASELINE_REV = "DVC_EXP_BASELINE_REV"

COLD = "0"

# Tags of runs
SOURCE = "mlflow.source.name"  # source of a run in MLflow's UI
PARENT_ID = "mlflow.parentRunId"
KIND = "pipeline.kind"  # "parent", "stage" or "candidate"
CANDIDATE = "candidate.number"  # place of a candidate in its search, from 1: the chosen one, then the others by rank
SESSION = "pipeline.session"
HOST = "pipeline.host"
CPU = "pipeline.cpu"
PYTHON = "pipeline.python"
STAGE = "dvc.stage"
ENTRY = "dvc.entry"  # digest of the stage's entry in dvc.lock
MD5 = "dvc.md5."  # + path of the table or of a model
MISSING = "dvc.missing"  # data that was not in the clone
EXP_NAME = "dvc.exp.name"
EXP_BASELINE = "dvc.exp.baseline"
GIT_COMMIT = "git.commit"
GIT_BRANCH = "git.branch"
GIT_DIRTY = "git.dirty"
GIT_TAG = "git.tag"  # version that was published from this state
OUTCOME = "pipeline.outcome"  # summary of the outcomes of all stages
STAGE_OUTCOME = "stage."  # + name of the stage; with ".run_id", the run that produced its outputs

# On what `make server-import` has copied
IMPORT_RUN = "import.run_id"
IMPORT_MODEL = "import.model_id"
IMPORT_VERSION = "import.version"

UNKNOWN = "unknown"

Outcome = Literal["ran", "restored", "unchanged", "failed", "stale", "unknown"]
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
