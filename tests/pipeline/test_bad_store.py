"""A store that cannot be used gives one clear line, and the pipeline goes on."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.pipeline.clone import LAUNCHER, SYNC, Clone

pytestmark = pytest.mark.slow

# The mounts disappear with the command.
IN_OWN_MOUNTS = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-euc")
FULL_DISK = (
    'mount -t tmpfs -o size=4m tmpfs "$1"; cp mlflow.db "$1"; '
    'dd if=/dev/zero of="$1/filler" bs=1k 2>/dev/null || :; shift; exec "$@"'
)
READ_ONLY = 'cp mlflow.db "$1"; mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; shift; exec "$@"'


def assert_pipeline_warns_and_goes_on(clone: Clone, expected: str, *before: str, uri: str = "") -> None:
    """Run the pipeline with one changed stage, which must give the same warning as the launcher."""
    path = clone.path / "src/report/visualizing.py"
    path.write_text(f"{path.read_text()}\n# another line\n")
    lock = clone.lock()
    (clone.path / "reports/plots/confusion_matrix.png").unlink()
    env = {"MLFLOW_TRACKING_URI": uri} if uri else {}
    result = clone.run(*before, *LAUNCHER, **env)
    warning = f"WARNING: MLflow store {uri or clone.store}{expected}"
    lines = result.stderr.splitlines()
    assert lines[0].startswith(warning), result.stderr
    assert [line for line in lines if line.startswith("WARNING")] == [lines[0]] * 3
    assert "Traceback" not in result.stderr
    assert (clone.path / "reports/plots/confusion_matrix.png").exists()
    assert clone.lock() != lock
    assert "evaluate      ran" in result.stdout


def test_unknown_scheme(clone: Clone) -> None:
    assert_pipeline_warns_and_goes_on(
        clone, ": unknown kind of store; set MLFLOW_TRACKING_URI to sqlite:///…, postgresql://", uri="foo://bar"
    )


@pytest.mark.parametrize("warm", ["", "0"])
def test_log_level_applies_to_the_launcher_and_to_stages(clone: Clone, warm: str) -> None:
    clone.set_param("base.log_level", "ERROR")
    assert clone.launch(MLFLOW_TRACKING_URI="foo://bar", PIPELINE_WARM=warm).stderr == ""
    clone.set_param("base.log_level", "DEBUG")
    assert "Traceback" in clone.launch(MLFLOW_TRACKING_URI="foo://bar", PIPELINE_WARM=warm).stderr


def test_database_of_a_newer_schema(clone: Clone) -> None:
    with closing(sqlite3.connect(clone.path / "mlflow.db")) as store, store:
        store.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    assert_pipeline_warns_and_goes_on(
        clone, " has the schema of another MLflow; install that version, or run `mlflow db"
    )


def test_read_only_store(clone: Clone, tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    assert_pipeline_warns_and_goes_on(
        clone, f": {folder}/mlflow.db.lock cannot be written (Read-only file system); make it writable or set MLFLOW",
        *IN_OWN_MOUNTS, READ_ONLY, "sh", str(folder), uri=f"sqlite:///{folder / 'mlflow.db'}",
    )  # fmt: skip


def test_full_disk(clone: Clone, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    assert_pipeline_warns_and_goes_on(
        clone, ": the disk is full; free some space, then run `make sync`", *IN_OWN_MOUNTS, FULL_DISK, "sh",
        str(folder), uri=f"sqlite:///{folder / 'mlflow.db'}",
    )  # fmt: skip


def test_full_disk_when_the_store_is_created(clone: Clone, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    script = (
        'mount -t tmpfs -o size=600k tmpfs "$1"; "$2" -m src.utils.sync_runs || ls "$1"; mount -o remount,size=20m "$1"'
    )
    script += '; "$2" -m src.utils.sync_runs; ls "$1"'
    result = clone.run(*IN_OWN_MOUNTS, script, "sh", str(folder), "python", MLFLOW_TRACKING_URI=uri)
    assert result.stderr.splitlines() == [
        f"TrackingError: MLflow store {uri}: the disk is full; free some space, then run `make sync` to complete the "
        "record.",
        "MLflow is up to date: completed 1 of 1 sessions",
    ]
    assert result.stdout.split() == ["mlflow.db.lock", "mlflow.db", "mlflow.db.lock"]


@pytest.mark.parametrize("damage", ["not a database", "damaged pages"])
def test_corrupted_database_is_rebuilt_after_it_is_moved_away(clone: Clone, damage: str) -> None:
    path = clone.path / "mlflow.db"
    if damage == "not a database":
        path.write_text("This was a database once, before someone edited it by hand.\n" * 100)
        assert_pipeline_warns_and_goes_on(
            clone, " is corrupted; move it away, then run `make sync` to rebuild the record."
        )
    else:
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(path.stat().st_size - 8192))
    refused = clone.run(*SYNC, code=2)
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"TrackingError: MLflow store {clone.store} is corrupted; move it away")
    path.rename(clone.path / "mlflow.db.broken")
    clone.run(*SYNC)
    assert clone.outcomes(clone.parents()[-1]) == ["ran"] * 5


def test_exit_code_is_that_of_dvc_if_the_store_fails(clone: Clone) -> None:
    clone.in_stage("evaluate", 'raise RuntimeError("the disk caught fire")')
    expected = clone.run("dvc", "repro", code=None, MLFLOW_TRACKING_URI="foo://bar").returncode
    assert expected != 0
    clone.launch(code=expected, MLFLOW_TRACKING_URI="foo://bar")
