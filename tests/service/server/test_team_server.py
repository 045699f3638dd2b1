"""A server with PostgreSQL, S3 and users: import, sync, pipeline, permissions."""

import json
import math
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import boto3
import psutil
import pytest
import requests

from src.service.server import users
from src.service.server.import_runs import import_store
from tests.pipeline.clone import LAUNCHER, SYNC, Clone, copy_clone, wait_for
from tests.pipeline.test_server import WAITING_LINE
from tests.service.server.conftest import ADMIN_PASSWORD, DATABASE_PASSWORD, S3_SECRET, TeamServer

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

pytestmark = pytest.mark.slow

IMPORT = ("python", "-m", "src.service.server.import_runs")
NEW_PASSWORD = "SERVER_USER_PASSWORD"  # noqa: S105 - the name of a variable
PASSWORDS = {"ann": "ann has a long password", "bob": "bob has another one"}
LOCAL_TAGS = ("import.", "mlflow.modelVersions")


@pytest.fixture(scope="module")
def team_clone(template: Path, tmp_path_factory: pytest.TempPathFactory, team: TeamServer) -> Clone:
    """Return a clone with a registered model and odd runs, whose commands use the server as its administrator."""
    clone = copy_clone(template, tmp_path_factory.mktemp("clone") / "repo")
    decorate(clone)
    clone.env |= {
        "MLFLOW_TRACKING_URI": team.uri,
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": ADMIN_PASSWORD,
    }
    return clone


@pytest.fixture(scope="module")
def imported(team_clone: Clone) -> Clone:
    """Return the clone when the server has its runs, also where the test of the import runs in another process."""
    team_clone.run(*IMPORT)
    return team_clone


@pytest.fixture
def client(team: TeamServer, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":
    from mlflow import MlflowClient

    log_in(monkeypatch, "admin", ADMIN_PASSWORD)
    return MlflowClient(team.uri)


def log_in(monkeypatch: pytest.MonkeyPatch, name: str, password: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)


def decorate(clone: Clone) -> None:
    """Add to the local store what the pipeline itself does not write, but a user may."""
    import mlflow
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    # Registering a model looks it up there.
    mlflow.set_tracking_uri(clone.store)
    client = MlflowClient(clone.store)
    parent = clone.parent()
    other = client.create_run(
        parent.info.experiment_id, start_time=5, tags={"by": "hand, 🙂 <b>"}, run_name="with\thistory"
    )
    history = [Metric("loss", 1 / (step + 1), 10 + step, step) for step in range(1200)]
    for start in range(0, 1200, 400):
        client.log_batch(other.info.run_id, metrics=history[start : start + 400])
    client.log_batch(other.info.run_id, metrics=[Metric("odd", math.nan, 1, 0), Metric("odd", math.inf, 2, 1)])
    client.log_text(other.info.run_id, "é", "a folder/ü.txt")
    client.set_terminated(other.info.run_id, "FAILED", 99)
    deleted = client.create_run(parent.info.experiment_id)
    client.set_terminated(deleted.info.run_id)
    client.delete_run(deleted.info.run_id)
    (model,) = client.search_logged_models([parent.info.experiment_id])
    client.create_registered_model("iris", tags={"team": "flowers"}, description="what we serve")
    for number in range(1, 4):
        client.create_model_version(
            "iris",
            f"models:/{model.model_id}",
            run_id=parent.info.run_id,
            tags={"gate": "passed"},
            description=f"number {number}",
            model_id=model.model_id,
        )
    client.delete_model_version("iris", "2")
    client.set_registered_model_alias("iris", "champion", "3")
    # As MLflow 2 wrote it.
    client.create_registered_model("old")
    client.create_model_version("old", f"{clone.path}/mlruns/1/model", run_id=parent.info.run_id)


def all_runs(client: "MlflowClient") -> "list[Run]":
    from mlflow.entities import ViewType

    experiment = client.get_experiment_by_name("pipeline")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL))


def files_of(place: str, s3: str) -> dict[str, bytes]:
    """Read all artifacts, those of the server from the bucket itself, which is faster."""
    if not place.startswith("mlflow-artifacts:/"):
        folder = Path(place.removeprefix("file://"))
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    keys = {"aws_access_key_id": "team", "aws_secret_access_key": S3_SECRET, "region_name": "us-east-1"}
    bucket = boto3.resource("s3", endpoint_url=s3, **keys).Bucket("mlflow")
    prefix = place.replace("mlflow-artifacts:", "artifacts").rstrip("/") + "/"
    return {each.key.removeprefix(prefix): each.get()["Body"].read() for each in bucket.objects.filter(Prefix=prefix)}


