import copy
from typing import Any

import pytest

from benchmarks.serving import Answer, medians, parse_wrk, split_swap
from benchmarks.serving_report import describe_serving, make_table

WRK = """\
Running 5s test @ http://127.0.0.1:8000/invocations
  1 threads and 32 connections
  Latency Distribution
     50%    4.33ms
     99%   20.10ms
  10000 requests in 5.00s, 1.25MB read
Requests/sec:   2000.00

{"requests": 10000, "seconds": 5.000000, "p50": 4.332, "p99": 20.100, "failed": 0}
"""
SERVING: dict[str, Any] = {
    "machine": "a machine",
    "runs": 3,
    "seconds": 5,
    "load": {
        "iris": {
            "endpoint": {"rate": 2000.0, "p50": 4.0, "p99": 30.0, "cpu_ms": 0.5, "others": 0.1},
            "mlflow": {"rate": 200.0, "p50": 100.0, "p99": 300.0, "cpu_ms": 4.0, "others": 0.3},
        }
    },
    "rows": {"iris": {"request": 30.0, "bare": 20.0, "predict": 10.0}},
    "swap": {"usual": 20.0, "swap": 30.0, "requests": 5000, "failed": 0},
}


def test_output_of_wrk_becomes_figures() -> None:
    assert parse_wrk(WRK) == {"rate": 2000.0, "requests": 10000, "p50": 4.332, "p99": 20.1}


def test_failed_requests_make_a_measurement_void() -> None:
    with pytest.raises(RuntimeError, match="3 requests failed"):
        parse_wrk(WRK.replace('"failed": 0', '"failed": 3'))


def test_table_says_for_each_bar_whether_it_is_kept() -> None:
    lines = make_table(SERVING).splitlines()
    assert "| iris: requests per second | 2,000 | 200 | 10 | ≥ 8, kept |" in lines
    assert "| iris: CPU per request, ms | 0.5 | 4 | 0.125 | ≤ 0.125, kept |" in lines
    assert "| iris: p99, ms | 30 | 300 | 0.1 | ≤ 0.2, kept |" in lines
    assert "| iris: p99 beside the endpoint's own p50, ms | 30 | 4 | 7.5 | ≤ 5, missed |" in lines
    assert "| iris: 10,000 rows as Parquet, ms | 30 | 20 | 1.5 | ≤ 1.3, missed |" in lines
    assert "| swap under load: failed requests, runs of 5,000 | 0 |  |  | 0, kept |" in lines
    failing = copy.deepcopy(SERVING)
    failing["swap"]["failed"] = 1
    assert "| swap under load: failed requests, runs of 5,000 | 1 |  |  | 0, missed |" in make_table(failing)
    page = describe_serving(SERVING)
    assert "Measured on a machine. Meanwhile, other processes took 20% of the machine." in page


def test_failures_of_all_runs_are_counted() -> None:
    runs = [{"p99": 1.0, "failed": 2.0}, {"p99": 9.0, "failed": 0.0}, {"p99": 3.0, "failed": 1.0}]
    assert medians(runs) == {"p99": 3.0, "failed": 3.0}


def some_answers(*changes: tuple[int, float, str]) -> list[Answer]:
    answers = [Answer(n / 10, 5.0, "iris/1" if n < 60 else "iris/2") for n in range(100)]
    for n, ms, model in changes:
        answers[n] = Answer(n / 10, ms, model)
    return answers


def test_swap_is_the_worst_second_while_workers_take_the_new_model() -> None:
    # One worker still has the old model 1 s after the other took the new one.
    figures = split_swap(some_answers((70, 40.0, "iris/1"), (95, 500.0, "iris/2"), (5, 500.0, "")), 1.0, 5.0, "iris/2")
    assert figures["usual"] == 5.0
    assert 30 < figures["swap"] <= 40
    assert (figures["requests"], figures["failed"]) == (100, 1)


@pytest.mark.parametrize("change", [(99, 5.0, "iris/1"), (97, 5.0, "iris/1")])
def test_worker_that_keeps_the_old_model_makes_a_swap_void(change: tuple[int, float, str]) -> None:
    with pytest.raises(RuntimeError, match="not all workers serve iris/2"):
        split_swap(some_answers(change), 1.0, 5.0, "iris/2")
