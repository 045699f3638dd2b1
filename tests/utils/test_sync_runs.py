from pathlib import Path

import pytest

from src.tracking.journal import Journal
from src.tracking.store import Store
from src.utils.sync_runs import main
from tests.tracking.support import UNKNOWN_STORE, ended_session, search


@pytest.fixture
def journal(root: Path, params: str) -> Journal:
    (root / "params.yaml").write_text(params)
    journal = Journal(root)
    journal.write_session(ended_session(root))
    return journal


@pytest.mark.usefixtures("journal")
def test_missing_sessions_are_recorded_and_counted(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for n_completed in (1, 0):
        assert main([]) == 0
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"MLflow is up to date: completed {n_completed} of 1 sessions\n")
    assert len(search(store)) == 1


def test_nothing_is_recorded_with_tracking_disabled(
    journal: Journal, params: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("params.yaml").write_text(params.replace("enabled: true", "enabled: false"))
    before = journal.sessions()
    assert main([]) == 0
    assert capsys.readouterr().err.startswith("tracking.enabled is false in params.yaml")
    assert journal.sessions() == before


@pytest.mark.usefixtures("journal")
def test_store_that_fails_gives_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", UNKNOWN_STORE)
    assert main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"TrackingError: MLflow store {UNKNOWN_STORE}: unknown kind of store")
