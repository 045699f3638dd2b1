"""The journal: what happened, on disk, before MLflow is told.

One folder a session under `.dvc/tmp/pipeline`, which git ignores: `session.json` and a file
for each stage that ran. MLflow is filled from these and from DVC's files, at once if the
store can be reached and by `make sync` if not.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from src.atomic import atomic_path
from src.tracking.git import GitState
from src.tracking.lock import LockEntry
from src.tracking.names import Outcome, Status
from src.tracking.process import ProcessKey

# Sessions that `make sync` keeps although the store has them.
KEPT_SESSIONS = 100


@dataclass
class Snapshot:
    """The workspace as a session left it: what its parent run shows.

    Attributes:
        outcomes: What happened to each stage, in the order of `dvc.yaml`.
        entries: Hash of each stage's entry in `dvc.lock`.
        params: All settings, flat.
        metrics: Metrics of the stages that are up to date.
        md5s: MD5 of each table, model and other file that DVC versions, by path.
        reports: Paths of plots, Markdown and web pages of the stages that are up to date.
        models: Paths of the models among these files.
        texts: Content of `dvc.yaml`, `dvc.lock` and `params.yaml` by name.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    entries: dict[str, str | None] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    md5s: dict[str, str] = field(default_factory=dict)
    reports: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


@dataclass
class Session:
    """One run of the pipeline: what becomes a parent run.

    Attributes:
        id: Key under which the stages of one DVC process find each other.
        name: Name of the parent run.
        work_root: Root in which the stages run; a temporary folder in some experiments.
        owner: The process whose end ends the session: the launcher or DVC.
        launched: Whether the owner is the launcher, which completes the parent itself.
        before: Hash of each stage's entry before the session; None where it is unknown.
        git: State of git when the session began.
        exp_name: DVC's experiment, or empty.
        exp_baseline: Commit that the experiment started from, or empty.
        exp_commit: Commit that holds the experiment's results; empty until known.
        status: Status of the parent.
        start_time: Milliseconds since the epoch.
        end_time: Milliseconds since the epoch; None while it runs.
        run_id: The parent run; None until a store has it.
        complete: Whether the parent run shows everything.
        snapshot: What the session left; until it has ended, its settings only.
    """

    id: str
    name: str
    work_root: str
    owner: ProcessKey
    launched: bool
    before: dict[str, str | None]
    git: GitState
    exp_name: str = ""
    exp_baseline: str = ""
    exp_commit: str = ""
    status: Status = "RUNNING"
    start_time: int = field(default_factory=lambda: now())
    end_time: int | None = None
    run_id: str | None = None
    complete: bool = False
    snapshot: Snapshot | None = None


@dataclass
class Execution:
    """One execution of one stage: what becomes a nested run.

    Attributes:
        stage: Name of the stage's function; of a `foreach` stage, DVC's address once it is known.
        process: The stage's process.
        start_time: Milliseconds since the epoch.
        status: Status of the run.
        end_time: Milliseconds since the epoch; None while it runs.
        reads: Paths of its inputs, as DVC holds them for it; empty without DVC.
        sizes: Bytes of each of its outputs, likewise.
        params: Its own settings, flat.
        metrics: Its metrics.
        tags: What else it reported.
        candidates: What its search tried, the best first.
        artifacts: Paths that are copied to its run.
        model: Path of the model that it wrote, or None.
        traceback: Why it failed.
        entry: What DVC recorded of it; None until DVC has ended.
        run_id: The nested run; None until a store has it.
        model_id: The logged model; None until a store has it.
        logged: Whether the run has what the stage reported.
        complete: Whether the run also has what DVC recorded.
    """

    stage: str
    process: ProcessKey
    start_time: int = field(default_factory=lambda: now())
    status: Status = "RUNNING"
    end_time: int | None = None
    reads: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    candidates: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    model: str | None = None
    traceback: str | None = None
    entry: LockEntry | None = None
    run_id: str | None = None
    model_id: str | None = None
    logged: bool = False
    complete: bool = False


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
        content = _read(self.path / session_id / "session.json") or {}
        try:
            owner, git = ProcessKey(**content.pop("owner")), GitState(**content.pop("git"))
            snapshot = content.pop("snapshot")
            return Session(owner=owner, git=git, snapshot=Snapshot(**snapshot) if snapshot else None, **content)
        # Other fields: a journal of another version of this project.
        except (KeyError, TypeError):
            return None

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
        found = []
        for path in (self.path / session_id).glob("execution-*.json"):
            content = _read(path) or {}
            with suppress(KeyError, TypeError):
                entry, process = content.pop("entry"), ProcessKey(**content.pop("process"))
                found.append(Execution(process=process, entry=LockEntry(**entry) if entry else None, **content))
        return sorted(found, key=lambda execution: execution.start_time)

    def write_execution(self, session_id: str, execution: Execution) -> None:
        """Write one execution of a stage atomically."""
        name = f"execution-{execution.start_time}-{execution.process.pid}.json"
        _write(self.path / session_id / name, asdict(execution))

    def dvc_outcomes_path(self, session_id: str) -> Path:
        """Return where the launcher's DVC writes what it did with each stage."""
        return self.path / session_id / "dvc.json"

    def dvc_outcomes(self, session_id: str) -> dict[str, Outcome]:
        """Read what the launcher's DVC did with each stage; empty without a launcher."""
        return _read(self.dvc_outcomes_path(session_id)) or {}

    def prune(self) -> None:
        """Delete all but the last `KEPT_SESSIONS` of the sessions that the store has completely."""
        complete = [session for session in self.sessions() if session.complete]
        for session in complete[:-KEPT_SESSIONS]:
            shutil.rmtree(self.path / session.id, ignore_errors=True)


def now() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    # Absent, or damaged by a loss of power: one file must not hide the others.
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
