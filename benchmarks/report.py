"""The measured figures as a page and a plot."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from joblib import cpu_count
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from src.tracking.process import cpu_model

PACKAGES = ("dvc", "mlflow", "scikit-learn", "pandas", "pyarrow")
# Work, group, what was measured, what it is compared with, and the bar: the ratio that it may have at most.
ROWS: list[tuple[str, str, str, str, float | None]] = [
    ("iris, all five stages forced", "iris", "forced", "floor", 1.25),
    ("the same, against cold processes", "iris", "forced", "forced_cold", 0.30),
    ("the same by bare `dvc repro`, against cold processes", "iris", "bare", "forced_cold", None),
    ("`evaluate` alone by bare `dvc repro`, against cold", "iris", "bare_stage", "bare_stage_cold", None),
    ("one param of train changed", "iris", "one_param", "floor", 0.95),
    ("nothing changed", "iris", "nothing", "floor", 0.60),
    ("100k × 20 rows, one fit", "100k", "forced", "floor", None),
    ("1M × 20 rows, one fit", "1M", "forced", "floor", 1.15),
    ("5M × 20 rows, one fit", "5M", "forced", "floor", None),
    ("101st parent against the 1st", "parents", "hundredth", "first", 1.10),
]
MEMORY_BAR = 1.3
# Of the stages against bare libraries, and of their memory against the table.
STAGES_BAR, TABLE_BAR = 1.5, 3.0
PLOT = "benchmarks.png"

PAGE = """\
# Benchmarks

What it costs to have processes, DVC and its cache. The floor is the same work in one process: the same stage
functions and the same tracking, without DVC, imports included (`python -m benchmarks.floor`). `make bench` measures
all of this and writes this page; `make bench ONLY=iris RUNS=3` measures a part of it.

The pipeline may be faster than its floor where there are two cores: the launcher, DVC and the warm server import at
the same time what the floor imports one after the other, and a fork ends without tidying up its memory.

![Seconds of each kind of work beside its floor]({plot})

{table}

Seconds are medians of {runs} runs; the commands of a group run in turn. Memory is the peak of the largest process.

Measured on {machine}.
"""


def describe_machine() -> str:
    """Name what the figures depend on, and nothing that tells whose machine it is."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    gibibytes = round(psutil.virtual_memory().total / 2**30)
    return (
        f"{cpu_model()}, {cpu_count()} cores, {gibibytes} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, {packages}"
    )


def write_report(results: dict[str, Any], folder: Path) -> None:
    """Write `benchmarks.md` and its plot.

    Args:
        results: As in `benchmarks/results.json`.
        folder: Where to.
    """
    groups = results["groups"]
    rows = [row for row in ROWS if row[1] in groups]
    lines = ["| work | seconds | compared with | ratio | bar |", "| --- | --- | --- | --- | --- |"]
    lines += [_line(groups[group]["costs"], *names) for names in rows for group in [names[1]]]
    # A smaller table is lost in what is imported.
    for group in ("1M", "5M"):
        if group in groups:
            costs = groups[group]["costs"]
            ratio = costs["forced"]["megabytes"] / costs["floor"]["megabytes"]
            bar = _mark(ratio, MEMORY_BAR) if group == "1M" else ""
            measured = f"{costs['forced']['megabytes']:.0f} MB | {costs['floor']['megabytes']:.0f} MB"
            lines.append(f"| peak memory at {group} × 20 rows | {measured} | {ratio:.2f} | {bar} |")
    if "stages" in groups:
        lines += _lines_of_stages(groups["stages"]["costs"])
    runs = sorted({group["runs"] for group in groups.values()})
    page = PAGE.format(plot=PLOT, table="\n".join(lines), runs=" or ".join(map(str, runs)), machine=results["machine"])
    (folder / "benchmarks.md").write_text(page, encoding="utf-8")
    _plot(groups, [row for row in rows if row[3] == "floor"]).savefig(folder / PLOT, dpi=120)


def _line(costs: dict[str, Any], work: str, _group: str, measured: str, base: str, bar: float | None) -> str:
    seconds, floor = costs[measured]["seconds"], costs[base]["seconds"]
    label = {"floor": "floor", "forced_cold": "cold", "bare_stage_cold": "cold", "first": "1st"}[base]
    ratio = seconds / floor
    return f"| {work} | {seconds:.2f} | {label}, {floor:.2f} | {ratio:.2f} | {_mark(ratio, bar)} |"


def _lines_of_stages(costs: dict[str, Any]) -> list[str]:
    stages, bare, peaks = costs["stages"]["seconds"], costs["bare"], costs["peaks"]
    others = max(peak for name, peak in peaks.items() if name != "train")
    train, whole, table = peaks["train"], bare["megabytes"], costs["table"]["megabytes"]
    rows = [
        ("1M × 25 columns, all stages but the fit", stages, "bare libraries", bare["seconds"], STAGES_BAR, ".2f", ""),
        ("peak memory of its train, with the fit", train, "bare libraries", whole, None, ".0f", " MB"),
        ("the same", train, "the table", table, TABLE_BAR, ".0f", " MB"),
        ("peak memory of its other stages, imports too", others, "the table", table, TABLE_BAR, ".0f", " MB"),
    ]
    return [
        f"| {work} | {cost:{form}}{unit} | {label}, {base:{form}}{unit} | {ratio:.2f} | {_mark(ratio, bar)} |"
        for work, cost, label, base, bar, form, unit in rows
        for ratio in [cost / base]
    ]


def _mark(ratio: float, bar: float | None) -> str:
    if bar is None:
        return ""
    return f"{bar:.2f}, {'kept' if ratio <= bar else 'missed'}"


def _plot(groups: dict[str, Any], rows: list[tuple[str, str, str, str, float | None]]) -> Figure:
    figure = Figure(figsize=(8, 1.2 + 0.7 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ratios = [groups[row[1]]["costs"][row[2]]["seconds"] / groups[row[1]]["costs"]["floor"]["seconds"] for row in rows]
    bars = axes.barh([row[0] for row in rows], ratios, color="steelblue")
    axes.bar_label(bars, [f"{ratio:.2f}" for ratio in ratios], label_type="center", color="white")
    axes.axvline(1, color="black", linewidth=1)
    axes.plot(
        [row[4] for row in rows if row[4]], [row[0] for row in rows if row[4]],
        linestyle="", marker="|", markersize=22, markeredgewidth=2, color="firebrick", label="the bar: at most",
    )  # fmt: skip
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.6, *ratios) * 1.1 if ratios else 1.6)
    axes.set_xlabel("seconds as a ratio to the floor")
    axes.legend(loc="lower right")
    return figure
