import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from benchmarks import peers
from benchmarks.bench import make_plain, measure
from benchmarks.report import ROWS, describe_machine, write_report
from benchmarks.tables import N_COLUMNS, make_numbers, make_orders
from benchmarks.workspace import ROOT, Cost, Workspace
from tests.pipeline.clone import STAGES, Clone
from tests.pipeline.conftest import clone, template  # noqa: F401 - fixtures of both folders

PLOTS = ("calibration", "confusion_matrix", "permutation_importance", "precision_recall", "roc", "search")


def some_costs(**seconds: float) -> dict[str, Any]:
    costs = {
        name: {"seconds": value, "cpu_seconds": 2 * value, "megabytes": 100.0, "all_seconds": [value]}
        for name, value in seconds.items()
    }
    return {"runs": 5, "costs": costs}


@pytest.mark.slow
def test_floor_does_what_the_pipeline_does_and_records_it_alike(clone: Clone) -> None:  # noqa: F811 - the fixture is imported
    for name in ("data/raw", "data/processed", "models", "reports"):
        for path in (clone.path / name).glob("*.*"):
            path.unlink()
    clone.run(sys.executable, "-m", "benchmarks.floor")
    # Every output is what dvc.lock says.
    assert clone.status() == []
    floor, first = clone.parents()
    assert set(clone.nested(floor)) == set(STAGES)
    nested, expected = clone.nested(floor), clone.nested(first)
    assert {name: run.data.metrics for name, run in nested.items()} == {
        name: run.data.metrics for name, run in expected.items()
    }


def test_parents_are_recorded_without_running_anything(clone: Clone) -> None:  # noqa: F811 - the fixture is imported
    clone.run(sys.executable, "-m", "benchmarks.parents", "3")
    parents = clone.parents()
    assert len(parents) == 4
    assert [clone.outcomes(parent) for parent in parents[:3]] == [["unchanged"] * 5] * 3
    assert {parent.info.status for parent in parents} == {"FINISHED"}


@pytest.mark.slow
def test_plain_script_does_the_same_job_without_this_project(tmp_path: Path) -> None:
    plain = make_plain(tmp_path / "plain")
    plain.python("plain.py")
    tables = ("raw/dataset", "processed/features", "processed/train", "processed/test")
    rows = [len(pd.read_parquet(plain.path / "data" / f"{name}.parquet")) for name in tables]
    assert rows == [150, 150, 120, 30]
    reports = plain.path / "reports"
    assert sorted(path.stem for path in (reports / "plots").iterdir()) == list(PLOTS)
    assert len(pd.read_csv(reports / "cv_results.csv")) == 4
    # As the committed figures of the pipeline.
    measured, expected = (json.loads((folder / "metrics.json").read_text()) for folder in (reports, ROOT / "reports"))
    assert measured.keys() == expected.keys()
    assert all(measured[name] == pytest.approx(value) for name, value in expected.items())
    assert (plain.path / "models" / "model.joblib").exists()
    assert "test_f1_macro" in (reports / "model_card.md").read_text()
    with closing(sqlite3.connect(plain.path / "mlflow.db")) as store:
        runs = store.execute("SELECT run_uuid, name, status FROM runs").fetchall()
        parents = store.execute("SELECT value FROM tags WHERE key = 'mlflow.parentRunId'").fetchall()
        models = store.execute("SELECT status FROM logged_models").fetchall()
    assert {status for _, _, status in runs} == {"FINISHED"}
    ids = {name: run_id for run_id, name, _ in runs}
    assert set(ids) == {"plain", *STAGES}
    assert parents == [(ids["plain"],)] * len(STAGES)
    assert len(models) == 1


def test_plain_script_and_its_peers_import_nothing_of_src() -> None:
    scripts = [ROOT / "benchmarks" / "plain.py", *(ROOT / "benchmarks" / "peers").glob("*/**/*.py")]
    assert len(scripts) > 5
    imports = re.compile(r"^\s*(from|import) src\b", re.MULTILINE)
    assert [path.name for path in scripts if imports.search(path.read_text())] == []


def test_peer_without_an_environment_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str], **_: Any) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="no solution found:\n  kedro needs\n  another Python")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(peers.subprocess, "run", fail)
    with pytest.raises(peers.PeerError, match=r"^no solution found: kedro needs another Python$"):
        peers.make_peer("kedro", tmp_path / "kedro")