def content(client: "MlflowClient", run: "Run", names: dict[str, str], s3: str) -> dict[str, Any]:
    """Return all that a store knows of a run; ids become what `names` says."""

    def named(text: str) -> str:
        for identity, name in names.items():
            text = text.replace(f"[{identity[:8]}]", f"[{name}]").replace(identity, name)
        return text

    # A search does not find the models of runs.
    run = client.get_run(run.info.run_id)
    info, data = run.info, run.data
    tags = {key: named(value) for key, value in data.tags.items() if not key.startswith(LOCAL_TAGS)}
    experiment = f"experiments/{info.experiment_id}/"
    tags = {key: value.replace(experiment, "experiments/E/") for key, value in tags.items()}
    history = [each for key in data.metrics for each in client.get_metric_history(info.run_id, key)]
    return {
        "info": (info.run_name, info.status, info.start_time, info.end_time, info.user_id, info.lifecycle_stage),
        "params": data.params,
        "tags": tags,
        "metrics": sorted((each.key, repr(each.value), each.timestamp, each.step) for each in history),
        "datasets": sorted(json.dumps(each.to_dictionary(), sort_keys=True) for each in run.inputs.dataset_inputs),
        "models": (
            sorted(named(each.model_id) for each in run.inputs.model_inputs),
            sorted((named(each.model_id), each.step) for each in run.outputs.model_outputs),
        ),
        "artifacts": files_of(info.artifact_uri, s3),
    }


def model_content(model: Any, names: dict[str, str], s3: str) -> dict[str, Any]:
    """Return all that a store knows of a logged model."""
    files = files_of(model.artifact_location, s3)
    text = files["MLmodel"].decode()
    for identity, name in names.items():
        text = text.replace(identity, name)
    return {
        "info": (model.name, model.model_type or None, str(model.status), names.get(model.source_run_id)),
        "tags": {key: value for key, value in model.tags.items() if not key.startswith(LOCAL_TAGS)},
        "params": model.params,
        "metrics": sorted(
            (each.key, each.value, each.timestamp, each.step, names[each.run_id], each.dataset_name)
            for each in model.metrics
        ),
        "files": {
            **{name: data for name, data in files.items() if name != "registered_model_meta"},
            "MLmodel": "\n".join(line for line in text.splitlines() if not line.startswith("artifact_path:")),
        },
    }


def test_import_that_was_killed_continues_and_every_run_is_equal(
    team: TeamServer, team_clone: Clone, client: "MlflowClient", s3: str
) -> None:
    from mlflow import MlflowClient

    local = MlflowClient(team_clone.store)
    n_local = len(all_runs(local))
    process = team_clone.start(*IMPORT)

    def is_halfway() -> bool:
        experiment = client.get_experiment_by_name("pipeline")
        found = client.search_runs([experiment.experiment_id]) if experiment else []
        return any(run.info.status != "RUNNING" for run in found) or process.poll() is not None

    wait_for(is_halfway, 120)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert any(run.info.status == "RUNNING" for run in all_runs(client)), "it was killed too late"

    first = team_clone.run(*IMPORT).stderr
    assert f"of {n_local} runs" in first
    assert "the server refuses old/1, left out: " in first
    assert "To use a local path as a model version source" in first
    with patch.dict(os.environ):
        assert import_store(team_clone.store, team.uri) == {
            "runs": (0, n_local),
            "logged models": (0, 1),
            "registered versions": (0, 3),
        }

    remote_runs = all_runs(client)
    assert len(remote_runs) == n_local
    old = {run.data.tags["import.run_id"]: run for run in remote_runs}
    (local_model,) = local.search_logged_models([team_clone.parent().info.experiment_id])
    (model,) = client.search_logged_models([remote_runs[0].info.experiment_id])
    assert model.tags["import.model_id"] == local_model.model_id
    order = {run_id: f"run {number}" for number, run_id in enumerate(sorted(old))}
    here = order | {local_model.model_id: "model"}
    there = {run.info.run_id: order[run_id] for run_id, run in old.items()} | {model.model_id: "model"}
    for run in all_runs(local):
        assert content(client, old[run.info.run_id], there, s3) == content(local, run, here, s3)
    assert model_content(model, there, s3) == model_content(local_model, here, s3)
    # The numbers, of which one was deleted, and what points to them.
    registered = client.get_registered_model("iris")
    assert (registered.tags, registered.description, dict(registered.aliases)) == (
        {"team": "flowers"},
        "what we serve",
        {"champion": "3"},
    )
    versions = client.search_model_versions("name = 'iris'")
    assert sorted((version.version, version.description) for version in versions) == [
        ("1", "number 1"), ("3", "number 3"),
    ]  # fmt: skip
    champion = client.get_model_version_by_alias("iris", "champion")
    assert champion.source == f"models:/{model.model_id}"
    assert champion.run_id == old[team_clone.parent().info.run_id].info.run_id
    assert champion.tags["gate"] == "passed"

    load = "model = mlflow.pyfunc.load_model('models:/iris@champion'); print(len(model.predict(model.input_example)))"
    assert team_clone.run("python", "-c", f"import mlflow; {load}").stdout == "5\n"


