"""The decorator that records a stage as a nested MLflow run.

The parent run is the one that `MLFLOW_RUN_ID` names; without it, all stages of a DVC process share
one. The stage itself does not know about MLflow.
"""

import functools
import logging
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config.schema import Config, Tracking
from src.config.yaml_file import read_yaml
from src.text import message_of
from src.tracking import names
from src.tracking.journal import Execution, Journal, Session, now
from src.tracking.names import Status
from src.tracking.process import find_driver, own_key
from src.tracking.runs import ensure_parent, open_execution, write_execution
from src.tracking.session import Place, find_session, flatten, numbers
from src.tracking.store import Store, explain, log_traceback, open_store, store_uri
from src.utils.logs import collect_warnings

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageResult:
    """What a stage returns to be logged to its run.

    Attributes:
        metrics: Numbers by name; nested ones get dotted names.
        tags: Values by name.
        candidates: Candidates of a search, the chosen one first, each with `estimator`, `params` and `metrics`.
        artifacts: Files and folders to log.
        model: Model file to log, with its signature and requirements.
    """

    metrics: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    candidates: Sequence[Mapping[str, Any]] = ()
    artifacts: Sequence[Path] = ()
    model: Path | None = None


StageFunction = Callable[[Config], StageResult | None]


class Terminated(BaseException):
    """A stage got SIGTERM. Not an Exception, so that no stage handles it as an error of its own."""


def mlflow_run(stage: StageFunction) -> StageFunction:
    """Record each call of a stage as a nested MLflow run named after the function.

    The run ends as FINISHED, FAILED (any exception; the traceback is an artifact) or KILLED
    (Ctrl-C, SIGTERM). If the store fails, the stage logs a warning and goes on. With
    `tracking.enabled: false` nothing is recorded.
    """

    @functools.wraps(stage)
    def recorded(config: Config) -> StageResult | None:
        if not config.tracking.enabled:
            started = now()
            result = stage(config)
            _log_duration(stage.__name__, now() - started)
            return result
        with _handle(_terminate, signal.SIGTERM), collect_warnings() as warnings:
            run = NestedRun(stage.__name__, config.tracking, warnings)
            try:
                run.start()
                result = stage(config)
            except BaseException as error:
                with _handle(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):
                    run.end(_status_after(error), StageResult(), error)
                raise
            # A second Ctrl-C must not interrupt the record.
            with _handle(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):
                run.end("FINISHED", result or StageResult())
            _log_duration(stage.__name__, run.milliseconds)
        return result

    return recorded


