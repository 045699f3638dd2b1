import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.config.load import load_config
from src.config.schema import Config
from src.tracking.journal import Execution, Journal, Session
from src.tracking.store import Store
from src.utils.mlflow_run_decorator import StageResult, Terminated, mlflow_run
from tests.tracking.support import (
    PARAMS,
    UNREACHABLE,
    list_artifacts,
    read_artifact,
    search,
)

ROOT = Path(__file__).parents[2]
RESULT = StageResult(metrics={"n": {"rows": 4}}, tags={"source": "iris"}, artifacts=[Path("scores.json")])

Stage = Callable[[Config], StageResult | None]


@pytest.fixture
def config(experiment: str, repository: Path) -> Config:
    text = (Path(__file__).parent / "params.yaml").read_text()
    (repository / "config.yaml").write_text(text.replace("experiment_name: pipeline", f"experiment_name: {experiment}"))
    return load_config(repository / "config.yaml")


def without_tracking(config: Config) -> Config:
    return config.model_copy(update={"tracking": config.tracking.model_copy(update={"enabled": False})})


def stage_that(action: Callable[[], Any], result: StageResult | None = RESULT) -> Stage:
    @mlflow_run
    def data_split(_: Config) -> StageResult | None:
        """Split."""
        action()
        return result

    return data_split


def fail(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


def only_execution(root: Path) -> tuple[Session, Execution]:
    (session,) = Journal(root).sessions()
    (execution,) = Journal(root).executions(session.id)
    return session, execution


# --- how a stage ends ---


def test_finished_stage_is_a_nested_run_with_its_settings_and_what_it_returned(
    store: Store, repository: Path, config: Config
) -> None:
    stage = stage_that(lambda: None)
    assert (stage.__name__, stage.__doc__) == ("data_split", "Split.")
    assert stage(config) == RESULT
    (parent,), (nested,) = search(store, "parent"), search(store, "stage")
    assert nested.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (nested.info.run_name, nested.info.status, parent.info.status) == ("data_split", "FINISHED", "RUNNING")
    assert nested.data.params == {"base.target_column": "target", "data_split.size": "0.25"}
    assert (nested.data.metrics, nested.data.tags["source"]) == ({"n.rows": 4.0}, "iris")
    assert list_artifacts(store, nested.info.run_id) == {"scores.json"}
    session, execution = only_execution(repository)
    assert (session.run_id, execution.run_id) == (parent.info.run_id, nested.info.run_id)
    assert (execution.logged, execution.complete, session.complete) == (True, False, False)
    assert session.snapshot is not None
    assert session.snapshot.texts["params.yaml"] == PARAMS


def test_stage_logs_the_duration_of_its_run(repository: Path, config: Config, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "src"):
        stage_that(lambda: logging.getLogger("src.x").warning("careful"))(config)
        stage_that(lambda: None)(without_tracking(config))
    _, execution = only_execution(repository)
    seconds = ((execution.end_time or 0) - execution.start_time) / 1000
    logged = [record.getMessage() for record in caplog.records if "done" in record.getMessage()]
    assert logged == [f"data_split: done in {seconds:.1f} s", "data_split: done in 0.0 s"]
    assert execution.warnings == ["careful"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no such row"), "FAILED"),
        (MemoryError(), "FAILED"),
        (SystemExit(3), "FAILED"),
        (SystemExit("message"), "FAILED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(None), "FINISHED"),
        (KeyboardInterrupt(), "KILLED"),
        (Terminated(), "KILLED"),
    ],
)
def test_way_that_a_stage_ends_is_recorded_and_passed_on(
    store: Store, config: Config, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)) as caught:
        stage_that(fail(error))(config)
    assert caught.value is error
    (nested,) = search(store, "stage")
    assert (nested.info.status, nested.info.end_time is not None) == (status, True)
    assert list_artifacts(store, nested.info.run_id) == (set() if status == "FINISHED" else {"traceback.txt"})
    if isinstance(error, ValueError):
        text = read_artifact(store, nested.info.run_id, "traceback.txt")
        assert text.startswith("Traceback ")
        assert "in data_split" in text
        assert text.endswith("ValueError: no such row\n")


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_signal_ends_the_stage_as_killed_and_handlers_are_restored(
    store: Store, config: Config, number: signal.Signals, error: type[BaseException]
) -> None:
    assert not issubclass(Terminated, Exception)
    before = signal.getsignal(number)
    with pytest.raises(error):
        stage_that(lambda: os.kill(os.getpid(), number))(config)
    assert [run.info.status for run in search(store, "stage")] == ["KILLED"]
    assert signal.getsignal(number) is before


