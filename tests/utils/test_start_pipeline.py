import json
import logging
import signal
import subprocess
from pathlib import Path

import pytest

from src.tracking.journal import Journal
from src.tracking.store import open_store
from src.utils.alone import alone
from src.utils.start_pipeline import main
from tests.tracking.workspace import runs
from tests.utils.conftest import FakeDvc

# Asked which stages are stale, DVC knows of none; asked to run, it notes how it was asked.
REPRO = 'if [ "$3" = status ]; then echo "{}"; exit 0; fi\necho "$@|$MLFLOW_RUN_ID|$PIPELINE_SESSION" > asked\n'


@pytest.fixture
def workspace(repository: Path, params: str, fake_dvc: FakeDvc) -> Path:
    """Work in a repository with the settings of the pipeline, where DVC finds nothing to do."""
    # The settings of the pipeline know no sections of others.
    (repository / "params.yaml").write_text(params)
    definition = (repository / "dvc.yaml").read_text()
    for key, value in (("${paths.train}", "data/train.parquet"), ("${split.nested.name}", "train")):
        definition = definition.replace(key, value)
    definition = definition.replace("${paths.model}", "models/model.joblib").replace("${ paths.model }", "m")
    (repository / "dvc.yaml").write_text(definition)
    fake_dvc(REPRO)
    return repository


def asked(root: Path) -> tuple[str, str, str]:
    command, run_id, session = (root / "asked").read_text().rstrip("\n").split("|")
    return command, run_id, session


def test_dvc_runs_under_a_parent_that_is_closed_at_the_end(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "of somebody else")
    assert main(["--name", "mine", "train", "-f"]) == 0
    (parent,) = runs(open_store(workspace, "pipeline"))
    command, run_id, session_id = asked(workspace)
    assert command == "-m dvc repro train -f"
    assert run_id == parent.info.run_id
    session = Journal(workspace).read_session(session_id)
    assert session is not None
    assert (session.run_id, session.status, session.complete) == (run_id, "FINISHED", True)
    assert (parent.info.run_name, parent.info.status) == ("mine", "FINISHED")
    assert parent.data.params["train.cv"] == "2"
    out = capsys.readouterr().out
    assert "stage         outcome     seconds\n" in out
    assert f"Run:   mine ({run_id}), FINISHED" in out


@pytest.mark.parametrize("level", ["DEBUG", "WARNING"])
def test_log_level_of_the_settings_holds_to_the_end(workspace: Path, params: str, level: str) -> None:
    (workspace / "params.yaml").write_text(params.replace("log_level: INFO", f"log_level: {level}"))
    assert main([]) == 0
    (parent,) = runs(open_store(workspace, "pipeline"))
    assert parent.info.status == "FINISHED"
    assert logging.getLevelName(logging.getLogger("src").level) == level