def test_median_of_runs_in_turn_is_given_without_the_first() -> None:
    order: list[str] = []

    def command(name: str, seconds: list[float]) -> Cost:
        order.append(name)
        return Cost(seconds[order.count(name) - 1], 2.0, 10.0)

    commands = {name: partial(command, name, [99.0, 1.0, 5.0, 3.0]) for name in ("a", "b")}
    group = measure(commands, 3)
    assert order == ["a", "b"] * 4
    assert group["runs"] == 3
    expected = {"seconds": 3.0, "cpu_seconds": 2.0, "megabytes": 10.0, "all_seconds": [1.0, 3.0, 5.0]}
    assert group["costs"]["a"] == expected


def test_command_is_measured_with_all_that_it_started(tmp_path: Path) -> None:
    workspace = Workspace.clone(tmp_path / "work space", {"train": {"cv": 3}})
    assert yaml.safe_load((workspace.path / "params.yaml").read_text())["train"]["cv"] == 3
    # The child outlives the command, takes memory and computes.
    child = "import time\nx = b'x' * 10**8\nwhile time.process_time() < 0.5: pass\nopen('ended', 'w').close()"
    cost = workspace.python("-c", f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}])")
    assert (workspace.path / "ended").exists()
    assert cost.cpu_seconds > 0.5
    assert cost.megabytes > 95
    with pytest.raises(RuntimeError, match=r"(?s)exited with 3:.*what went wrong"):
        workspace.python("-c", "import sys; print('what went wrong'); sys.exit(3)")


def test_page_says_for_each_bar_whether_it_is_kept(tmp_path: Path) -> None:
    groups = {
        "iris": some_costs(plain=5.0, kedro=6.0, floor=7.0, forced=5.5, bare=7.0, one_param=4.0, nothing=1.0)
        | {"peers": {"kedro": "kedro 1.7.0, mlflow 3.17.2", "dvc_mlflow": "left out: no such package"}},
        "parents": some_costs(first=2.0, hundredth=2.1) | {"runs": 3},
        "1M": some_costs(plain=20.0, forced=22.0),
        "csv": some_costs(read_csv=1.0, data_load=2.0, featurize=0.5, data_split=1.0),
    }
    write_report({"machine": "a machine", "groups": groups}, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| `plain.py` on iris | 5.00 | 10.00 | 100 MB | 1.00 |  |" in page
    assert "| iris forced, `make pipeline` | 5.50 | 11.00 | 100 MB | 1.10 | 1.10, kept |" in page
    assert "| iris forced, bare `dvc repro` | 7.00 | 14.00 | 100 MB | 1.40 | 1.30, missed |" in page
    assert "| Kedro with kedro-mlflow | 6.00 | 12.00 | 100 MB | 1.20 |  |" in page
    assert "| the same, peak memory | 22.00 | 44.00 | 100 MB | 1.00 | 1.00, kept |" in page
    assert "`data_split`; CPU | 3.50 | 7.00 | 100 MB | 3.50 | 4.00, kept |" in page
    assert "| nothing changed, 101st parent run | 2.10 | 4.20 | 100 MB | 1.05 | 1.10, kept |" in page
    assert "Kedro with kedro-mlflow: kedro 1.7.0, mlflow 3.17.2.\n" in page
    assert "DVC + MLflow, cold processes: left out: no such package.\n" in page
    assert "| DVC + MLflow" not in page
    assert "medians of 3 or 5 runs" in page
    assert "Measured on a machine." in page
    assert (tmp_path / "benchmarks.png").read_bytes().startswith(b"\x89PNG")


def test_page_in_the_documentation_is_made_from_the_results(tmp_path: Path) -> None:
    write_report(json.loads((ROOT / "benchmarks" / "results.json").read_text()), tmp_path)
    assert (tmp_path / "benchmarks.md").read_text() == (ROOT / "docs" / "benchmarks.md").read_text()


def test_machine_is_named_without_telling_whose_it_is() -> None:
    import socket

    machine = describe_machine()
    assert "Python 3." in machine
    assert "mlflow 3." in machine
    assert socket.gethostname() not in machine
    assert str(Path.home()) not in machine


def test_tables_hold_what_is_measured() -> None:
    table = make_numbers(1_000, n_categories=2)
    assert table.shape == (1_000, N_COLUMNS + 3)
    assert set(table["target"]) == {"yes", "no"}
    assert table.drop(columns=["c0", "c1", "target"]).dtypes.eq("float64").all()
    orders = make_orders(1_000)
    assert list(orders) == ["id", "day", "city", "quantity", "amount", "target"]
    assert orders.equals(make_orders(1_000))


def test_every_row_of_the_page_has_work_of_its_own() -> None:
    assert len({row.work for row in ROWS}) == len(ROWS)
