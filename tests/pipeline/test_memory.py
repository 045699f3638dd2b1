"""The first three stages need memory for a few parts of a table, not for the table."""

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tables import make_numbers
from benchmarks.workspace import Workspace
from tests.pipeline.clone import Clone

N_ROWS, N_CATEGORIES = 1_000_000, 5
TABLE = "data/external/large.parquet"
CHANGES: dict[str, dict[str, Any]] = {
    "data_load": {"source": {"kind": "file"}, "external_path": TABLE, "rows_per_part": 50_000},
    "featurize": {"features": {"product": {"product": ["x00", "x01"]}}},
    "tracking": {"enabled": False},
}
RUN = """
import re
from pathlib import Path
from src.config.load import load_config
from src.stages.{stage} import {stage}

def kilobytes(what):
    return int(re.search(rf"{{what}}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

config = load_config(Path("params.yaml"))
before = kilobytes("VmRSS")
{stage}(config)
print((kilobytes("VmHWM") - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_stages_need_less_memory_than_a_table_of_twenty_parts(tmp_path: Path) -> None:
    workspace = Workspace.clone(tmp_path / "clone", CHANGES)
    table = make_numbers(N_ROWS, N_CATEGORIES)
    table.to_parquet(workspace.path / TABLE, index=False)
    size = int(table.memory_usage(deep=True).sum())
    copies = {}
    for stage in ("data_load", "featurize", "data_split"):
        output = Clone(workspace.path).run(sys.executable, "-c", RUN.format(stage=stage), PYTHONPATH=".").stdout
        copies[stage] = int(output.splitlines()[-1]) / size
    assert max(copies.values()) < 1, copies
