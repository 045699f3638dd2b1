import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from src.tracking.journal import Journal, Session
from src.tracking.lock import read_lock
from src.tracking.store import Store
from src.utils import parent
from src.utils.exclusive import exclusive
from src.utils.start_pipeline import main
from tests.tracking.support import UNKNOWN_STORE, commit, list_artifacts, read_artifact, search
from tests.utils.conftest import ROOT, FakeDvc

# It notes how it was asked.
NOTE = 'echo "$@|$MLFLOW_RUN_ID|$PIPELINE_SESSION" > asked\n'
STAGE = """\
import sys
from pathlib import Path
from src.config.load import load_config
from src.utils.mlflow_run_decorator import StageResult, mlflow_run

@mlflow_run
def train(config):
    Path("model.txt").write_text("m")
    Path("metrics.json").write_text('{"f1": 0.5}')
    return StageResult(metrics={"f1": 0.5}, tags={"best.cv": "2"}, artifacts=[Path("metrics.json")])

train(load_config(Path("params.yaml")))
"""


@pytest.fixture
def _parent_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open and complete parents here, which saves the import of MLflow in two processes."""

    def record_parent(_: str, action: str, session: Session) -> Session:
        parent.main([action, session.id])
        return Journal(Path.cwd()).read_session(session.id) or session

    monkeypatch.setattr("src.utils.start_pipeline.record_parent", record_parent)
    monkeypatch.setenv("PIPELINE_WARM", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


pytestmark = pytest.mark.usefixtures("_parent_in_this_process")


def asked(root: Path) -> list[str]:
    return (root / "asked").read_text().rstrip("\n").split("|")


def only_session(root: Path) -> Session:
    (session,) = Journal(root).sessions()
    return session


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


# --- with the real DVC ---


def test_stages_run_are_skipped_and_are_restored_under_a_parent_each(
    workspace: Path, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--name", "first"]) == 0
    out = capfd.readouterr().out
    assert out.endswith(
        "\nstage         outcome     seconds\ndata_load     ran\ntrain         ran\n\n"
        "metric  value\nf1      0.5000\n\nModel:  models/model.joblib\n"
        f"Run:    first, FINISHED ({search(store)[0].info.run_id}); `make ui` shows it\n"
        'Commit: git add dvc.lock metrics.json && git commit -am "…"\n'
    )
    assert main([]) == 0
    assert "Nothing to do: all 2 stages are up to date." in capfd.readouterr().out
    edit(workspace / "params.yaml", "cv: 2", "cv: 3")
    assert main(["--force", "train"]) == 0
    edit(workspace / "params.yaml", "cv: 3", "cv: 2")
    assert main([]) == 0
    outcomes = [
        (run.info.status, run.data.tags["stage.data_load"], run.data.tags["stage.train"], run.data.params["train.cv"])
        for run in search(store, "parent")
    ]
    assert outcomes == [
        ("FINISHED", "ran", "ran", "2"),
        ("FINISHED", "unchanged", "unchanged", "2"),
        ("FINISHED", "ran", "ran", "3"),
        ("FINISHED", "unchanged", "restored", "2"),
    ]
    assert [run.data.metrics for run in search(store, "parent")] == [{"f1": 0.5}] * 4


def test_variables_of_another_repository_or_experiment_are_dropped(
    workspace: Path, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = {"DVC_ROOT": str(tmp_path), "DVC_STAGE": "x", "DVC_EXP_NAME": "other", "DVC_EXP_BASELINE_REV": "0" * 40}
    for name, value in other.items():
        monkeypatch.setenv(name, value)
    edit(workspace / "train.sh", "cp raw.csv", 'echo "[$DVC_ROOT|$DVC_EXP_NAME]" > seen; cp raw.csv')
    assert main([]) == 0
    assert (workspace / "seen").read_text() == f"[{workspace}|]\n"
    (parent,) = search(store, "parent")
    assert not [tag for tag in parent.data.tags if tag.startswith("dvc.exp")]
    assert parent.info.run_name.startswith("repro-")


@pytest.mark.parametrize("name", ["a\nb", "Gr\udcf6\udcdfe", "\x1b[31m"])
@pytest.mark.usefixtures("workspace")
def test_name_that_cannot_be_printed_is_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--name", name]) == 2
    assert capfd.readouterr().err == (
        f"ConfigError: the name of a run must be printable text in UTF-8, not {name!a}.\n"
    )


def test_part_leaves_the_rest_stale_and_a_failed_stage_gives_the_exit_code_of_dvc(
    workspace: Path, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["data_load"]) == 0
    assert "data_load     ran\ntrain         stale\n" in capfd.readouterr().out.replace("       0.0", "")
    (workspace / "data_load.sh").write_text("exit 3")
    code = main([])
    assert code not in (0, 2)
    part, run = search(store)
    assert (part.info.status, part.data.tags["stage.train"]) == ("FINISHED", "stale")
    assert (run.info.status, run.data.metrics) == ("FAILED", {})
    assert (run.data.tags["stage.data_load"], run.data.tags["stage.train"]) == ("failed", "stale")
    assert "data_load     failed\ntrain         stale\n" in capfd.readouterr().out


def test_python_stage_is_nested_under_the_parent_with_dvcs_record(workspace: Path, store: Store) -> None:
    (workspace / "train.py").write_text(STAGE)
    edit(workspace / "dvc.yaml", "cmd: sh train.sh", f"cmd: {sys.executable} train.py")
    commit(workspace)
    # In processes of their own, as outside of tests.
    command = [sys.executable, "-m", "src.utils.start_pipeline", "--name", "whole"]
    result = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (run,), (nested,) = search(store, "parent"), search(store, "stage")
    assert (run.info.run_name, run.data.tags["git.dirty"]) == ("whole", "false")
    assert nested.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert (nested.info.status, nested.data.params["train.cv"]) == ("FINISHED", "2")
    entry = read_lock(workspace)["train"]
    assert nested.data.tags["dvc.entry"] == entry.digest
    assert json.loads(read_artifact(store, run.info.run_id, "md5s.json"))["model.txt"] == entry.outs["model.txt"]
    assert list_artifacts(store, nested.info.run_id) == {"metrics.json"}
    tags = run.data.tags
    assert (tags["stage.train"], tags["stage.train.run_id"]) == ("ran", nested.info.run_id)
    assert (tags["best.cv"], tags["stage.data_load.run_id"]) == ("2", "unknown")
    session = only_session(workspace)
    (execution,) = Journal(workspace).executions(session.id)
    assert (session.complete, execution.complete) == (True, True)
    assert (execution.reads, execution.sizes["model.txt"]) == (["params.yaml", "raw.csv", "train.sh"], 1)


# --- what it asks of DVC ---


def test_dvc_gets_the_arguments_and_the_parent(
    workspace: Path, store: Store, fake_dvc: FakeDvc, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_dvc(NOTE)
    monkeypatch.setenv("MLFLOW_RUN_ID", "of somebody else")
    assert main(["--name", "mine", "train", "-f", "--keep-going"]) == 0
    (run,) = search(store)
    session = only_session(workspace)
    assert asked(workspace) == ["repro train -f --keep-going", run.info.run_id, session.id]
    assert (session.run_id, session.name, session.status, session.complete) == (
        run.info.run_id, "mine", "FINISHED", True,
    )  # fmt: skip
    assert (run.info.run_name, run.info.end_time) == ("mine", session.end_time)


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_launcher_leaves_a_killed_parent(store: Store, fake_dvc: FakeDvc, number: signal.Signals) -> None:
    fake_dvc(f"kill -{number.name.removeprefix('SIG')} $PPID; exec sleep 60")
    assert main([]) == 128 + number
    assert [run.info.status for run in search(store)] == ["KILLED"]


def test_store_that_fails_costs_warnings_and_not_the_run(
    workspace: Path, fake_dvc: FakeDvc, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_dvc(f"{NOTE}exit 5")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", UNKNOWN_STORE)
    assert main([]) == 5
    out, err = capsys.readouterr()
    assert f"WARNING: MLflow store {UNKNOWN_STORE}: unknown kind of store" in err
    assert "Run:" not in out
    assert "data_load     stale" in out
    session = only_session(workspace)
    assert asked(workspace) == ["repro", "", session.id]
    assert (session.status, session.run_id, session.complete) == ("FAILED", None, False)


@pytest.mark.parametrize("code", [0, 7])
def test_without_tracking_dvc_runs_and_nothing_is_recorded(
    workspace: Path, fake_dvc: FakeDvc, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    fake_dvc(f"{NOTE}exit {code}")
    edit(workspace / "params.yaml", "enabled: true", "enabled: false")
    assert main(["-f"]) == code
    assert asked(workspace) == ["repro -f", "", ""]
    assert Journal(workspace).sessions() == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_missing_table_is_explained_where_dvc_failed(
    workspace: Path, fake_dvc: FakeDvc, capsys: pytest.CaptureFixture[str], enabled: str
) -> None:
    edit(workspace / "params.yaml", "source: {kind: sklearn, name: iris}", "source: {kind: file}")
    edit(workspace / "params.yaml", "external_path: data/external", "external_path: data/external/t.csv")
    edit(workspace / "params.yaml", "enabled: true", f"enabled: {enabled}")
    for code in (0, 255):
        fake_dvc(f"exit {code}")
        assert main([]) == code
        assert ("ERROR: data/external/t.csv is missing" in capsys.readouterr().err) is (code == 255)


# --- what stops it before DVC runs ---


def test_second_launcher_in_a_clone_is_refused_before_anything_is_recorded(
    workspace: Path, fake_dvc: FakeDvc, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_dvc(NOTE)
    with exclusive(workspace, "pipeline"):
        assert main([]) == 2
    assert capsys.readouterr().err.startswith("BusyError: another `make pipeline` is running in this clone")
    assert Journal(workspace).sessions() == []
    assert not (workspace / "asked").exists()


@pytest.mark.parametrize(
    ("name", "text"), [("params.yaml", "base: {}\n"), ("dvc.lock", "<<<<<<< HEAD\n"), ("params.yaml", None)]
)
def test_settings_or_a_lock_that_cannot_be_read_stop_it_with_one_line(
    workspace: Path, fake_dvc: FakeDvc, capsys: pytest.CaptureFixture[str], name: str, text: str | None
) -> None:
    fake_dvc(NOTE)
    (workspace / name).unlink(missing_ok=True)
    if text:
        (workspace / name).write_text(text)
    assert main([]) == 2
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith("ConfigError: ")
    assert name in line
    assert not (workspace / "asked").exists()


# --- a parent opened by hand ---


def test_parent_opened_by_hand_is_printed_and_keeps_running(
    workspace: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--open", "--name", "by hand"]) == 0
    (run,) = search(store)
    assert capsys.readouterr().out == f"{run.info.run_id}\n"
    assert (run.info.run_name, run.info.status) == ("by hand", "RUNNING")
    session = only_session(workspace)
    assert (session.id, session.run_id, session.launched) == (f"run-{run.info.run_id}", run.info.run_id, False)
    assert json.loads((Journal(workspace).path / session.id / "session.json").read_text())["id"] == session.id


@pytest.mark.parametrize("why", ["disabled", "store"])
def test_parent_that_cannot_be_opened_gives_2_and_no_id(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    if why == "disabled":
        edit(workspace / "params.yaml", "enabled: true", "enabled: false")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", UNKNOWN_STORE)
    assert main(["--open"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith("TrackingError: "), len(err.splitlines())) == ("", True, 1)