@pytest.mark.parametrize("code", [1, 255])
def test_exit_code_of_dvc_is_that_of_the_launcher(workspace: Path, fake_dvc: FakeDvc, code: int) -> None:
    fake_dvc(f"{REPRO}exit {code}")
    assert main([]) == code
    assert [run.info.status for run in runs(open_store(workspace, "pipeline"))] == ["FAILED"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_launcher_told_to_stop_leaves_a_killed_parent(
    workspace: Path, fake_dvc: FakeDvc, number: signal.Signals
) -> None:
    # The question about stale stages, which follows, gets its answer.
    fake_dvc(f"{REPRO}sleep 0.2; kill -{number.name.removeprefix('SIG')} $PPID; exec sleep 60")
    assert main([]) == 128 + number
    assert [run.info.status for run in runs(open_store(workspace, "pipeline"))] == ["KILLED"]


def test_store_that_fails_costs_warnings_and_not_the_run(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://nowhere")
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert "WARNING: MLflow store foo://nowhere: no such kind of store" in err
    assert "Run:" not in out
    command, run_id, session_id = asked(workspace)
    assert (command, run_id) == ("-m dvc repro", "")
    session = Journal(workspace).read_session(session_id)
    assert session is not None
    assert (session.status, session.run_id, session.complete) == ("FINISHED", None, False)


@pytest.mark.parametrize("text", ["[0.5]", "{"])
def test_metrics_file_of_another_kind_does_not_change_the_exit_code(workspace: Path, text: str) -> None:
    (workspace / "reports" / "metrics.json").write_text(text)
    assert main([]) == 0


def test_without_tracking_dvc_runs_alone(workspace: Path, params: str, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "params.yaml").write_text(params.replace("enabled: true", "enabled: false"))
    assert main(["-f"]) == 0
    assert asked(workspace) == ("-m dvc repro -f", "", "")
    assert Journal(workspace).sessions() == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_second_launcher_in_a_clone_is_refused_before_anything_is_recorded(
    workspace: Path, params: str, capsys: pytest.CaptureFixture[str], enabled: str
) -> None:
    (workspace / "params.yaml").write_text(params.replace("enabled: true", f"enabled: {enabled}"))
    with alone(workspace, "pipeline"):
        assert main([]) == 2
    assert capsys.readouterr().err == (
        "BusyError: another `make pipeline` runs in this clone; wait until it has ended.\n"
    )
    assert not (workspace / "asked").exists()
    assert Journal(workspace).sessions() == []
    assert main([]) == 0


def test_launcher_beside_a_bare_dvc_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = workspace / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    for name, code in (("dvc", 2), ("other", 0)):
        command = ["sh", "-c", "echo; read line", name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            lock.write_text(json.dumps({"write": {"out": {"pid": other.pid, "cmd": "dvc repro"}}, "read": {}}))
            assert main([]) == code
            other.kill()
        assert (f"another DVC, process {other.pid}, runs" in capsys.readouterr().err) is bool(code)
    # It is gone.
    assert main([]) == 0


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_missing_table_is_told_with_what_to_do_where_dvc_failed(
    workspace: Path, params: str, fake_dvc: FakeDvc, capsys: pytest.CaptureFixture[str], enabled: str
) -> None:
    source = "source: {kind: sklearn, name: iris}\n  external_path: data/external"
    own = "source: {kind: file}\n  external_path: data/external/t.csv"
    text = params.replace(source, own).replace("enabled: true", f"enabled: {enabled}")
    (workspace / "params.yaml").write_text(text)
    told = "ERROR: data/external/t.csv is missing; put your table there and run `dvc add data/external/t.csv`.\n"
    # It may not need it.
    assert main([]) == 0
    assert told not in capsys.readouterr().err
    fake_dvc(f"{REPRO}exit 255")
    assert main([]) == 255
    assert told in capsys.readouterr().err


def test_faulty_settings_stop_before_dvc(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "params.yaml").write_text("base: {}\n")
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("ConfigError: params.yaml has ")
    assert not (workspace / "asked").exists()


def test_lock_in_conflict_stops_before_dvc_with_one_line(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "dvc.lock").write_text("<<<<<<< HEAD\n")
    assert main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ConfigError: ")
    assert "dvc.lock" in line


def test_opening_only_prints_the_id_of_a_running_parent(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--open", "--name", "by hand"]) == 0
    (parent,) = runs(open_store(workspace, "pipeline"))
    assert capsys.readouterr().out == f"{parent.info.run_id}\n"
    assert (parent.info.run_name, parent.info.status) == ("by hand", "RUNNING")
    session = Journal(workspace).read_session(f"run-{parent.info.run_id}")
    assert session is not None
    assert (session.run_id, session.closed_by_owner) == (parent.info.run_id, False)
    assert not (workspace / "asked").exists()


@pytest.mark.parametrize("why", ["disabled", "store"])
def test_parent_that_cannot_be_opened_gives_2_and_no_id(
    workspace: Path, params: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    if why == "disabled":
        (workspace / "params.yaml").write_text(params.replace("enabled: true", "enabled: false"))
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://nowhere")
    assert main(["--open"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("TrackingError: ")
