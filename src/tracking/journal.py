"""What happened, on disk, before MLflow hears of it.

One folder per session under `.dvc/tmp/pipeline`, which git ignores: `session.json`
and a file for each stage that ran. MLflow is filled from these and from DVC's files,
at once if the store can be reached and by `make sync` if not.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from src.atomic import atomic_path
from src.tracking.candidates import CandidateRecord
from src.tracking.git import GitState
from src.tracking.lineage import StageEntry
from src.tracking.names import Outcome, Status
from src.tracking.process import ProcessKey


@dataclass
class Snapshot:
    """The workspace as a session left it: all that its parent run shows.

    Attributes:
        outcomes: What happened to each stage, in the order of `dvc.yaml`.
        entries: Hash of each stage's entry in `dvc.lock`.
        params: All settings, flat.
        metrics: Metrics of the stages that are up to date.
        md5s: MD5 of each table, model and other file that is not code, by path.
        plots: Paths of the plots of the stages that are up to date.
        texts: Content of `dvc.yaml`, `dvc.lock` and `params.yaml` by name.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    entries: dict[str, str | None] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    md5s: dict[str, str] = field(default_factory=dict)
    plots: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


@dataclass
class Session:
    """One run of the pipeline: what becomes a parent run.

    Attributes:
        id: Key under which the stages of one DVC process meet.
        name: Name of the parent run.
        work_root: Root in which the stages run; a temporary folder in some experiments.
        owner: The process whose end ends the session: the launcher or DVC.
        closed_by_owner: Whether the owner closes the parent; else every stage leaves it closed.
        before: Hash of each stage's entry before the session; None where it is not known.
        status: Status of the parent.
        start_time: Milliseconds since the epoch.
        git: State of git when the session began.
        exp_name: DVC's experiment, or empty.
        exp_baseline: Commit that the experiment started from, or empty.
        exp_commit: Commit that holds the experiment's results; empty while not known.
        end_time: Milliseconds since the epoch; None while open.
        run_id: The parent run; None while no store knows of it.
        complete: Whether the parent run tells the whole story.
        snapshot: What the session left behind; before its first stage ended, the settings only.
    """

    id: str
    name: str
    work_root: str
    owner: ProcessKey
    closed_by_owner: bool
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
class Visit:
    """One execution of one stage: what becomes a nested run.

    Attributes:
        stage: Name of the stage.
        process: The stage's process.
        start_time: Milliseconds since the epoch.
        status: Status of the run.
        end_time: Milliseconds since the epoch; None while it runs.
        entry: What DVC records of it; None before its end.
        metrics: Its metrics.
        params: Its own settings, flat.
        tags: What it told of itself.
        candidates: What its search tried, the best first.
        plots: Paths of its plots.
        models: Paths of the models it writes or reads.
        traceback: Why it failed.
        run_id: The nested run; None while no store knows of it.
        complete: Whether the run has everything.
    """

    stage: str
    process: ProcessKey
    start_time: int = field(default_factory=lambda: now())
    status: Status = "RUNNING"
    end_time: int | None = None
    entry: StageEntry | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    candidates: list[CandidateRecord] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    traceback: str | None = None
    run_id: str | None = None
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
        except (KeyError, TypeError):
            return None

    def write_session(self, session: Session) -> None:
        """Write a session, whole or not at all."""
        _write(self.path / session.id / "session.json", asdict(session))

    def visits(self, session_id: str) -> list[Visit]:
        """Read what ran in a session, oldest first."""
        found = []
        for path in (self.path / session_id).glob("visit-*.json"):
            content = _read(path) or {}
            with suppress(KeyError, TypeError):
                entry, process = content.pop("entry"), ProcessKey(**content.pop("process"))
                content["candidates"] = [CandidateRecord(**item) for item in content.get("candidates", [])]
                found.append(Visit(process=process, entry=StageEntry(**entry) if entry else None, **content))
        return sorted(found, key=lambda visit: visit.start_time)

    def write_visit(self, session_id: str, visit: Visit) -> None:
        """Write one execution of a stage, whole or not at all."""
        name = f"visit-{visit.start_time}-{visit.process.pid}-{visit.stage}.json"
        _write(self.path / session_id / name, asdict(visit))


def now() -> int:
    """Tell the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    # Absent, or damaged as by a loss of power: one file must not hide the others.
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
