"""Data, run cache and MLflow's artifacts in S3, on a local server with the S3 API."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.pipeline.clone import Clone
from tests.pipeline.versions import MAKE, add_origin, make, md5s

SECRET = secrets.token_hex(16)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in (("ID", "someone"), ("SECRET", SECRET)):
        monkeypatch.setenv(f"AWS_{'ACCESS_KEY_ID' if name == 'ID' else 'SECRET_ACCESS_KEY'}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", url)
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket="pipeline")
    yield url
    server.stop()


def keys(endpoint: str, prefix: str) -> list[str]:
    listed = boto3.client("s3", endpoint_url=endpoint).list_objects_v2(Bucket="pipeline", Prefix=prefix)
    return [item["Key"] for item in listed.get("Contents", [])]


@pytest.mark.slow
def test_everything_is_stored_in_s3_and_restored(clone: Clone, endpoint: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    clone = Clone(clone.path)
    clone.env["MLFLOW_S3_ENDPOINT_URL"] = endpoint
    add_origin(clone, tmp_path / "origin.git")
    clone.run(*MAKE, "remote", "URL=s3://pipeline/dvc", f"ENDPOINT={endpoint}")
    clone.commit("Keep data in S3")
    # The location of artifacts is a property of the experiment.
    clone.forget_runs()
    MlflowClient(clone.store).create_experiment("pipeline", artifact_location="s3://pipeline/mlflow")
    clone.set_param("train.estimator", "svm")
    clone.launch()
    clone.commit("Run svm")
    clone.git("push", "--quiet", "origin", "main")
    make(clone, "publish", TAG="v1.0.0")
    published = md5s(clone)
    assert any("confusion_matrix.png" in key for key in keys(endpoint, "mlflow/"))
    in_s3 = {key.removeprefix("dvc/files/md5/").replace("/", "") for key in keys(endpoint, "dvc/files/md5/")}
    assert {md5 for path, md5 in published.items() if not path.endswith(".json")} <= in_s3

    other = Clone(tmp_path / "other")
    clone.run("git", "clone", "--quiet", str(tmp_path / "origin.git"), str(other.path))
    make(other, "restore", TAG="v1.0.0")
    assert md5s(other) == published
    assert other.status() == []

    # Results of another clone are restored from its run cache, except those of train and evaluate:
    # DVC does not push metrics that are in git.
    other.edit("dvc.lock", r"(?s)\n  data_split:\n.*?(?=\n  \w+:\n)", "")
    for path in ("train.parquet", "test.parquet"):
        (other.path / "data/processed" / path).unlink()
    other.run("dvc", "fetch", "--run-cache")
    other.launch("--pull")
    assert other.outcomes() == ["unchanged", "unchanged", "restored", "unchanged", "unchanged"]
    assert md5s(other) == published

    for repository in (clone, other):
        written = [path for path in repository.path.rglob("*") if path.is_file() and not path.is_symlink()]
        assert not [path for path in written if SECRET.encode() in path.read_bytes()]


@pytest.mark.thorough
def test_stages_run_on_several_machines(clone: Clone, endpoint: str, tmp_path: Path) -> None:
    clone = Clone(clone.path)
    add_origin(clone, tmp_path / "origin.git")
    clone.run(*MAKE, "remote", "URL=s3://pipeline/dvc", f"ENDPOINT={endpoint}")
    clone.set_param("data_load.rows_per_part", 40)
    clone.run("dvc", "repro", "data_split")
    clone.run("dvc", "push")
    clone.commit("Split the rows")
    clone.git("push", "--quiet", "origin", "main")

    other = Clone(tmp_path / "other")
    clone.run("git", "clone", "--quiet", str(tmp_path / "origin.git"), str(other.path))
    # The results of later stages are not there yet.
    other.run("dvc", "pull", "--allow-missing", "--force", "data/processed/train.parquet")
    other.run("dvc", "repro", "--single-item", "train")
    other.run("dvc", "push")
    other.commit("Train")
    other.git("push", "--quiet", "origin", "main")

    clone.git("pull", "--quiet", "origin", "main")
    clone.run("dvc", "pull", "--allow-missing", "--force")
    ran = clone.run("dvc", "repro").stdout
    assert [
        stage for stage in ("data_load", "data_split", "train", "evaluate") if f"Running stage '{stage}'" in ran
    ] == ["evaluate"]
    assert (other.path / "models/model.joblib").read_bytes() == (clone.path / "models/model.joblib").read_bytes()


def test_nothing_is_published_without_the_bucket(clone: Clone, endpoint: str, tmp_path: Path) -> None:
    add_origin(clone, tmp_path / "origin.git")
    clone.run(*MAKE, "remote", "URL=s3://gone/dvc", f"ENDPOINT={endpoint}")
    clone.commit("Keep data in S3")
    result = make(clone, "publish", code=2, TAG="v1.0.0")
    assert "VersionError: `dvc push` failed" in result.stderr
    assert SECRET not in result.stderr + result.stdout
    assert clone.git("tag") == ""


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("URL", "ssh://me:secret@example.org/data"),
        ("URL", "https://me@example.org/data"),
        ("URL", "https://example.org/data?sas=secret"),
        ("ENDPOINT", "https://me:secret@example.org"),
        ("ENDPOINT", "https://example.org?token=secret"),
    ],
)
def test_password_never_reaches_the_committed_config(clone: Clone, name: str, url: str) -> None:
    before = clone.read(".dvc/config")
    variables = {"URL": "s3://pipeline/dvc", name: url}
    result = clone.run(*MAKE, "remote", *(f"{key}={value}" for key, value in variables.items()), code=2)
    assert f"{name} must not contain credentials" in result.stderr
    assert clone.read(".dvc/config") == before
    assert json.dumps(url) not in before
