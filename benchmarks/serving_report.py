"""The measured speed of the endpoint as a section of the page."""

import math
import statistics
from typing import Any

PAGE = """
## Serving

`python -m benchmarks.serving` measures the endpoint beside `mlflow models serve --env-manager local` on the same
machine, both with the same registered model and two workers. Both check the schema and answer with labels. `wrk` sends
the same single row as `dataframe_split` to `/invocations` on 32 connections, {seconds} s a run, to each server in turn.
Figures are medians of {runs} runs, or of 15 Parquet requests. Compare the ratios: rates depend on the machine, on which
`wrk` runs too.

{table}

CPU is the time of all processes of a server. The endpoint records every request (`serve.record.sample: 1.0`).
The Parquet request goes to `/invocations` and is timed until its labels are parsed. It is compared with a script that
does the same with the same bytes: `pd.read_parquet`, conversion to the kinds of the columns, and `model.predict`. The
last of these alone took {predict}.
Both use an OpenMP thread for each core; the endpoint does so from 2,000 rows on.
For a swap, the worst second while the workers load and start to use the new champion is compared with the median second
before, as measured by a client in Python. Failed requests are those without status 200 in all runs.

The p99 was once 240 ms beside a p50 of 2.8 ms. The cause was the record of requests: a thread converted all rows
of a file at once, and held the interpreter's lock meanwhile. With `serve.record.sample: 0`, measured in turn, the p99
was 7 ms. Now each batch is converted when it has been answered, and the thread only joins and compresses.

Measured on {machine}. Meanwhile, other processes took {others:.0%} of the machine.
"""


def describe_serving(serving: dict[str, Any]) -> str:
    """Describe the speed of the endpoint.

    Args:
        serving: As `benchmarks.serving.measure` returns it.
    """
    others = [found["others"] for load in serving["load"].values() for found in load.values()]
    predict = ", ".join(f"{rows['predict']:.1f} ms on {name}" for name, rows in serving["rows"].items())
    return PAGE.format(
        seconds=serving["seconds"], runs=serving["runs"], machine=serving["machine"],
        table=make_table(serving), predict=predict, others=statistics.mean(others),
    )  # fmt: skip


def make_table(serving: dict[str, Any]) -> str:
    """Compare each figure with its bar, as a table of Markdown."""
    lines = ["| work | endpoint | beside | ratio | bar |", "| --- | --: | --: | --: | --- |"]
    for name, found in serving["load"].items():
        ours, theirs = found["endpoint"], found["mlflow"]
        lines += [
            _line(f"{name}: requests per second", ours["rate"], theirs["rate"], at_least=8),
            _line(f"{name}: CPU per request, ms", ours["cpu_ms"], theirs["cpu_ms"], at_most=1 / 8),
            _line(f"{name}: p99, ms", ours["p99"], theirs["p99"], at_most=1 / 5),
            _line(f"{name}: p99 beside the endpoint's own p50, ms", ours["p99"], ours["p50"], at_most=5),
        ]
    for name, found in serving["rows"].items():
        lines.append(_line(f"{name}: 10,000 rows as Parquet, ms", found["request"], found["bare"], at_most=1.3))
    swap = serving["swap"]
    lines.append(_line("swap under load: p99 beside the usual, ms", swap["swap"], swap["usual"], at_most=2))
    failed, kept = swap["failed"], "missed" if swap["failed"] else "kept"
    lines.append(f"| swap under load: failed requests, runs of {swap['requests']:,.0f} | {failed} |  |  | 0, {kept} |")
    return "\n".join(lines)


def _line(work: str, ours: float, theirs: float, at_least: float | None = None, at_most: float = math.inf) -> str:
    ratio = ours / theirs
    is_kept = ratio <= at_most if at_least is None else ratio >= at_least
    bar = f"≤ {at_most:.3g}" if at_least is None else f"≥ {at_least:.3g}"
    shown = " | ".join(f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in (ours, theirs, ratio))
    return f"| {work} | {shown} | {bar}, {'kept' if is_kept else 'missed'} |"
