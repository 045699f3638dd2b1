"""Training goes on if a tracking server is down, stops, or does not answer."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.clone import COMPLETE_SECONDS, LAUNCHER, SYNC, Clone, copy_clone, wait_for
from tests.pipeline.server import Server, without_endpoints

WAITING_LINE = (
    'import pathlib, time; pathlib.Path("in_stage").touch(); '
    '[time.sleep(0.05) for _ in iter(pathlib.Path("go_on").exists, True)]'
)
CANNOT_BE_REACHED = (
    "cannot be reached; start it or check MLFLOW_TRACKING_URI, then run `make sync` to complete the record."
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Return a server that has not been started."""
    server = Server(tmp_path / "server")
    yield server
    server.stop()


def warnings(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("WARNING")]


def warnings_of(stage: str, output: str) -> list[str]:
    """List the warnings of a stage, between its command and the next one."""
    part = output.partition(f"> python -m src.stages.{stage} ")[2].partition("> python")[0]
    return warnings(part.partition(f"{stage}: done")[0])


@pytest.mark.slow
def test_server_that_is_down_gives_a_warning_and_gets_all_runs_later(clone: Clone, server: Server) -> None:
    from mlflow import MlflowClient

    clone.set_param("train.estimator", "knn")
    (clone.path / "models/model.joblib").unlink()
    result = clone.launch("--name", "while down", MLFLOW_TRACKING_URI=server.uri)
    warning = f"WARNING: MLflow store {server.uri} {CANNOT_BE_REACHED}"
    assert result.stderr.splitlines()[0] == warning
    # Two from the launcher, at its start and end, and one from each stage that ran.
    assert warnings(result.stderr) == [warning] * 4
    assert clone.status() == []

    server.start()
    clone.run(*SYNC, MLFLOW_TRACKING_URI=server.uri)
    parent, first = clone.parents(server.uri)
    assert (parent.info.run_name, first.info.run_name) == ("while down", "first")
    assert clone.outcomes(parent) == ["unchanged"] * 3 + ["ran"] * 2
    assert clone.outcomes(first) == ["ran"] * 5
    nested = clone.nested(parent, server.uri)
    assert {run.info.status for run in [parent, *nested.values()]} == {"FINISHED"}
    assert set(nested) == {"train", "evaluate"}
    assert parent.data.tags["stage.train.run_id"] == nested["train"].info.run_id
    local = clone.parent()
    assert local.info.run_name == "first"
    assert first.data.metrics == local.data.metrics
    # The server stores artifacts and the model.
    assert parent.info.artifact_uri.startswith("mlflow-artifacts:")
    (artifacts,) = (server.folder / "artifacts").glob(f"*/{parent.info.run_id}")
    assert (artifacts / "artifacts/reports/plots/confusion_matrix.png").stat().st_size
    client = MlflowClient(server.uri)
    models = client.search_logged_models([parent.info.experiment_id])
    assert {model.source_run_id for model in models} >= {nested["train"].info.run_id}
    assert len(list((server.folder / "artifacts").rglob("MLmodel"))) == 2


@pytest.mark.slow
@pytest.mark.thorough
def test_server_that_stops_gives_one_warning_per_stage(clone: Clone, server: Server) -> None:
    server.start()
    clone.in_stage("evaluate", WAITING_LINE)
    process = clone.start(*LAUNCHER, MLFLOW_TRACKING_URI=server.uri)
    wait_for((clone.path / "in_stage").exists)
    server.stop()
    (clone.path / "go_on").touch()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert len(warnings_of("evaluate", output)) == 1
    assert len(warnings(output)) == 2
    assert CANNOT_BE_REACHED in output
    assert clone.status() == []

    server.start()
    assert clone.parent(server.uri).info.status == "RUNNING"
    clone.run(*SYNC, MLFLOW_TRACKING_URI=server.uri)
    parent = next(run for run in clone.parents(server.uri) if run.info.run_name != "first")
    assert (parent.info.status, clone.outcomes(parent)) == ("FINISHED", ["unchanged"] * 4 + ["ran"])
    (evaluated,) = clone.nested(parent, server.uri).values()
    assert evaluated.info.status == "FINISHED"
    assert parent.data.tags["stage.evaluate.run_id"] == evaluated.info.run_id


@pytest.mark.slow
@pytest.mark.thorough
def test_server_of_an_older_mlflow_gets_a_record_without_what_it_lacks(clone: Clone, server: Server) -> None:
    server.start()
    (clone.path / "models/model.joblib").unlink()
    clone.set_param("train.estimator", "knn")
    # Before MLflow 3 there were no logged models.
    with without_endpoints(server, "/logged-models", "/outputs") as uri:
        result = clone.launch(MLFLOW_TRACKING_URI=uri)
        parent = next(run for run in clone.parents(uri) if run.info.run_name != "first")
        nested = clone.nested(parent, uri)
        synced = clone.run(*SYNC, MLFLOW_TRACKING_URI=uri)
    (warning,) = warnings(result.stderr)
    assert warning.startswith(f"WARNING: MLflow store {uri} refused logged models, left out of the record: ")
    assert {name: run.info.status for name, run in nested.items()} == {"train": "FINISHED", "evaluate": "FINISHED"}
    assert (parent.info.status, clone.outcomes(parent)) == ("FINISHED", ["unchanged"] * 3 + ["ran"] * 2)
    assert parent.data.metrics["test_f1_macro"] > 0.5
    assert nested["train"].data.tags["dvc.entry"]
    # The first session's model is refused, too.
    assert len(warnings(synced.stderr)) == 1


@pytest.mark.slow
def test_address_that_does_not_answer_delays_a_stage_for_a_short_time(clone: Clone) -> None:
    def seconds(**env: str) -> tuple[float, str]:
        began = time.monotonic()
        result = clone.stage("evaluate", **env)
        return time.monotonic() - began, result.stderr

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with_silence, output = seconds(MLFLOW_TRACKING_URI=uri)
    clone.set_param("tracking.enabled", False)
    without_tracking, _ = seconds()
    assert warnings(output) == [f"WARNING: MLflow store {uri} {CANNOT_BE_REACHED}"]
    # It is 10 s and the import of MLflow; by its own settings, MLflow would wait for many minutes.
    assert with_silence - without_tracking < 60


@pytest.mark.slow
@pytest.mark.thorough
def test_two_clones_at_once_keep_their_stages_apart(
    clone: Clone, template: Path, tmp_path: Path, server: Server
) -> None:
    server.start()
    other = copy_clone(template, tmp_path / "other")
    for each in (clone, other):
        each.edit("src/report/visualizing.py", r"\Z", "\n# another line\n")
    processes = [each.start("dvc", "repro", MLFLOW_TRACKING_URI=server.uri) for each in (clone, other)]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    wait_for(
        lambda: all(parent.info.status != "RUNNING" for parent in clone.parents(server.uri)), seconds=COMPLETE_SECONDS
    )
    parents = clone.parents(server.uri)
    assert len(parents) == 2
    assert len({parent.data.tags["pipeline.session"] for parent in parents}) == 2
    for parent in parents:
        (evaluated,) = clone.nested(parent, server.uri).values()
        assert clone.outcomes(parent) == ["unchanged"] * 4 + ["ran"]
        assert parent.data.tags["stage.evaluate.run_id"] == evaluated.info.run_id
