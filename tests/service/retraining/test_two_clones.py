"""The whole cycle from two clones, with data, artifacts and models in S3, on a server with PostgreSQL and users."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pandas as pd
import pytest

from src.service.monitoring.monitor import EXIT_DRIFT
from src.service.retraining.loop import TARGET, Load, ask, count_recorded, make_tables, share_right
from tests.pipeline.clone import Clone, fresh_clone, wait_for
from tests.pipeline.versions import MAKE, add_origin, make, md5s
from tests.service.endpoint.running import Running
from tests.service.server.conftest import (
    ADMIN_PASSWORD,
    S3_SECRET,
    TeamServer,
    postgresql,  # noqa: F401 - fixtures
    s3,  # noqa: F401 - a fixture
    team,  # noqa: F401 - a fixture
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

N_WORKERS = 2


@pytest.fixture
def client(team: TeamServer, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":  # noqa: F811 - a fixture
    from mlflow import MlflowClient

    for name, value in log_in(team).items():
        monkeypatch.setenv(name, value)
    return MlflowClient(team.uri)


@pytest.fixture
def endpoints() -> Iterator[list[Running]]:
    started: list[Running] = []
    yield started
    for running in started:
        assert running.stop() == 0


def log_in(team: TeamServer) -> dict[str, str]:  # noqa: F811 - a fixture
    return {
        "MLFLOW_TRACKING_URI": team.uri,
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": ADMIN_PASSWORD,
    }


def keys(s3: str, prefix: str) -> list[str]:  # noqa: F811 - a fixture
    login = {"aws_access_key_id": "team", "aws_secret_access_key": S3_SECRET, "region_name": "us-east-1"}
    bucket = boto3.resource("s3", endpoint_url=s3, **login).Bucket("mlflow")
    return [each.key for each in bucket.objects.filter(Prefix=prefix)]


def test_model_goes_round_from_one_clone_to_another_and_back(
    team: TeamServer,  # noqa: F811 - a fixture
    s3: str,  # noqa: F811 - a fixture
    client: "MlflowClient",
    endpoints: list[Running],
    tmp_path: Path,
) -> None:
    # DVC has the keys of the bucket. MLflow's clients have none: the server passes artifacts on.
    env = log_in(team) | {
        "AWS_ACCESS_KEY_ID": "team", "AWS_SECRET_ACCESS_KEY": S3_SECRET, "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    iris, drifted = make_tables()
    iris.to_csv(tmp_path / "iris.csv", index=False)
    drifted.to_csv(tmp_path / "new.csv", index=False)

    # Ann trains, pushes, registers and promotes.
    ann = fresh_clone(tmp_path / "ann")
    ann.env |= env
    add_origin(ann, tmp_path / "origin.git")
    ann.run(*MAKE, "remote", "URL=s3://mlflow/dvc", f"ENDPOINT={s3}")
    ann.run("python", "-m", "src.new_data", "--file", str(tmp_path / "iris.csv"), "--target", TARGET, "--yes")
    ann.set_param("train.estimator", "logreg")
    ann.set_param("serve.poll_seconds", 1)
    ann.git("add", "data/external/iris.csv.dvc")
    ann.commit("Use iris as a file")
    ann.launch("--name", "first")
    ann.commit("Train")
    ann.git("push", "--quiet", "--set-upstream", "origin", "main")
    ann.run("dvc", "push")
    assert "iris/1: passed" in make(ann, "register").stdout
    make(ann, "promote", VERSION="1")

    # Bob gets all of it, and serves and watches it.
    bob = Clone(tmp_path / "bob")
    ann.run("git", "clone", "--quiet", str(tmp_path / "origin.git"), str(bob.path))
    bob.env |= env
    bob.run("dvc", "pull")
    assert (bob.status(), md5s(bob)) == ([], md5s(ann))
    for clone in (ann, bob):
        options = ("--model", "models:/iris@champion")
        log = tmp_path / f"{clone.path.name}.log"
        endpoints.append(Running(clone.path, *options, log=log, SERVE_API_KEYS="", **env))
        assert endpoints[-1].process.poll() is None, log.read_text()
    commit = bob.git("rev-parse", "HEAD")
    of_ann, of_bob = endpoints
    about = ask(of_bob.port, "/version")
    assert (about["model"], about["commit"], about["model_md5"]) == ("iris/1", commit, md5s(bob)["models/model.joblib"])
    share = share_right(of_bob.port, drifted)
    wait_for(lambda: count_recorded(bob.path) >= len(drifted))
    labels = pd.DataFrame({"id": [f"flower-{row}" for row in range(len(drifted))], TARGET: drifted[TARGET]})
    labels.to_csv(tmp_path / "labels.csv", index=False)
    monitor = ("python", "-m", "src.service.monitoring.monitor", "--labels", str(tmp_path / "labels.csv"))
    assert "'sepal_width'" in bob.run(*monitor, code=EXIT_DRIFT).stdout
    experiment = client.get_experiment_by_name("iris-monitoring")
    assert experiment is not None
    (drift,) = client.search_runs([experiment.experiment_id])
    assert drift.data.metrics["drift"] == 1
    assert keys(s3, f"{drift.info.artifact_uri.replace('mlflow-artifacts:', 'artifacts')}/drift.html")

    # Bob trains with the new rows, and both endpoints follow while they answer.
    row = drifted.drop(columns=TARGET).iloc[0].to_dict()
    loads = [Load(lambda port=each.port: str(ask(port, "/predict", row)["model"])) for each in endpoints]
    with loads[0], loads[1]:
        bob.run("python", "-m", "src.service.retraining.retrain", "--data", str(tmp_path / "new.csv"))
        for each in endpoints:
            wait_for(lambda each=each: each.count('serve_model_workers{model="iris/2"') == N_WORKERS)
        n_answers = [load.models["iris/2"] for load in loads]
        wait_for(lambda: all(load.models["iris/2"] > n for load, n in zip(loads, n_answers, strict=True)))
    assert [load.failures for load in loads] == [[], []]
    for each in endpoints:
        assert each.count("serve_swaps_total") == N_WORKERS
        assert share_right(each.port, drifted) > share + 0.05
        assert "Traceback" not in each.log.read_text()
    assert dict(client.get_registered_model("iris").aliases) == {"champion": "2", "previous": "1"}

    # Ann gets the new version, and can repeat it.
    bob.git("push", "--quiet")
    ann.git("pull", "--quiet")
    ann.run("dvc", "pull")
    assert (ann.status(), md5s(ann).items() - md5s(bob).items()) == ([], set())  # Bob has the pages of monitoring too.
    about = ask(of_ann.port, "/version")
    assert about == ask(of_bob.port, "/version")
    assert about["commit"] == ann.git("rev-parse", "v1.0.0^{commit}") == ann.git("rev-parse", "HEAD")
    assert about["model_md5"] == md5s(ann)["models/model.joblib"]
    assert about["tag"] == "v1.0.0"
    make(ann, "reproduce", RUN="v1.0.0")
    lineage = json.loads(make(ann, "lineage", REF="models:/iris@champion", JSON="1").stdout)
    assert (lineage["registered model"]["version"], lineage["git"]["commit"]) == ("2", about["commit"])

    # Data, models and artifacts are in S3, and secrets nowhere else than in the settings of the server.
    in_s3 = {key.removeprefix("dvc/files/md5/").replace("/", "") for key in keys(s3, "dvc/files/md5/")}
    assert {md5 for path, md5 in md5s(ann).items() if not path.endswith(".json")} <= in_s3
    assert len([key for key in keys(s3, "artifacts/") if key.endswith("/MLmodel")]) == 2
    for clone in (ann, bob):
        assert not (clone.path / "mlflow.db").exists()
        written = [path for path in clone.path.rglob("*") if path.is_file() and not path.is_symlink()]
        content = b"".join(path.read_bytes() for path in written)
        assert not [secret for secret in (S3_SECRET, ADMIN_PASSWORD) if secret.encode() in content]
