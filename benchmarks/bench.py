"""Measure the pipeline beside its floor: `python -m benchmarks.bench [--only GROUP …] [--runs N]`.

The commands of a group run in turn, so that what else the machine does hits all alike.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.report import describe_machine, write_report
from benchmarks.stages import measure_stages
from benchmarks.workspace import BARE, FLOOR, LAUNCHER, ROOT, Cost, Workspace

RESULTS = ROOT / "benchmarks" / "results.json"
SIZES = {"100k": 100_000, "1M": 1_000_000, "5M": 5_000_000}
N_PARENTS = 100
COLD = {"PIPELINE_WARM": "0"}
ONE_STAGE = ("--force", "--single-item", "evaluate")

Commands = dict[str, Callable[[], Cost]]


def measure(commands: Commands, n_runs: int) -> dict[str, Any]:
    """Run commands in turn and give the median of each.

    Args:
        commands: What to measure, by name.
        n_runs: How often; each once more before, not counted, to warm the disk.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for run in range(n_runs + 1):
        for name, command in commands.items():
            cost = command()
            if run:
                costs[name].append(cost)
                sys.stderr.write(f"  {name}: {cost.seconds:.2f} s, {cost.megabytes:.0f} MB\n")
    return {
        name: {
            "seconds": statistics.median(cost.seconds for cost in found),
            "megabytes": statistics.median(cost.megabytes for cost in found),
            "all_seconds": sorted(round(cost.seconds, 3) for cost in found),
        }
        for name, found in costs.items()
    }


def measure_iris(folder: Path, n_runs: int) -> dict[str, Any]:
    """Measure the pipeline as it is cloned."""
    workspace = Workspace(folder)
    workspace.run(*LAUNCHER)
    n_changes = 0

    def change_one_param() -> Cost:
        nonlocal n_changes
        n_changes += 1
        # A value that no run had: DVC would restore the results of one that it knows.
        workspace.set_param(
            "train", "param_grid", {"logreg": {"C": [0.01, 0.1, 1.0, 10.0], "max_iter": [1000 + n_changes]}}
        )
        return workspace.run(*LAUNCHER)

    return measure(
        {
            "floor": lambda: workspace.run(*FLOOR),
            "forced": lambda: workspace.run(*LAUNCHER, "-f"),
            "forced_cold": lambda: workspace.run(*LAUNCHER, "-f", **COLD),
            "bare": lambda: workspace.run(*BARE, "-f"),
            "one_param": change_one_param,
            "nothing": lambda: workspace.run(*LAUNCHER),
            "bare_stage": lambda: workspace.run(*BARE, *ONE_STAGE),
            "bare_stage_cold": lambda: workspace.run(*BARE, *ONE_STAGE, **COLD),
        },
        n_runs,
    )


def measure_parents(folder: Path, n_runs: int) -> dict[str, Any]:
    """Measure a run in which nothing changed, in an empty store and in a full one."""
    full = Workspace(folder / "full")
    full.run(*LAUNCHER)
    full.run("-m", "benchmarks.parents", str(N_PARENTS))
    first = Workspace(folder / "first")
    first.run(*LAUNCHER)
    return measure({"first": lambda: first.run(*LAUNCHER), "hundredth": lambda: full.run(*LAUNCHER)}, n_runs)


def measure_rows(n_rows: int) -> Callable[[Path, int], dict[str, Any]]:
    """Measure a large table with one fit of `hist_gradient_boosting`."""

    def measure_it(folder: Path, n_runs: int) -> dict[str, Any]:
        changes = yaml.safe_load((ROOT / "benchmarks" / "large.yaml").read_text(encoding="utf-8"))
        workspace = Workspace(folder, changes)
        # Not here: the peak memory of a process is at least that of the one which started it.
        workspace.run("-m", "benchmarks.tables", changes["data_load"]["external_path"], str(n_rows))
        return measure(
            {"floor": lambda: workspace.run(*FLOOR), "forced": lambda: workspace.run(*LAUNCHER, "-f")}, n_runs
        )

    return measure_it


GROUPS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "iris": measure_iris,
    "parents": measure_parents,
    "stages": measure_stages,
    **{name: measure_rows(n_rows) for name, n_rows in SIZES.items()},
}


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write `benchmarks/results.json`, `docs/benchmarks.md` and its plot."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP", help=", ".join(GROUPS)
    )
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each command")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    # Figures of another machine, or of other versions, do not belong beside these.
    groups = known.get("groups", {}) if known.get("machine") == machine else {}
    for name in options.only:
        sys.stderr.write(f"{name}\n")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            groups[name] = {"runs": options.runs, "costs": GROUPS[name](Path(folder) / name, options.runs)}
        results = {"machine": machine, "groups": {name: groups[name] for name in GROUPS if name in groups}}
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        write_report(results, ROOT / "docs")


if __name__ == "__main__":
    main()
