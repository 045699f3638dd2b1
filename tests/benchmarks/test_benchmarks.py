import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from benchmarks.bench import measure
from benchmarks.report import ROWS, describe_machine, write_report
from benchmarks.tables import N_COLUMNS, write_table
from benchmarks.workspace import ROOT, Cost, Workspace
from tests.pipeline.clone import STAGES, Clone
from tests.pipeline.conftest import clone, template  # noqa: F401 - fixtures of both folders


def some_costs(**seconds: float) -> dict[str, Any]:
    costs = {name: {"seconds": value, "megabytes": 100.0, "all_seconds": [value]} for name, value in seconds.items()}
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
    assert floor.data.metrics == first.data.metrics
    assert floor.data.params == first.data.params
    assert clone.outcomes(floor) == ["ran"] * 5


def test_parents_are_recorded_without_running_anything(clone: Clone) -> None:  # noqa: F811 - the fixture is imported
    clone.run(sys.executable, "-m", "benchmarks.parents", "3")
    parents = clone.parents()
    assert len(parents) == 4
    assert [clone.outcomes(parent) for parent in parents[:3]] == [["unchanged"] * 5] * 3
    assert {parent.info.status for parent in parents} == {"FINISHED"}


def test_median_of_runs_in_turn_is_given_without_the_first() -> None:
    order: list[str] = []

    def command(name: str, seconds: list[float]) -> Cost:
        order.append(name)
        return Cost(seconds[order.count(name) - 1], 10.0)

    commands = {name: partial(command, name, [99.0, 1.0, 5.0, 3.0]) for name in ("a", "b")}
    costs = measure(commands, 3)
    assert order == ["a", "b"] * 4
    assert costs["a"] == {"seconds": 3.0, "megabytes": 10.0, "all_seconds": [1.0, 3.0, 5.0]}


def test_command_is_measured_with_all_that_it_started(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work space", {"train": {"cv": 3}})
    assert yaml.safe_load((workspace.path / "params.yaml").read_text())["train"]["cv"] == 3
    child = "import time; x = b'x' * 10**8; time.sleep(0.3)"
    cost = workspace.run("-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    assert cost.seconds > 0.3
    assert cost.megabytes > 95
    with pytest.raises(RuntimeError, match=r"(?s)gave 3:.*what went wrong"):
        workspace.run("-c", "import sys; print('what went wrong'); sys.exit(3)")


def test_page_says_for_each_bar_whether_it_is_kept(tmp_path: Path) -> None:
    groups = {
        "iris": some_costs(
            floor=4.0,
            forced=4.8,
            forced_cold=12.0,
            bare=6.0,
            one_param=4.0,
            nothing=1.0,
            bare_stage=3.0,
            bare_stage_cold=4.0,
        ),
        "parents": some_costs(first=2.0, hundredth=2.1),
        "1M": some_costs(floor=20.0, forced=22.0),
        "stages": {
            "runs": 3,
            "costs": {
                "stages": {"seconds": 9.0},
                "bare": {"seconds": 6.0, "megabytes": 1_500.0},
                "peaks": {"data_split": 500.0, "train": 900.0, "evaluate": 400.0},
                "table": {"megabytes": 250.0},
            },
        },
    }
    write_report({"machine": "a machine", "groups": groups}, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| iris, all five stages forced | 4.80 | floor, 4.00 | 1.20 | 1.25, kept |" in page
    assert "| the same, against cold processes | 4.80 | cold, 12.00 | 0.40 | 0.30, missed |" in page
    assert "| 101st parent against the 1st | 2.10 | 1st, 2.00 | 1.05 | 1.10, kept |" in page
    assert "| peak memory at 1M × 20 rows | 100 MB | 100 MB | 1.00 | 1.30, kept |" in page
    assert "| the same by bare `dvc repro`, against cold processes | 6.00 | cold, 12.00 | 0.50 |  |" in page
    assert "| `evaluate` alone by bare `dvc repro`, against cold | 3.00 | cold, 4.00 | 0.75 |  |" in page
    assert "| 1M × 25 columns, all stages but the fit | 9.00 | bare libraries, 6.00 | 1.50 | 1.50, kept |" in page
    assert "| peak memory of its train, with the fit | 900 MB | bare libraries, 1500 MB | 0.60 |  |" in page
    assert "| the same | 900 MB | the table, 250 MB | 3.60 | 3.00, missed |" in page
    assert "| peak memory of its other stages, imports too | 500 MB | the table, 250 MB | 2.00 | 3.00, kept |" in page
    assert "Seconds are medians of 3 or 5 runs" in page
    assert "Measured on a machine." in page
    assert "100k" not in page
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


def test_table_holds_numbers_and_two_classes(tmp_path: Path) -> None:
    write_table(tmp_path / "deep" / "table.parquet", 1_000)
    table = pd.read_parquet(tmp_path / "deep" / "table.parquet")
    assert table.shape == (1_000, N_COLUMNS + 1)
    assert set(table["target"]) == {"yes", "no"}
    assert table.drop(columns="target").dtypes.eq("float64").all()


def test_every_row_of_the_page_has_work_of_its_own() -> None:
    assert len({row[0] for row in ROWS}) == len(ROWS)
