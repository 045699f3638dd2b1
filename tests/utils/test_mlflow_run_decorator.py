import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.config.load import load_config
from src.config.schema import Config
from src.tracking.recorder import StageRecord
from src.tracking.store import open_store
from src.utils.mlflow_run_decorator import Terminated, mlflow_run
from tests.tracking.workspace import artifacts, runs


@pytest.fixture
def config() -> Config:
    return load_config(Path(__file__).parent / "params.yaml")


def without_tracking(config: Config) -> Config:
    return config.model_copy(update={"tracking": config.tracking.model_copy(update={"enabled": False})})


def stage_that(action: Callable[[], Any]) -> Callable[[Config], StageRecord | None]:
    @mlflow_run
    def data_split(config: Config) -> StageRecord:
        action()
        return StageRecord(metrics={"seed": config.base.random_state})

    return data_split


def ended(root: Path) -> Any:
    (nested,) = runs(open_store(root, "pipeline"), "stage")
    return nested


def fail(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


def test_finished_stage_gives_its_record_and_is_recorded(repository: Path, config: Config) -> None:
    assert stage_that(lambda: None)(config) == StageRecord(metrics={"seed": 42})
    nested = ended(repository)
    assert (nested.info.run_name, nested.info.status, nested.data.metrics) == ("data_split", "FINISHED", {"seed": 42.0})


@pytest.mark.parametrize(
    ("error", "status", "traceback"),
    [
        (ValueError("no"), "FAILED", True),
        (MemoryError(), "FAILED", True),
        (SystemExit(3), "FAILED", True),
        (SystemExit("message"), "FAILED", True),
        (SystemExit(0), "FINISHED", False),
        (SystemExit(None), "FINISHED", False),
        (KeyboardInterrupt(), "KILLED", None),
        (Terminated(), "KILLED", None),
    ],
)
def test_way_that_a_stage_ends_is_recorded_and_passed_on(
    repository: Path, config: Config, error: BaseException, status: str, traceback: bool | None
) -> None:
    with pytest.raises(type(error)) as caught:
        stage_that(fail(error))(config)
    assert caught.value is error
    nested = ended(repository)
    assert (nested.info.status, nested.info.end_time is not None) == (status, True)
    if traceback is not None:
        assert ("traceback.txt" in artifacts(open_store(repository, "pipeline"), nested.info.run_id)) is traceback


def test_traceback_leads_to_the_line_that_failed(repository: Path, config: Config) -> None:
    with pytest.raises(ValueError, match="no such row"):
        stage_that(fail(ValueError("no such row")))(config)
    store = open_store(repository, "pipeline")
    text = Path(store.client.download_artifacts(ended(repository).info.run_id, "traceback.txt")).read_text()
    assert text.startswith("Traceback ")
    assert "in data_split" in text
    assert text.endswith("ValueError: no such row\n")


def test_sigterm_ends_the_stage_as_killed(repository: Path, config: Config) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated):
        stage_that(lambda: os.kill(os.getpid(), signal.SIGTERM))(config)
    assert ended(repository).info.status == "KILLED"
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_ends_the_stage_as_killed(repository: Path, config: Config) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        stage_that(lambda: os.kill(os.getpid(), signal.SIGINT))(config)
    assert ended(repository).info.status == "KILLED"
    assert signal.getsignal(signal.SIGINT) is before


def test_no_handler_of_a_stage_takes_sigterm_for_a_failure() -> None:
    assert not issubclass(Terminated, Exception)


def test_stage_in_a_thread_is_recorded(repository: Path, config: Config) -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(stage_that(lambda: None)(config)))
    thread.start()
    thread.join()
    assert found == [StageRecord(metrics={"seed": 42})]
    assert ended(repository).info.status == "FINISHED"


def test_failing_stage_in_a_thread_is_recorded(repository: Path, config: Config) -> None:
    def target() -> None:
        with pytest.raises(ValueError, match="no"):
            stage_that(fail(ValueError("no")))(config)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    assert ended(repository).info.status == "FAILED"


def test_store_that_fails_never_fails_the_stage(
    repository: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://nowhere")
    assert stage_that(lambda: None)(config) == StageRecord(metrics={"seed": 42})
    with pytest.raises(ValueError, match="no"):
        stage_that(fail(ValueError("no")))(config)
    assert not (repository / "mlruns").exists()


def test_stage_without_tracking_runs_alone(tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_RUN_ID", "0a1b")
    handlers = []
    stage = stage_that(lambda: handlers.append(signal.getsignal(signal.SIGTERM)))
    assert stage(without_tracking(config)) == StageRecord(metrics={"seed": 42})
    assert list(tmp_path.iterdir()) == []
    assert os.environ["MLFLOW_RUN_ID"] == "0a1b"
    assert handlers == [signal.getsignal(signal.SIGTERM)]


def test_failing_stage_without_tracking_fails_alike(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no"):
        stage_that(fail(ValueError("no")))(without_tracking(config))


def test_decorated_stage_keeps_its_name_and_description() -> None:
    def train(_: Config) -> None:
        """Fit."""

    assert (mlflow_run(train).__name__, mlflow_run(train).__doc__) == ("train", "Fit.")
