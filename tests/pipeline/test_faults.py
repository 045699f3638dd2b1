"""A signal in a moment in which the pipeline writes; `make soak` tries all signals, processes and moments."""

import signal

import pytest

from tests.pipeline.clone import Clone
from tests.pipeline.faults import Fault, find_damage, strike

KILL = signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        Fault("dvc.lock", "group", KILL),
        Fault("session.json", "group", KILL),
        Fault("mlflow.db", "stage", KILL),
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
