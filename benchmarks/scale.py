"""Measure tables larger than memory: `python -m benchmarks.scale [--only NAME …] [--scale 1.0]`.

Each measurement replaces its own part of `scale` in `benchmarks/results.json`, from which `docs/benchmarks.md` is
written. With a scale other than 1, every table has that share of its rows, and the figures are printed alone. DuckDB
and Polars get environments of their own.
"""

import argparse
import json
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bench import RESULTS, measure
from benchmarks.peers import HERE, PeerError, list_versions, make_environment
from benchmarks.report import describe_machine, write_report
from benchmarks.scale_report import make_tables
from benchmarks.tables import write_large
from benchmarks.workspace import ROOT, Cost, Workspace
from tests.pipeline.server import free_port

MILLION = 1_000_000
N_RUNS = 3
STAGES = ("data_load", "featurize", "data_split", "train", "evaluate")
BOUNDED = tuple(name for name in STAGES if name != "train")
LIMIT_KB = 1_500_000_000 // 1024
FEATURES = {"ratio": {"ratio": ["x00", "x01"]}, "product": {"product": ["x02", "x03"]}}
RAW = "data/raw/dataset.parquet"
# Many trees, so that more rows help.
TREES = {"lightgbm": {"n_estimators": [300], "num_leaves": [255]}}
GRID = {"logreg": {"C": [0.1, 1.0]}, "lightgbm": {"n_estimators": [50], "learning_rate": [0.1, 0.2]}}
IGNORED = dict.fromkeys(("leak", "duplicates", "constant", "identifier", "rare_class"), "ignore")

READ_WHOLE = "import pandas; pandas.read_parquet({path!r})"
KEEP_SAMPLE = """\
from pathlib import Path
from src.config.load import load_config
from src.data.parts import list_parts, new_table, write_part
from src.train.sample import read_rows
config = load_config(Path("params.yaml"))
path = config.data_split.train_path
with new_table(path) as folder:
    write_part(read_rows(list_parts(path, "data_split"), config), folder, 0)
"""
TIME_PAGE = """\
import time
from src.stages import data_split
from src.utils.command import run_stage
describe_rows = data_split.describe_rows
def timed(*arguments):
    started = time.process_time()
    page = describe_rows(*arguments)
    open("page_seconds", "w").write(str(time.process_time() - started))
    return page
data_split.describe_rows = timed
run_stage(data_split.data_split)
"""

Part = dict[str, Any]


# What the Makefile sets for each target on Linux.
AS_MAKE = {"ARROW_DEFAULT_MEMORY_POOL": "jemalloc"}


def make_workspace(
    path: Path, n_rows: int, scale: float, max_rows: int = MILLION // 10, rows_per_part: int = MILLION // 4,
    *, has_id: bool = False, **changes: dict[str, Any],
) -> Workspace:  # fmt: skip
    """Clone the repository beside a table of `n_rows * scale` rows.

    Args:
        max_rows: `train.max_rows`, which is scaled too.
        rows_per_part: `data_load.rows_per_part`, which is scaled too.
        changes: Further settings, by section.
    """
    large = yaml.safe_load((ROOT / "benchmarks" / "large.yaml").read_text(encoding="utf-8"))
    workspace = Workspace.clone(path, large)
    settings: dict[str, dict[str, Any]] = {
        "data_load": {"rows_per_part": round(rows_per_part * scale)},
        "featurize": {"features": FEATURES},
        "train": {"estimator": "logreg", "max_rows": round(max_rows * scale), "scoring": "roc_auc"},
        "tracking": {"enabled": False},
    }
    for section, values in (*settings.items(), *changes.items()):
        for key, value in values.items():
            workspace.set_param(section, key, value)
    write_large(path / large["data_load"]["external_path"], round(n_rows * scale), has_id=has_id)
    return workspace


def run_stage(workspace: Workspace, name: str) -> Cost:
    """Run a stage in a process of its own, without DVC."""
    return workspace.python("-m", f"src.stages.{name}", "--config", "params.yaml", **AS_MAKE)


