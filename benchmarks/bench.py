"""Measure the pipeline beside plain scripts and peers: `python -m benchmarks.bench [--only GROUP …] [--runs N]`.

The commands of a group run in turn, so that whatever else the machine does affects all alike.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import yaml

from benchmarks.peers import PEERS, PeerError, make_peer
from benchmarks.report import describe_machine, write_report
from benchmarks.workspace import ROOT, Cost, Workspace

RESULTS = ROOT / "benchmarks" / "results.json"
N_PARENTS = 100
LAUNCHER = ("-m", "src.utils.start_pipeline")
CSV = "data/external/orders.csv"
CSV_STAGES = ("data_load", "featurize", "data_split")
CSV_CHANGES: dict[str, dict[str, Any]] = {
    "data_load": {"source": {"kind": "file"}, "external_path": CSV},
    "featurize": {"features": {"price": {"ratio": ["amount", "quantity"]}}},
    "tracking": {"enabled": False},
}

Commands = dict[str, Callable[[], Cost]]
Group = dict[str, Any]


def measure(commands: Commands, n_runs: int) -> Group:
    """Run commands in turn and give the medians of each.

    Args:
        commands: What to measure, by name.
        n_runs: Counted runs; one more run before them is not counted.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for run in range(n_runs + 1):
        for name, command in commands.items():
            cost = command()
            if run:
                costs[name].append(cost)
                said = f"{cost.seconds:.2f} s, {cost.cpu_seconds:.2f} s of CPU, {cost.megabytes:.0f} MB"
                sys.stderr.write(f"  {name}: {said}\n")
    medians = {
        name: [statistics.median(values) for values in zip(*map(astuple, found), strict=True)]
        for name, found in costs.items()
    }
    return {
        "runs": n_runs,
        "costs": {
            name: {
                "seconds": seconds,
                "cpu_seconds": cpu_seconds,
                "megabytes": megabytes,
                "all_seconds": sorted(round(cost.seconds, 3) for cost in costs[name]),
            }
            for name, (seconds, cpu_seconds, megabytes) in medians.items()
        },
    }


def measure_iris(folder: Path, n_runs: int) -> Group:
    """Measure the pipeline as it is cloned, and the same job by other means."""
    workspace, plain = Workspace.clone(folder / "pipeline"), make_plain(folder / "plain")
    workspace.python(*LAUNCHER)
    n_changes = 0

    def change_one_param() -> Cost:
        nonlocal n_changes
        n_changes += 1
        # A new value each time: DVC would restore the results of a known one.
        workspace.set_param(
            "train", "param_grid", {"logreg": {"C": [0.01, 0.1, 1.0, 10.0], "max_iter": [1000 + n_changes]}}
        )
        return workspace.python(*LAUNCHER)

    commands: Commands = {"plain": lambda: plain.python("plain.py")}
    peers = {}
    for name in PEERS:
        try:
            commands[name], peers[name] = make_peer(name, folder / name)
        except PeerError as error:
            peers[name] = f"left out: {error}"
            sys.stderr.write(f"  {name} is left out: {error}\n")
    commands |= {
        "floor": lambda: workspace.python("-m", "benchmarks.floor"),
        "forced": lambda: workspace.python(*LAUNCHER, "-f"),
        "forced_cold": lambda: workspace.python(*LAUNCHER, "-f", PIPELINE_WARM="0"),
        "bare": lambda: workspace.python("-m", "dvc", "repro", "-f"),
        "one_param": change_one_param,
        "nothing": lambda: workspace.python(*LAUNCHER),
    }
    return measure(commands, n_runs) | {"peers": peers}


def measure_parents(folder: Path, n_runs: int) -> Group:
    """Measure a run in which nothing changed, in a new store and in a full one."""
    full, first = Workspace.clone(folder / "full"), Workspace.clone(folder / "first")
    full.python(*LAUNCHER)
    full.python("-m", "benchmarks.parents", str(N_PARENTS))
    first.python(*LAUNCHER)
    return measure({"first": lambda: first.python(*LAUNCHER), "hundredth": lambda: full.python(*LAUNCHER)}, n_runs)


def measure_rows(folder: Path, n_runs: int, n_rows: int = 1_000_000) -> Group:
    """Measure a large table with one fit of `hist_gradient_boosting`."""
    changes = yaml.safe_load((ROOT / "benchmarks" / "large.yaml").read_text(encoding="utf-8"))
    workspace, plain = Workspace.clone(folder / "pipeline", changes), make_plain(folder / "plain")
    table = workspace.path / changes["data_load"]["external_path"]
    workspace.python("-m", "benchmarks.tables", str(table), str(n_rows))
    return measure(
        {
            "plain": lambda: plain.python("plain.py", "--table", str(table)),
            "forced": lambda: workspace.python(*LAUNCHER, "-f"),
        },
        n_runs,
    )


def measure_csv(folder: Path, n_runs: int, n_rows: int = 2_000_000) -> Group:
    """Measure the stages before training on a CSV file, each as a process of its own without tracking."""
    workspace = Workspace.clone(folder, CSV_CHANGES)
    workspace.python("-m", "benchmarks.tables", CSV, str(n_rows))

    def run_stage(name: str) -> Callable[[], Cost]:
        return lambda: workspace.python("-m", f"src.stages.{name}", "--config", "params.yaml")

    read = f"import pandas; pandas.read_csv({CSV!r})"
    stages = {name: run_stage(name) for name in CSV_STAGES}
    return measure({"read_csv": lambda: workspace.python("-c", read), **stages}, n_runs)


def make_plain(folder: Path) -> Workspace:
    """Make a folder that holds nothing but `plain.py`."""
    folder.mkdir(parents=True)
    shutil.copy2(ROOT / "benchmarks" / "plain.py", folder)
    return Workspace(folder)


GROUPS: dict[str, Callable[[Path, int], Group]] = {
    "iris": measure_iris,
    "parents": measure_parents,
    "1M": measure_rows,
    "csv": measure_csv,
}


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write `benchmarks/results.json` and `docs/benchmarks.md`."""
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
            groups[name] = GROUPS[name](Path(folder), options.runs)
        results = known | {"machine": machine, "groups": {name: groups[name] for name in GROUPS if name in groups}}
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        write_report(results, ROOT / "docs")


if __name__ == "__main__":
    main()
