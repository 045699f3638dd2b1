"""The measured figures as a page and a plot."""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from joblib import cpu_count
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.scale_report import describe_scale
from benchmarks.serving_report import describe_serving

PACKAGES = ("dvc", "mlflow", "scikit-learn", "pandas", "pyarrow")
PLOT = "benchmarks.png"
PEER_NAMES = {"kedro": "Kedro with kedro-mlflow", "dvc_mlflow": "DVC + MLflow, cold processes"}


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        work: What was done.
        group: Group of the measurement.
        commands: What was measured; several are added up.
        base: The command it is compared with; None for one that others are compared with.
        bar: The ratio that it may have at most.
        measure: What is compared: `seconds`, `cpu_seconds` or `megabytes`.
    """

    work: str
    group: str
    commands: tuple[str, ...]
    base: str | None = "plain"
    bar: float | None = None
    measure: str = "seconds"


ROWS = [
    Row("`plain.py` on iris", "iris", ("plain",), None),
    Row("iris forced, `make pipeline`", "iris", ("forced",), bar=1.1),
    Row("iris forced, bare `dvc repro`", "iris", ("bare",), bar=1.3),
    Row("one param of `train` changed", "iris", ("one_param",), bar=0.9),
    Row("nothing changed", "iris", ("nothing",), bar=0.42),
    Row("iris forced, `PIPELINE_WARM=0`", "iris", ("forced_cold",)),
    Row("own functions in one process, `floor.py`", "iris", ("floor",)),
    *(Row(name, "iris", (command,)) for command, name in PEER_NAMES.items()),
    Row("`plain.py`, 1M × 20 rows", "1M", ("plain",), None),
    Row("1M × 20 rows, one fit", "1M", ("forced",), bar=1.05),
    Row("the same, peak memory", "1M", ("forced",), bar=1.0, measure="megabytes"),
    Row("`pandas.read_csv`, 2M × 6 rows", "csv", ("read_csv",), None),
    Row(
        "its `data_load`, `featurize`, `data_split`; CPU",
        "csv", ("data_load", "featurize", "data_split"), "read_csv", 4.0, "cpu_seconds",
    ),
    Row("nothing changed, first parent run", "parents", ("first",), None),
    Row("nothing changed, 101st parent run", "parents", ("hundredth",), "first", 1.1),
]  # fmt: skip

PAGE = """\
# Benchmarks

How long the pipeline takes beside a plain script that does the same job, `benchmarks/plain.py`: pandas, scikit-learn,
matplotlib and MLflow in one process, with the same rows, grid, metrics, plots, tables, logged model and nested runs.
The script has no versions, no cache and no checks, and always does everything. Every command starts from a new
Python process, imports included.

`make bench` measures all of this and writes this page; `make bench ONLY=iris RUNS=3` measures a part of it. The
groups are {names}.

![Seconds of each command on iris]({plot})

| work | seconds | CPU seconds | peak memory | ratio | at most |
| --- | --: | --: | --: | --: | --- |
{table}

A ratio compares seconds with `plain.py`, `pandas.read_csv` or the first parent run; a row that names CPU or memory
compares that instead. Figures are medians of {runs} runs; the commands of a group run in turn. CPU seconds are user
and system time of all processes, peak memory is that of the largest process. On a million rows, `plain.py` describes
only the first rows of each table to MLflow.

{peers}Measured on {machine}.
"""


def describe_machine() -> str:
    """Name what the figures depend on, and nothing that identifies the machine."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    gibibytes = round(psutil.virtual_memory().total / 2**30)
    return (
        f"{_cpu_model()}, {cpu_count()} cores, {gibibytes} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, {packages}"
    )


def write_report(results: dict[str, Any], folder: Path) -> None:
    """Write `benchmarks.md` and its plot.

    Args:
        results: As in `benchmarks/results.json`.
        folder: Where to.
    """
    groups = results["groups"]
    peers = groups.get("iris", {}).get("peers", {})
    said = [f"{PEER_NAMES[name]}: {versions}.\n" for name, versions in peers.items()]
    page = PAGE.format(
        names=", ".join(f"`{name}`" for name in dict.fromkeys(row.group for row in ROWS)),
        plot=PLOT,
        table="\n".join(_line(row, groups[row.group]["costs"]) for row in _measured(groups)),
        runs=" or ".join(map(str, sorted({group["runs"] for group in groups.values()}))),
        peers="\n".join([*said, ""]),
        machine=results["machine"],
    )
    if "serving" in results:
        page += describe_serving(results["serving"])
    if "scale" in results:
        page += describe_scale(results["scale"])
    (folder / "benchmarks.md").write_text(page, encoding="utf-8")
    _plot(groups).savefig(folder / PLOT, dpi=120)


def _measured(groups: dict[str, Any]) -> list[Row]:
    """List the rows whose commands were measured."""
    return [row for row in ROWS if set(row.commands) <= groups.get(row.group, {}).get("costs", {}).keys()]


def _line(row: Row, costs: dict[str, Any]) -> str:
    found = [costs[command] for command in row.commands]
    total = {name: sum(cost[name] for cost in found) for name in ("seconds", "cpu_seconds")}
    total["megabytes"] = max(cost["megabytes"] for cost in found)
    ratio = total[row.measure] / costs[row.base][row.measure] if row.base else 1.0
    bar = "" if row.bar is None else f"{row.bar:.2f}, {'kept' if ratio <= row.bar else 'missed'}"
    shown = f"{total['seconds']:.2f} | {total['cpu_seconds']:.2f} | {total['megabytes']:.0f} MB"
    return f"| {row.work} | {shown} | {ratio:.2f} | {bar} |"


def _plot(groups: dict[str, Any]) -> Figure:
    """Draw the seconds of each command on iris, and the bars."""
    rows = [row for row in _measured(groups) if row.group == "iris"]
    figure = Figure(figsize=(8, 1.2 + 0.4 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel("seconds")
    if not rows:
        return figure
    costs = groups["iris"]["costs"]
    seconds = [costs[row.commands[0]]["seconds"] for row in rows]
    works = [row.work.replace("`", "") for row in rows]
    axes.bar_label(axes.barh(works, seconds, color="steelblue"), fmt="%.1f", padding=3)
    limits = [(row.bar * costs["plain"]["seconds"], work) for row, work in zip(rows, works, strict=True) if row.bar]
    axes.plot(
        *zip(*limits, strict=True),
        linestyle="", marker="|", markersize=14, markeredgewidth=2, color="firebrick", label="at most",
    )  # fmt: skip
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.legend(loc="lower right")
    return figure


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
