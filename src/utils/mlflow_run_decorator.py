"""The decorator that makes a stage a nested MLflow run.

It reads `MLFLOW_RUN_ID`, the parent run; without it, the stages that one DVC process
runs find each other and share a parent. The stage itself knows nothing of MLflow.
"""

import functools
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from src.config.schema import Config
from src.tracking.names import Status
from src.tracking.recorder import Recorder, StageRecord

StageFunction = Callable[[Config], StageRecord | None]


class Terminated(BaseException):
    """SIGTERM reached a stage; not an Exception, so that nothing takes it for a failure."""


def mlflow_run(stage: StageFunction) -> StageFunction:
    """Record each call of a stage as a nested MLflow run named after the function.

    The run ends FINISHED, FAILED (any exception; the traceback is an artifact) or
    KILLED (Ctrl-C, SIGTERM). With `tracking.enabled: false` the stage runs alone.
    A store that fails never fails the stage.

    Args:
        stage: Takes the settings, and gives what is to be recorded beyond files that
            `dvc.yaml` names.
    """

    @functools.wraps(stage)
    def recorded(config: Config) -> StageRecord | None:
        if not config.tracking.enabled:
            return stage(config)
        recorder = Recorder(stage.__name__, config.tracking.experiment_name)
        with _terminable():
            try:
                recorder.start()
                record = stage(config)
            except BaseException as error:
                with _undisturbed():
                    status = _status_of(error)
                    recorder.finish(status, traceback=None if status == "FINISHED" else traceback.format_exc())
                raise
            with _undisturbed():
                recorder.finish("FINISHED", record)
        return record

    return recorded


def _status_of(error: BaseException) -> Status:
    if isinstance(error, KeyboardInterrupt | Terminated):
        return "KILLED"
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return "FINISHED"
    return "FAILED"


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that a stage can still say how it ended."""

    def terminate(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let the record be finished: a second Ctrl-C must not tear it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in ignored.items():
            signal.signal(number, handler)
