"""A signal in each moment in which the pipeline writes."""

import signal

import pytest

from tests.pipeline.clone import Clone
from tests.pipeline.faults import Fault, find_damage, strike

KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        Fault("dvc.lock", "launcher", TERM),
        Fault("dvc.lock", "launcher", KILL),
        Fault("dvc.lock", "group", INT),
        Fault("dvc.lock", "group", KILL),
        Fault("dvc.lock", "dvc", TERM),
        Fault("dvc.lock", "group", signal.SIGHUP),
        Fault("dvc.lock", "group", signal.SIGQUIT),
        Fault(".dvc/tmp/rwlock", "dvc", KILL),
        Fault("session.json", "group", KILL),
        Fault("mlflow.db", "stage", KILL),
        Fault("data/processed/train.parquet", "server", KILL),
        Fault("models/model.joblib", "stage", TERM),
        Fault("models/model.joblib", "stage", KILL),
        Fault("reports/metrics.json", "launcher", KILL),
    ],
    ids=str,
)
def test_signal_while_something_is_written_does_no_damage(clone: Clone, fault: Fault) -> None:
    lock = clone.lock()
    for _ in range(3):
        if processes := strike(clone, fault):
            break
    assert processes, "the moment was not met"
    assert find_damage(clone, lock, processes) == []
