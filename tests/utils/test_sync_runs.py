from pathlib import Path

import pytest

from src.tracking.journal import Journal
from src.tracking.store import open_store
from src.utils.sync_runs import main
from tests.tracking.workspace import ended_session, runs


@pytest.fixture
def workspace(root: Path, params: str) -> Path:
    (root / "params.yaml").write_text(params)
    return root


def test_what_is_missing_is_recorded_and_counted(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Journal(workspace).write_session(ended_session(workspace))
    assert main([]) == 0
    assert capsys.readouterr().err == "MLflow is up to date: 1 of 1 sessions needed work\n"
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", "MLflow is up to date: 0 of 1 sessions needed work\n")
    assert len(runs(open_store(workspace, "pipeline"))) == 1


def test_without_tracking_nothing_is_recorded(workspace: Path, params: str, capsys: pytest.CaptureFixture[str]) -> None:
    Journal(workspace).write_session(ended_session(workspace))
    (workspace / "params.yaml").write_text(params.replace("enabled: true", "enabled: false"))
    assert main([]) == 0
    assert "tracking.enabled is false" in capsys.readouterr().err
    session = Journal(workspace).read_session("some")
    assert session is not None
    assert session.run_id is None


@pytest.mark.usefixtures("workspace")
def test_store_that_fails_gives_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://nowhere")
    assert main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("TrackingError: MLflow store foo://nowhere: no such kind of store")


def test_settings_can_be_elsewhere(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "params.yaml").rename(workspace / "other.yaml")
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("ConfigError: params.yaml is missing")
    assert main(["--config", "other.yaml"]) == 0
