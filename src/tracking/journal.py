"""The journal: a record on disk of what happened, written before MLflow is called.

Each session has a folder under `.dvc/tmp/pipeline`, which git ignores, with `session.json` and one
file per stage that ran. Runs are written to MLflow from these files and from DVC's, at once or, if
the store cannot be reached, by `make sync`.
"""

import json
import logging
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError

from src.atomic import atomic_path
from src.tracking.git import GitState
from src.tracking.lock import LockEntry
from src.tracking.names import Outcome, Status
from src.tracking.process import ProcessKey

logger = logging.getLogger(__name__)

T = TypeVar("T")
# Ids become names of folders, and parts of queries and addresses.
ID = r"^[A-Za-z0-9][\w-]*$"
Id = Annotated[str, Field(pattern=ID)]
Milliseconds = Annotated[int, Field(ge=0, lt=2**53)]  # since the epoch

# Sessions that `make sync` keeps after the store has them.
KEPT_SESSIONS = 100


def now() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass
class Snapshot:
    """The workspace at the end of a session, as its parent run shows it."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)  # by stage, in the order of dvc.yaml
    entries: dict[str, str | None] = field(default_factory=dict)  # digest of each stage's entry in dvc.lock
    params: dict[str, str] = field(default_factory=dict)  # all settings, by dotted key
    metrics: dict[str, float] = field(default_factory=dict)  # of stages that are up to date
    md5s: dict[str, str] = field(default_factory=dict)  # of files that DVC versions, by path
    missing: list[str] = field(default_factory=list)  # of files that DVC versions, those that are not in the clone
    reports: list[str] = field(default_factory=list)  # plots, Markdown and web pages of the stages
    models: list[str] = field(default_factory=list)  # models among these files
    texts: dict[str, str] = field(default_factory=dict)  # dvc.yaml, dvc.lock and params.yaml


@dataclass
class Review:
    """What the launcher's summary says about the results, besides their values."""

    best: str = ""  # what the search chose
    committed: dict[str, float] = field(default_factory=dict)  # metrics of the last commit
    commit: str = ""  # commands that commit the results; empty if they are committed
    warnings: list[str] = field(default_factory=list)  # what needs a decision


@dataclass
class Session:
    """One run of the pipeline, which becomes a parent run."""

    id: Id  # the stages of one DVC process find each other by it
    name: str
    work_root: str  # where the stages run; a temporary folder for some experiments
    owner: ProcessKey  # the launcher or DVC; the session ends with it
    launched: bool  # whether the owner is the launcher
    before: dict[str, str | None]  # digest of each stage's lock entry at the start; None if unknown
    git: GitState
    exp_name: str = ""  # name of the DVC experiment
    exp_baseline: str = ""  # commit that the experiment started from
    exp_commit: str = ""  # commit with the experiment's results, once known
    status: Status = "RUNNING"
    start_time: Milliseconds = field(default_factory=now)
    end_time: Milliseconds | None = None
    run_id: Id | None = None  # None until the store has it
    complete: bool = False  # whether the parent run is complete
    snapshot: Snapshot | None = None  # has only the settings until the session has ended
    review: Review | None = None  # of the launcher's sessions, once they have ended


@dataclass
class Execution:
    """One execution of a stage, which becomes a nested run."""

    stage: str  # name of the function, later DVC's address, such as `train@iris`
    process: ProcessKey
    start_time: Milliseconds = field(default_factory=now)
    status: Status = "RUNNING"
    end_time: Milliseconds | None = None
    reads: list[str] = field(default_factory=list)  # inputs that DVC locked for it; empty without DVC
    sizes: dict[str, int] = field(default_factory=dict)  # bytes of the outputs that DVC locked for it
    params: dict[str, str] = field(default_factory=dict)  # settings of the stage, by dotted key
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    candidates: list[dict[str, Any]] = field(default_factory=list)  # of the search, the chosen one first
    artifacts: list[str] = field(default_factory=list)
    model: str | None = None  # path of the model file
    traceback: str | None = None
    error: str = ""  # class and message of the exception
    warnings: list[str] = field(default_factory=list)  # that the stage logged
    entry: LockEntry | None = None  # from dvc.lock, once DVC has ended
    run_id: Id | None = None  # None until the store has it
    model_id: Id | None = None  # id of the logged model
    logged: bool = False  # whether the run has what the stage returned
    complete: bool = False  # whether the run also has what DVC recorded