def run_stages(workspace: Workspace, *names: str) -> dict[str, Cost]:
    """Run stages one after the other."""
    costs = {}
    for name in names:
        costs[name] = run_stage(workspace, name)
        sys.stderr.write(f"  {name}: {costs[name]}\n")
    return costs


def as_dicts(costs: dict[str, Cost]) -> dict[str, dict[str, float]]:
    """Turn costs into what `results.json` holds."""
    return {name: asdict(cost) for name, cost in costs.items()}


def measure_limit(folder: Path, scale: float) -> Part:
    """Run the stages on 10M rows with too little memory to read the whole table."""
    train = {"estimator": "lightgbm"}
    workspace = make_workspace(folder / "pipeline", 10 * MILLION, scale, MILLION // 2, train=train)

    def run_limited(*arguments: str) -> Cost:
        return workspace.run("sh", "-c", f'ulimit -d {LIMIT_KB}; exec python "$@"', "sh", *arguments, **AS_MAKE)

    error = None
    try:
        run_limited("-c", READ_WHOLE.format(path="data/external/bench.parquet"))
    except RuntimeError as failure:
        names = re.findall(r"(\w*Error|bad_alloc)\b", str(failure))
        error = names[-1] if names else str(failure).splitlines()[0]
    sys.stderr.write(f"  pandas.read_parquet: {error}\n")
    costs = {}
    for name in STAGES:
        costs[name] = run_limited("-m", f"src.stages.{name}", "--config", "params.yaml")
        sys.stderr.write(f"  {name}: {costs[name]}\n")
    return {"n_rows": round(10 * MILLION * scale), "error": error, "costs": as_dicts(costs)}


def measure_flat(folder: Path, scale: float) -> Part:
    """Measure the peak memory of the stages that read all rows, at two sizes."""
    costs: dict[str, Cost] = {}
    for millions in (5, 20):
        workspace = make_workspace(folder / "pipeline", millions * MILLION, scale)
        found = run_stages(workspace, *STAGES)
        costs |= {f"{name}, {millions}M rows": found[name] for name in BOUNDED}
        shutil.rmtree(workspace.path)
    return {"costs": as_dicts(costs)}


def measure_tax(folder: Path, scale: float) -> Part:
    """Measure a table in four parts beside the same in one part."""
    commands = {}
    for n_parts in (1, 4):
        workspace = make_workspace(folder / str(n_parts), MILLION, scale, rows_per_part=MILLION // n_parts)
        run_stages(workspace, *STAGES[:-1])
        for name in BOUNDED:
            commands[f"{name}, parts: {n_parts}"] = partial(run_stage, workspace, name)
    # Each stage of one directly before or after that of the other.
    return dict(measure({name: commands[name] for name in sorted(commands)}, N_RUNS))


@contextmanager
def run_cluster(workspace: Workspace, n_workers: int) -> Iterator[None]:
    """Let a workspace use a cluster of its own until the block ends."""
    from src.compute.cluster import count_workers

    scheduler = f"tcp://127.0.0.1:{free_port()}"
    workspace.set_param("compute", "engine", "dask")
    workspace.set_param("compute", "scheduler", scheduler)
    process = workspace.start("-m", "src.utils.start_cluster", "--workers", str(n_workers), "--memory", "2GB")
    try:
        while count_workers(scheduler) < n_workers:
            if process.poll() is not None:
                raise RuntimeError(f"the cluster ended with {process.returncode}")
            time.sleep(0.5)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def measure_engine(folder: Path, scale: float) -> Part:
    """Run `dvc repro` here and on two clusters, and compare what it records."""
    train = {"estimator": list(GRID), "param_grid": GRID, "search": {"kind": "grid"}, "cv": 3}
    costs, locks = {}, []
    for n_workers, name in enumerate(("local", "Dask, 1 worker", "Dask, 2 workers")):
        workspace = make_workspace(folder / name, MILLION, scale, rows_per_part=MILLION // 4, train=train)
        lock = workspace.path / "dvc.lock"
        # That of the clone describes another table.
        lock.unlink()
        if n_workers:
            with run_cluster(workspace, n_workers):
                costs[name] = workspace.python("-m", "dvc", "repro")
        else:
            costs[name] = workspace.python("-m", "dvc", "repro")
        sys.stderr.write(f"  {name}: {costs[name]}\n")
        locks.append(lock.read_text(encoding="utf-8"))
        shutil.rmtree(workspace.path)
    first, *others = [yaml.safe_load(lock)["stages"] for lock in locks]
    return {
        "is_equal": len(set(locks)) == 1,
        "different": [name for name in first if any(other.get(name) != first[name] for other in others)],
        "model": [out["md5"] for out in first["train"]["outs"] if out["path"].startswith("models/")],
        "costs": as_dicts(costs),
    }


def measure_rows(folder: Path, scale: float) -> Part:
    """Compare LightGBM on all rows with LightGBM on its sample, on the same test rows."""
    train = {"estimator": "lightgbm", "param_grid": TREES}
    workspace = make_workspace(folder / "pipeline", 10 * MILLION, scale, MILLION, train=train)
    run_stages(workspace, *STAGES[:3])
    costs, scores = {}, {}
    for name in ("all rows", "sample"):
        if name == "sample":
            workspace.python("-c", KEEP_SAMPLE)
        costs[f"train, {name}"] = run_stages(workspace, "train", "evaluate")["train"]
        scores[name] = _read(workspace, "metrics")["test_roc_auc"]
        if name == "all rows":
            found = _read(workspace, "cv_metrics")
    n_rows = {"all rows": found["n_rows_fitted"], "sample": found["n_rows_searched"]}
    return {"n_rows": n_rows, "scores": scores, "costs": as_dicts(costs)}


def _read(workspace: Workspace, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workspace.path / "reports" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def measure_peers(folder: Path, scale: float) -> Part:
    """Measure two features and a random split by DuckDB, by Polars and by our stages."""
    data_split = {"split": {"kind": "hash", "column": "id"}, "checks": IGNORED}
    workspace = make_workspace(folder / "pipeline", 10 * MILLION, scale, has_id=True, data_split=data_split)
    run_stages(workspace, "data_load")
    commands: dict[str, Callable[[], Cost]] = {
        f"{name}, stages": partial(run_stage, workspace, name) for name in ("featurize", "data_split")
    }
    versions, raw = {}, workspace.path / RAW
    for peer, name in (("duckdb", "DuckDB"), ("polars", "Polars")):
        try:
            bin_dir = make_environment(peer)
        except PeerError as error:
            versions[name] = f"left out: {error}"
            continue
        versions[name] = list_versions(bin_dir, [peer])
        shutil.copytree(HERE / peer, folder / peer, ignore=shutil.ignore_patterns("__pycache__"))
        other = Workspace(folder / peer, bin_dir)
        for step in ("featurize", "split"):
            files = str(raw / "*.parquet" if raw.is_dir() else raw)
            commands[f"{step}, {name}"] = partial(other.python, "prepare.py", step, files)
    found = dict(measure(commands, N_RUNS))
    workspace.python("-c", TIME_PAGE, "--config", "params.yaml")
    page_seconds = float((workspace.path / "page_seconds").read_text(encoding="utf-8"))
    sys.stderr.write(f"  the page about the data: {page_seconds:.2f} s of CPU\n")
    return found | {"versions": versions, "page_seconds": page_seconds}


PARTS: dict[str, Callable[[Path, float], Part]] = {
    "limit": measure_limit,
    "flat": measure_flat,
    "tax": measure_tax,
    "engine": measure_engine,
    "rows": measure_rows,
    "peers": measure_peers,
}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the tables, and write the results and the page."""
    parser = argparse.ArgumentParser(prog="scale", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows; below 1, nothing is written")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    for name in options.only:
        sys.stderr.write(f"{name}\n")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            part = PARTS[name](Path(folder), options.scale)
        sys.stdout.write(make_tables({name: part}) + "\n")
        if options.scale != 1:
            continue
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
        known = results.get("scale", {})
        # Figures of another machine do not belong beside these.
        parts = (known if known.get("machine") == machine else {"machine": machine}) | {name: part}
        RESULTS.write_text(json.dumps(results | {"scale": parts}, indent=2) + "\n", encoding="utf-8")
        write_report(results | {"scale": parts}, ROOT / "docs")


if __name__ == "__main__":
    main()