class NestedRun:
    """A nested run, from start to end. Each step is written to the journal first, then to MLflow."""

    def __init__(self, stage: str, settings: Tracking, warnings: list[str]) -> None:
        self._settings = settings
        self._place = Place.of_this_process()
        self._journal = Journal(self._place.main_root)
        self._execution = Execution(stage=stage, process=own_key(), warnings=warnings)
        self._session: Session | None = None
        self._store: Store | None = None
        self._monitor: SystemMetricsMonitor | None = None
        self._parent_id = os.environ.get(names.MLFLOW_RUN_ID)

    @property
    def milliseconds(self) -> int:
        """Time that the stage took, without that of recording it."""
        return (self._execution.end_time or now()) - self._execution.start_time

    def start(self) -> None:
        """Find the parent run, and open a run under it."""
        self._attempt(self._start)

    def end(self, status: Status, result: StageResult, error: BaseException | None = None) -> None:
        """Log what the stage returned, or its traceback, and end the run."""
        execution = self._execution
        execution.status, execution.end_time = status, now()
        if error is not None and status != "FINISHED":
            execution.traceback = "".join(traceback.format_exception(error))
            execution.error = f"{type(error).__name__}: {message_of(error)}"
        execution.metrics, execution.tags = numbers(result.metrics), dict(result.tags)
        execution.candidates = [dict(candidate) for candidate in result.candidates]
        execution.artifacts = [path.as_posix() for path in result.artifacts]
        execution.model = result.model.as_posix() if result.model else None
        if self._session:
            self._attempt(self._end)
        # A later stage in this process has the same parent run.
        _set_run_id(self._parent_id)

    def _start(self) -> None:
        driver = find_driver(self._place.work_root)
        self._session = find_session(self._journal, self._place, driver)
        # If it is set, MLflow resumes the parent instead of opening a run under it (mlflow#15713).
        _set_run_id(None)
        settings = read_yaml(self._place.work_root / "params.yaml")
        own = {name: settings[name] for name in ("base", self._execution.stage) if name in settings}
        self._execution.params = flatten(own)
        if driver:
            self._execution.reads, self._execution.sizes = driver.reads, dict.fromkeys(driver.writes, 0)
        self._journal.write_execution(self._session.id, self._execution)
        self._store = open_store(self._place.main_root, self._settings.experiment_name)
        self._session = ensure_parent(self._store, self._journal, self._session)
        open_execution(self._store, self._session, self._execution)
        self._journal.write_execution(self._session.id, self._execution)
        # So that mlflow.log_metric() and autologging in the stage write to its run.
        _set_run_id(self._execution.run_id)
        if self._settings.system_metrics:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            self._monitor = SystemMetricsMonitor(self._execution.run_id)  # type: ignore[no-untyped-call]  # MLflow has no types
            self._monitor.start()  # type: ignore[no-untyped-call]  # MLflow ships no types

    def _end(self) -> None:
        assert self._session is not None, "the session was found"  # noqa: S101 - end() checks it
        execution = self._execution
        execution.sizes = {path: _size(self._place.work_root / path) for path in execution.sizes}
        self._journal.write_execution(self._session.id, execution)
        if self._store and execution.run_id:
            if self._monitor:
                with self._store.optional("system metrics"):
                    _end_monitor(self._monitor)
            write_execution(self._store, self._place, self._session, execution)
            self._journal.write_execution(self._session.id, execution)

    def _attempt(self, step: Callable[[], None]) -> None:
        """Run a step without failing the stage; after an error, MLflow is not called again."""
        try:
            step()
        # An error of the store must not fail the stage. MLflow raises errors of SQLAlchemy,
        # requests and alembic, which share no base class.
        except Exception as error:
            self._store = None
            uri = store_uri(self._place.main_root)
            logger.warning("%s", explain(error, uri))
            log_traceback(error, uri)


def _log_duration(stage: str, milliseconds: int) -> None:
    logger.info("%s: done in %.1f s", stage, milliseconds / 1000)


def _end_monitor(monitor: "SystemMetricsMonitor") -> None:
    """Stop a monitor, and log a last sample: MLflow takes one every ten seconds, so a short stage would have none."""
    monitor.finish()  # type: ignore[no-untyped-call]  # MLflow ships no types
    for each in monitor.monitors:
        each.clear_metrics()  # type: ignore[no-untyped-call]  # as above
    monitor.collect_metrics()  # type: ignore[no-untyped-call]  # as above
    monitor.publish_metrics(monitor.aggregate_metrics())  # type: ignore[no-untyped-call]  # as above
    monitor.mlflow_logger.flush()  # type: ignore[no-untyped-call]  # as above


def _set_run_id(run_id: str | None) -> None:
    os.environ.pop(names.MLFLOW_RUN_ID, None)
    if run_id is not None:
        os.environ[names.MLFLOW_RUN_ID] = run_id


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _status_after(error: BaseException) -> Status:
    if isinstance(error, KeyboardInterrupt | Terminated):
        return "KILLED"
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return "FINISHED"
    return "FAILED"


def _terminate(*_: object) -> None:
    raise Terminated


@contextmanager
def _handle(handler: Any, *numbers: signal.Signals) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, previous[number])