def test_second_signal_does_not_interrupt_the_record(
    store: Store, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, numbers = Journal.write_execution, [signal.SIGINT, signal.SIGTERM]

    def interrupted(journal: Journal, session_id: str, execution: Execution) -> None:
        if execution.status != "RUNNING":
            for number in numbers:
                os.kill(os.getpid(), number)
        write(journal, session_id, execution)

    monkeypatch.setattr(Journal, "write_execution", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stage_that(fail(KeyboardInterrupt()))(config)
    assert stage_that(lambda: None)(config) == RESULT
    assert [run.info.status for run in search(store, "stage")] == ["KILLED", "FINISHED"]


def test_stage_in_a_thread_is_recorded(store: Store, config: Config) -> None:
    thread = threading.Thread(target=lambda: stage_that(lambda: None)(config))
    thread.start()
    thread.join()
    assert [run.info.status for run in search(store, "stage")] == ["FINISHED"]


# --- which parent ---


@pytest.mark.parametrize("fails", [True, False])
def test_stage_is_nested_under_the_run_that_the_environment_names_and_the_variable_is_restored(
    store: Store, config: Config, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    parent_id = store.client.create_run(store.experiment_id).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", parent_id)
    seen = []

    def action() -> None:
        seen.append(os.environ["MLFLOW_RUN_ID"])
        if fails:
            raise SystemExit(1)

    try:
        stage_that(action)(config)
    except SystemExit:
        assert fails
    (nested,) = search(store, "stage")
    assert nested.data.tags["mlflow.parentRunId"] == parent_id
    assert (seen, os.environ["MLFLOW_RUN_ID"]) == ([nested.info.run_id], parent_id)
    assert store.client.get_run(parent_id).info.status == "RUNNING"


def test_files_that_dvc_holds_for_the_stage_are_recorded_with_their_sizes(repository: Path, config: Config) -> None:
    def held(*paths: str) -> dict[str, Any]:
        return {str(repository / path): {"pid": os.getppid(), "cmd": "dvc repro"} for path in paths}

    (repository / ".dvc" / "tmp").mkdir(exist_ok=True)
    lock = {"write": held("own.bin", "own", "gone"), "read": {path: [holder] for path, holder in held("t.csv").items()}}
    (repository / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(lock))

    def write() -> None:
        (repository / "own" / "deep").mkdir(parents=True)
        for name, size in (("own.bin", 10), ("own/a", 1), ("own/deep/b", 2)):
            (repository / name).write_bytes(b"x" * size)

    stage_that(write)(config)
    session, execution = only_execution(repository)
    assert session.id.startswith("dvc-")
    assert (execution.reads, execution.sizes) == (["t.csv"], {"own.bin": 10, "own": 3, "gone": 0})


# --- MLflow inside a stage ---


@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_fluent_functions_and_autologging_of_a_stage_write_to_its_own_run(
    store: Store, config: Config, monkeypatch: pytest.MonkeyPatch, error: ValueError | None
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_RUN_ID", store.client.create_run(store.experiment_id).info.run_id)

    def action() -> None:
        mlflow.log_metric("by_hand", 1.0)
        if error:
            raise error

    for _ in range(2):
        try:
            stage_that(action)(config)
        except ValueError:
            assert error
        # MLflow would end an active run as FINISHED when the process exits.
        assert mlflow.active_run() is None
    nested = search(store, "stage")
    assert {run.data.tags["mlflow.parentRunId"] for run in nested} == {os.environ["MLFLOW_RUN_ID"]}
    expected = {"by_hand": 1.0} if error else {"by_hand": 1.0, "n.rows": 4.0}
    assert [(run.data.metrics, run.info.status) for run in nested] == [
        (expected, "FAILED" if error else "FINISHED")
    ] * 2  # fmt: skip
    assert len(search(store)) == 3


# MLflow's own, where it wraps scikit-learn.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_autologging_inside_a_stage_writes_to_its_own_run(store: Store, config: Config) -> None:
    import mlflow
    from sklearn.linear_model import LogisticRegression

    def action() -> None:
        mlflow.sklearn.autolog(log_models=False, log_datasets=False, silent=True)
        try:
            LogisticRegression(C=0.5).fit([[0.0], [1.0]], [0, 1])
        finally:
            mlflow.sklearn.autolog(disable=True)

    assert stage_that(action)(config) == RESULT
    (nested,) = search(store, "stage")
    assert nested.data.params["C"] == "0.5"
    assert (nested.info.status, nested.data.metrics["n.rows"]) == ("FINISHED", 4.0)
    assert len(search(store)) == 2


# --- failures of the record ---


@pytest.mark.parametrize("uri", ["foo://ann:s3cr3t@nowhere", UNREACHABLE])
def test_store_that_fails_costs_one_warning_and_nothing_of_the_journal(
    repository: Path, config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0a1b")
    with caplog.at_level(logging.WARNING, logger="src"):
        assert stage_that(lambda: None)(config) == RESULT
    (record,) = caplog.records
    assert record.getMessage().startswith("MLflow store ")
    assert not (repository / "mlruns").exists()
    assert "s3cr3t" not in caplog.text
    session, execution = only_execution(repository)
    assert (session.id, session.complete) == ("run-0a1b", False)
    assert (execution.status, execution.run_id, execution.logged) == ("FINISHED", None, False)
    assert (execution.metrics, execution.artifacts) == ({"n.rows": 4.0}, ["scores.json"])
    assert os.environ["MLFLOW_RUN_ID"] == "0a1b"


def test_store_that_is_lost_while_the_stage_runs_costs_one_warning(
    store: Store, repository: Path, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="src"):
        stage_that(lambda: store.client.delete_run(search(store, "stage")[0].info.run_id))(config)
    assert len(caplog.records) == 1
    _, execution = only_execution(repository)
    assert (execution.status, execution.logged) == ("FINISHED", False)


@pytest.mark.parametrize("name", ["params.yaml", "dvc.lock"])
def test_file_that_cannot_be_read_stops_no_stage(
    repository: Path, config: Config, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    (repository / name).write_text("a: [\n")
    with caplog.at_level(logging.WARNING, logger="src"):
        assert stage_that(lambda: None)(config) == RESULT
    assert name in caplog.text


# --- system metrics ---


@pytest.fixture
def monitored(config: Config) -> Config:
    return config.model_copy(update={"tracking": config.tracking.model_copy(update={"system_metrics": True})})


def is_monitored() -> bool:
    return any(thread.name == "SystemMetricsMonitor" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_system_metrics_are_recorded_however_a_stage_ends(
    store: Store, monitored: Config, error: BaseException | None, status: str
) -> None:
    seen = []

    def action() -> None:
        seen.append(is_monitored())
        if error:
            raise error

    try:
        stage_that(action)(monitored)
    except (ValueError, KeyboardInterrupt):
        assert error
    assert (seen, is_monitored()) == ([True], False)
    (nested,) = search(store, "stage")
    assert nested.info.status == status
    expected = {"cpu_utilization_percentage", "system_memory_usage_percentage", "disk_usage_percentage"}
    assert {f"system/{name}" for name in expected} <= nested.data.metrics.keys()
    assert nested.data.metrics.get("n.rows") == (None if error else 4.0)


def test_system_metrics_are_not_recorded_by_default(store: Store, config: Config) -> None:
    seen = []
    stage_that(lambda: seen.append(is_monitored()))(config)
    assert seen == [False]
    assert {name for run in search(store) for name in run.data.metrics} == {"n.rows"}


def test_store_that_is_lost_while_a_monitored_stage_runs_costs_one_warning(
    store: Store, repository: Path, monitored: Config, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="src"):
        stage_that(lambda: store.client.delete_run(search(store, "stage")[0].info.run_id))(monitored)
    assert len(caplog.records) == 1
    assert not is_monitored()
    _, execution = only_execution(repository)
    assert (execution.status, execution.logged) == ("FINISHED", False)


# --- without tracking ---


def test_without_tracking_nothing_is_recorded_or_changed(
    repository: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0a1b")
    handlers: list[object] = []
    stage = stage_that(lambda: handlers.append(signal.getsignal(signal.SIGTERM)))
    assert stage(without_tracking(config)) == RESULT
    with pytest.raises(ValueError, match="no"):
        stage_that(fail(ValueError("no")))(without_tracking(config))
    assert handlers == [signal.getsignal(signal.SIGTERM)]
    assert (os.environ["MLFLOW_RUN_ID"], Journal(repository).sessions()) == ("0a1b", [])


@pytest.mark.usefixtures("config")
def test_without_tracking_mlflow_is_not_imported(repository: Path) -> None:
    text = (repository / "config.yaml").read_text().replace("enabled: true", "enabled: false")
    (repository / "config.yaml").write_text(text)
    code = (
        "import sys; from pathlib import Path; from src.config.load import load_config;"
        "from src.utils.mlflow_run_decorator import mlflow_run;"
        "mlflow_run(lambda config: None)(load_config(Path('config.yaml'))); assert config_of_mlflow is None"
    ).replace("config_of_mlflow", "sys.modules.get('mlflow')")
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-c", code]
    result = subprocess.run(command, cwd=repository, env=environ, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
