"""`make loop` in a fresh clone: what it shows, and what it leaves."""

import re
import signal
from pathlib import Path

import pandas as pd
import psutil
import pytest

from src.atomic import atomic_path
from src.service.retraining.loop import count_recorded
from tests.pipeline.clone import Clone, family, signal_group, wait_for
from tests.pipeline.conftest import fresh  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow

LOOP = ("python", "-m", "src.service.retraining.loop")


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    path = tmp_path / "temporary"
    path.mkdir()
    return path


def state(clone: Clone) -> tuple[object, ...]:
    files = {path for path in clone.path.rglob("*") if not {".git", "__pycache__"} & set(path.parts)}
    return files, clone.git("for-each-ref"), clone.git("status", "--porcelain")


def test_cycle_is_shown_and_the_clone_stays_as_it_was(fresh: Clone, temporary: Path) -> None:  # noqa: F811 - a fixture
    before = state(fresh)
    # What the user serves and tracks elsewhere is not used.
    foreign = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "SERVE_API_KEYS": "secret"}
    output = fresh.run(*LOOP, TMPDIR=str(temporary), **foreign).stdout
    found = [
        re.search(pattern, output)
        for pattern in (
            r" s  promote   iris/1 is the champion\n",
            r" s  serve     iris/1 answers on port \d+\n",
            r" s  traffic   300 requests, sepal_width 1 cm larger than before: (\d+)% right\n",
            r" s  monitor   Drift: 1 of 4 columns \('sepal_width'\)",
            r" s  retrain   300 more labelled rows; the new model is published as v1\.0\.0\n",
            r" s  swap      under load: \d+ by iris/1, \d+ by iris/2, 0 failed\n",
            r" s  version   iris/2 of commit [0-9a-f]{9}; the same requests: (\d+)% right\n$",
        )
    ]
    assert all(found), output
    shares = [int(match[1]) for match in found if match and match.groups()]
    assert shares[0] + 5 < shares[1]
    assert state(fresh) == before
    assert list(temporary.iterdir()) == []


def test_files_that_are_being_written_are_not_counted(tmp_path: Path) -> None:
    day = tmp_path / "data" / "requests" / "2026-05-04"
    with atomic_path(day / "a.parquet") as partial:
        assert count_recorded(tmp_path) == 0
        pd.DataFrame({"id": ["r1", "r2"]}).to_parquet(partial)
    assert count_recorded(tmp_path) == 2


def test_ctrl_c_stops_what_was_started_and_deletes_the_folder(fresh: Clone, temporary: Path) -> None:  # noqa: F811 - a fixture
    process = fresh.start(*LOOP, TMPDIR=str(temporary))
    # The pipeline runs: launcher, DVC and the server of the stages.
    wait_for(lambda: len(family(process.pid)) > 3)
    processes = family(process.pid)
    signal_group(process, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert psutil.wait_procs(processes, timeout=10)[1] == []
    assert list(temporary.iterdir()) == []


def test_step_that_fails_shows_its_log_and_deletes_the_folder(fresh: Clone, temporary: Path) -> None:  # noqa: F811 - a fixture
    fresh.set_param("registry.gate.margin", "wide")
    fresh.commit()
    result = fresh.run(*LOOP, code=2, TMPDIR=str(temporary))
    assert "registry.gate.margin" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("PipelineError: src.new_data --file")
    assert list(temporary.iterdir()) == []