_SESSION, _EXECUTION = TypeAdapter(Session), TypeAdapter(Execution)


class Journal:
    """Read and write the sessions of a main repository."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / ".dvc" / "tmp" / "pipeline"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the sessions, so that two processes never begin the same one."""
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / "lock", timeout=60):
            yield

    def sessions(self) -> list[Session]:
        """Read all sessions, oldest first."""
        found = [
            self.read_session(path.parent.name) for path in self.path.glob("*/session.json") if _is_id(path.parent.name)
        ]
        return sorted((session for session in found if session), key=lambda session: session.start_time)

    def read_session(self, session_id: str) -> Session | None:
        """Read one session; None if it does not exist."""
        folder = self.path / session_id
        if not _is_id(session_id):
            return None
        if folder.is_symlink():
            _set_aside(folder, "it is a link")
            return None
        session = _read(folder / "session.json", _SESSION)
        if session and session.id != session_id:
            _set_aside(folder / "session.json", f"its id is {session.id!r}")
            return None
        if session:
            session.work_root = str(self.root / session.work_root)
        return session

    def write_session(self, session: Session) -> None:
        """Write a session atomically."""
        content = asdict(session)
        # Relative, so that a repository can be moved.
        with suppress(ValueError):
            content["work_root"] = str(Path(session.work_root).relative_to(self.root))
        _write(self.path / session.id / "session.json", content)

    def rename(self, session: Session, session_id: str) -> None:
        """Change the id of a session that has no executions yet."""
        shutil.rmtree(self.path / session.id, ignore_errors=True)
        session.id = session_id
        self.write_session(session)

    def executions(self, session_id: str) -> list[Execution]:
        """Read the executions of a session, oldest first."""
        found = [_read(path, _EXECUTION) for path in (self.path / session_id).glob("execution-*.json")]
        return sorted((execution for execution in found if execution), key=lambda execution: execution.start_time)

    def write_execution(self, session_id: str, execution: Execution) -> None:
        """Write an execution atomically."""
        name = f"execution-{execution.start_time}-{execution.process.pid}.json"
        _write(self.path / session_id / name, asdict(execution))

    def dvc_outcomes_path(self, session_id: str) -> Path:
        """Return the file to which the launcher's DVC writes the outcome of each stage."""
        return self.path / session_id / "dvc.json"

    def dvc_outcomes(self, session_id: str) -> dict[str, Outcome]:
        """Read the outcome of each stage from the launcher's DVC; empty without a launcher."""
        return _read(self.dvc_outcomes_path(session_id), TypeAdapter(dict[str, Outcome])) or {}

    def prune(self) -> None:
        """Delete complete sessions, except the last `KEPT_SESSIONS`."""
        complete = [session for session in self.sessions() if session.complete]
        for session in complete[:-KEPT_SESSIONS]:
            shutil.rmtree(self.path / session.id, ignore_errors=True)


def _is_id(text: str) -> bool:
    return re.fullmatch(ID, text) is not None


def _read(path: Path, kind: "TypeAdapter[T]") -> T | None:
    """Read a file; None if it is missing, damaged by a loss of power or by hand, or from another version."""
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ValueError("it is not a plain file")
        return kind.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("%s is left out: %s", path, error.strerror)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        _set_aside(path, ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"]))))
    except ValueError as error:
        _set_aside(path, str(error))
    return None


def _set_aside(path: Path, reason: str) -> None:
    """Rename what cannot be read, so that it hides nothing else and is reported once."""
    try:
        path.replace(path.with_name(f"{path.name}.damaged"))
        done = f"set aside as {path.name}.damaged"
    except OSError:
        done = "left out"
    logger.warning("%s is %s: %s", path, done, " ".join(reason.split()))


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
