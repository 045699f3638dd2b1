"""The journal: what happened, on disk, before MLflow is told.

One folder a session under `.dvc/tmp/pipeline`, which git ignores: `session.json` and a file
for each stage that ran. MLflow is filled from these and from DVC's files, at once if the
store can be reached and by `make sync` if not.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from pydantic import TypeAdapter

from src.atomic import atomic_path
from src.tracking.git import GitState
from src.tracking.lock import LockEntry
from src.tracking.names import Outcome, Status
from src.tracking.process import ProcessKey

T = TypeVar("T")

# Sessions that `make sync` keeps although the store has them.
KEPT_SESSIONS = 100


@dataclass
class Snapshot:
    """The workspace as a session left it: what its parent run shows."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)  # by stage, in the order of dvc.yaml
    entries: dict[str, str | None] = field(default_factory=dict)  # hash of each stage's entry in dvc.lock
    params: dict[str, str] = field(default_factory=dict)  # all settings, flat
    metrics: dict[str, float] = field(default_factory=dict)  # of the stages that are up to date
    md5s: dict[str, str] = field(default_factory=dict)  # of the files that DVC versions, by path
    reports: list[str] = field(default_factory=list)  # plots, Markdown and web pages among these files
    models: list[str] = field(default_factory=list)  # models among these files
    texts: dict[str, str] = field(default_factory=dict)  # dvc.yaml, dvc.lock and params.yaml


@dataclass
class Session:
    """One run of the pipeline: what becomes a parent run. Times are milliseconds since the epoch."""

    id: str  # key under which the stages of one DVC process find each other
    name: str
    work_root: str  # where the stages run; a temporary folder in some experiments
    owner: ProcessKey  # the launcher or DVC, whose end ends the session
    launched: bool  # whether the owner is the launcher, which completes the parent itself
    before: dict[str, str | None]  # hash of each stage's lock entry before it; None where that is unknown
    git: GitState
    exp_name: str = ""  # DVC's experiment
    exp_baseline: str = ""  # commit that the experiment started from
    exp_commit: str = ""  # commit that holds the experiment's results, once known
    status: Status = "RUNNING"
    start_time: int = field(default_factory=lambda: now())
    end_time: int | None = None
    run_id: str | None = None  # None until a store has it
    complete: bool = False  # whether the parent run shows everything
    snapshot: Snapshot | None = None  # until the session has ended, its settings only


@dataclass
class Execution:
    """One execution of one stage: what becomes a nested run. Times are milliseconds since the epoch."""

    stage: str  # the function's name; of a foreach stage DVC's address, once known
    process: ProcessKey
    start_time: int = field(default_factory=lambda: now())
    status: Status = "RUNNING"
    end_time: int | None = None
    reads: list[str] = field(default_factory=list)  # inputs that DVC holds for it; empty without DVC
    sizes: dict[str, int] = field(default_factory=dict)  # outputs that DVC holds for it, in bytes
    params: dict[str, str] = field(default_factory=dict)  # its own settings, flat
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    candidates: list[dict[str, Any]] = field(default_factory=list)  # what its search tried, the best first
    artifacts: list[str] = field(default_factory=list)
    model: str | None = None  # path of the model that it wrote
    traceback: str | None = None
    entry: LockEntry | None = None  # what DVC recorded of it, once DVC has ended
    run_id: str | None = None  # None until a store has it
    model_id: str | None = None  # the logged model
    logged: bool = False  # whether the run has what the stage returned
    complete: bool = False  # whether it also has what DVC recorded


_SESSION, _EXECUTION = TypeAdapter(Session), TypeAdapter(Execution)


class Journal:
    """Read and write the sessions of one repository.

    Args:
        root: Root of the main repository.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / ".dvc" / "tmp" / "pipeline"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time decide about sessions and parents."""
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / "lock", timeout=60):
            yield

    def sessions(self) -> list[Session]:
        """Read all sessions, oldest first."""
        found = [self.read_session(path.parent.name) for path in self.path.glob("*/session.json")]
        return sorted((session for session in found if session), key=lambda session: session.start_time)

    def read_session(self, session_id: str) -> Session | None:
        """Read one session; None if there is none."""
        return _read(self.path / session_id / "session.json", _SESSION)

    def write_session(self, session: Session) -> None:
        """Write a session atomically."""
        _write(self.path / session.id / "session.json", asdict(session))

    def rename(self, session: Session, session_id: str) -> None:
        """Give a session without executions another id."""
        shutil.rmtree(self.path / session.id, ignore_errors=True)
        session.id = session_id
        self.write_session(session)

    def executions(self, session_id: str) -> list[Execution]:
        """Read what ran in a session, oldest first."""
        found = [_read(path, _EXECUTION) for path in (self.path / session_id).glob("execution-*.json")]
        return sorted((execution for execution in found if execution), key=lambda execution: execution.start_time)

    def write_execution(self, session_id: str, execution: Execution) -> None:
        """Write one execution of a stage atomically."""
        name = f"execution-{execution.start_time}-{execution.process.pid}.json"
        _write(self.path / session_id / name, asdict(execution))

    def dvc_outcomes_path(self, session_id: str) -> Path:
        """Return where the launcher's DVC writes what it did with each stage."""
        return self.path / session_id / "dvc.json"

    def dvc_outcomes(self, session_id: str) -> dict[str, Outcome]:
        """Read what the launcher's DVC did with each stage; empty without a launcher."""
        return _read(self.dvc_outcomes_path(session_id), TypeAdapter(dict[str, Outcome])) or {}

    def prune(self) -> None:
        """Delete all but the last `KEPT_SESSIONS` of the sessions that the store has completely."""
        complete = [session for session in self.sessions() if session.complete]
        for session in complete[:-KEPT_SESSIONS]:
            shutil.rmtree(self.path / session.id, ignore_errors=True)


def now() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def _read(path: Path, kind: "TypeAdapter[T]") -> T | None:
    try:
        return kind.validate_json(path.read_bytes())
    # Absent, damaged by a loss of power, or of another version of this project: one file
    # must not hide the others. ValidationError is a ValueError.
    except (OSError, ValueError):
        return None


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