def test_sync_after_an_import_makes_no_run_a_second_time(imported: Clone, client: "MlflowClient") -> None:
    before = {run.info.run_id for run in all_runs(client)}
    assert "completed 0 of 1 sessions" in imported.run(*SYNC).stderr
    assert {run.info.run_id for run in all_runs(client)} == before
    # Nor in the store that they came from.
    local = {run.info.run_id for run in imported.runs()}
    imported.run(*SYNC, MLFLOW_TRACKING_URI="")
    assert {run.info.run_id for run in imported.runs()} == local


def test_two_clones_that_promote_at_once_leave_the_state_of_one(
    imported: Clone, client: "MlflowClient", tmp_path: Path
) -> None:
    other = copy_clone(imported.path, tmp_path / "other")
    other.env = imported.env
    commit = {"git.commit": imported.git("rev-parse", "HEAD"), "gate": "passed"}
    source, run_id = (getattr(client.get_model_version("iris", "3"), name) for name in ("source", "run_id"))
    for number in ("4", "5"):
        made = client.create_model_version("iris", source, run_id, commit, model_id=source.removeprefix("models:/"))
        assert str(made.version) == number
    promote = ("python", "-m", "src.service.registry.promote", "--version")
    # Each is judged again first, since the champion is another than that of its gate.
    processes = {"4": imported.start(*promote, "4"), "5": other.start(*promote, "5")}
    texts = {number: process.communicate(timeout=120)[0] for number, process in processes.items()}
    codes = {number: process.returncode for number, process in processes.items()}
    aliases = dict(client.get_registered_model("iris").aliases)
    champion = aliases["champion"]
    loser = next(number for number in codes if number != champion)
    assert (codes[champion], codes[loser] in (0, 2)) == (0, True), texts
    if codes[loser]:
        last = texts[loser].splitlines()[-1]
        assert last.startswith(f"VersionError: another process made version {champion} of iris the champion")
        assert aliases["previous"] == "3"
    else:
        # One after the other.
        assert aliases["previous"] in ("3", loser)
    assert not [text for text in texts.values() if "Traceback" in text]


def test_server_that_is_stopped_and_started_in_a_pipeline_costs_nothing(
    team: TeamServer, imported: Clone, client: "MlflowClient"
) -> None:
    imported.in_stage("evaluate", WAITING_LINE)
    process = imported.start(*LAUNCHER, "--name", "through a restart")
    wait_for((imported.path / "in_stage").exists, 120)
    assert team.stop() == 0
    team.start()
    (imported.path / "go_on").touch()
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert "WARNING: MLflow" not in output
    (parent,) = client.search_runs(
        [all_runs(client)[0].info.experiment_id], "attributes.run_name = 'through a restart'"
    )
    assert parent.info.status == "FINISHED"
    assert imported.outcomes(parent) == ["unchanged"] * 4 + ["ran"]
    # The runs of skipped stages are those that were imported.
    assert client.get_run(parent.data.tags["stage.train.run_id"]).data.tags["import.run_id"]


def test_stranger_is_refused_and_health_is_open(team: TeamServer) -> None:
    url = f"{team.uri}/api/2.0/mlflow/experiments/search"
    assert requests.post(url, json={"max_results": 1}, timeout=30).status_code == 401
    assert requests.post(url, json={"max_results": 1}, timeout=30, auth=("admin", "wrong")).status_code == 401
    assert requests.get(team.uri, timeout=30).status_code == 401
    assert requests.get(f"{team.uri}/health", timeout=30).text == "OK"
    answer = requests.get(f"{team.uri}/metrics", timeout=30, auth=("admin", ADMIN_PASSWORD))
    assert "mlflow_http_request" in answer.text


def test_reader_reads_and_is_refused_writes_until_granted(
    team: TeamServer,
    imported: Clone,
    client: "MlflowClient",
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    monkeypatch.chdir(imported.path)

    def run_users(*arguments: str, code: int = 0, **env: str) -> str:
        capsys.readouterr()
        log_in = {name: value for name, value in imported.env.items() if name.startswith("MLFLOW_")}
        with patch.dict(os.environ, log_in | env):
            assert users.main(list(arguments)) == code
        output = capsys.readouterr()
        assert not [password for password in PASSWORDS.values() if password in output.out + output.err]
        return output.out + output.err

    run = next(run for run in all_runs(client) if run.info.run_name == "evaluate" and run.info.status == "FINISHED")
    for name, words in (("ann", ["--grant", "read"]), ("bob", ["--admin"])):
        run_users("add", name, *words, **{NEW_PASSWORD: PASSWORDS[name]})
    log_in(monkeypatch, "ann", PASSWORDS["ann"])
    reader = MlflowClient(team.uri)
    assert reader.get_run(run.info.run_id).data.metrics == run.data.metrics
    for write in (
        lambda: reader.log_metric(run.info.run_id, "x", 1),
        lambda: reader.create_run(run.info.experiment_id),
        lambda: reader.delete_run(run.info.run_id),
        lambda: reader.set_registered_model_alias("iris", "champion", "1"),
        lambda: reader.log_text(run.info.run_id, "x", "x.txt"),
    ):
        with pytest.raises((MlflowException, requests.HTTPError), match=r"403|[Pp]ermission"):
            write()
    # What basic auth leaves open.
    reader.create_experiment("of ann")

    run_users("grant", "ann", "--grant", "edit", "pipeline")
    reader.log_metric(run.info.run_id, "x", 1)
    # A second grant replaces the first.
    run_users("grant", "ann", "--grant", "manage", "pipeline")
    listed = run_users("list")
    assert "bob" in listed
    assert f"manage experiment {run.info.experiment_id}" in listed
    assert ["admin", "admin", "everything"] in [line.split() for line in listed.splitlines()]

    run_users("password", "ann", **{NEW_PASSWORD: "ann has a newer password"})
    with pytest.raises(MlflowException, match="401"):
        reader.get_run(run.info.run_id)
    run_users("remove", "ann")
    assert "ann" not in run_users("list")
    refused = run_users("add", "eve", code=2, **{NEW_PASSWORD: "short"})
    assert refused == "TrackingError: the password has 5 characters; MLflow needs at least 12.\n"
    wrong = {"MLFLOW_TRACKING_PASSWORD": "wrong"}
    refused = run_users("list", code=2, **wrong)
    assert len(refused.splitlines()) == 1
    assert "401" in refused
    refused = run_users("grant", "bob", "--grant", "edit", "no such experiment", code=2)
    assert refused.startswith("TrackingError: experiment 'no such experiment' does not exist on http://127.0.0.1:")


def test_secrets_are_in_no_command_line_log_or_file(team: TeamServer) -> None:
    secrets = (ADMIN_PASSWORD, DATABASE_PASSWORD, S3_SECRET, team.settings["MLFLOW_FLASK_SERVER_SECRET_KEY"])
    assert team.process is not None
    family = [psutil.Process(team.process.pid), *psutil.Process(team.process.pid).children(recursive=True)]
    assert len(family) >= 3
    texts = [" ".join(process.cmdline()) for process in family]
    texts += [
        path.read_text() for path in team.folder.rglob("*") if path.is_file() and path.name not in ("server.env",)
        and path.suffix != ".db"
    ]  # fmt: skip
    assert [secret for secret in secrets for text in texts if secret in text] == []


def test_server_ends_with_a_launcher_that_is_killed(team: TeamServer) -> None:
    assert team.process is not None
    family = psutil.Process(team.process.pid).children(recursive=True)
    team.process.kill()
    assert psutil.wait_procs(family, timeout=60)[1] == []
