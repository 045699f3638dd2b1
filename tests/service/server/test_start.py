"""What the server refuses, and how it starts and stops without any setting."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from src.errors import ConfigError
from src.service.server.settings import Settings, check, read_settings
from src.service.server.start import _describe, _write_auth_config
from tests.pipeline.server import free_port
from tests.service.server.conftest import TeamServer

PASSWORD = "p%40ss$word{x}"  # noqa: S105 - of no server


def problems(root: Path, **values: str) -> list[str]:
    values = {"MLFLOW_PORT": str(free_port()), **values}
    try:
        check(Settings(root, values))
    except ConfigError as error:
        return str(error).splitlines()
    return []


def test_nothing_needs_to_be_set(tmp_path: Path) -> None:
    settings = Settings(tmp_path, {})
    assert (settings.host, settings.is_local, settings.has_users) == ("127.0.0.1", True, False)
    assert problems(tmp_path) == []


def test_everything_that_is_missing_is_listed_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        SERVER_USERS="true",
        MLFLOW_HOST="0.0.0.0",  # noqa: S104 - refused
        MLFLOW_AUTH_ADMIN_PASSWORD="short",  # noqa: S106 - refused
        SERVER_TLS_KEY="gone.pem",
        MLFLOW_BACKEND_STORE_URI=f"postgresql://me:{PASSWORD}@127.0.0.1:1/runs",
    )
    assert [line.split(" ")[0] for line in found] == [
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
        "MLFLOW_AUTH_ADMIN_PASSWORD",
        "SERVER_TLS_CERTIFICATE",
        "SERVER_TLS_KEY",
        "MLFLOW_HOST=0.0.0.0",
        "MLFLOW_BACKEND_STORE_URI:",
    ]
    assert not [line for line in found if "word{x}" in line]


def test_address_for_others_needs_users_names_and_tls(tmp_path: Path) -> None:
    host = {"MLFLOW_HOST": "0.0.0.0"}  # noqa: S104 - refused
    assert len(problems(tmp_path, **host)) == 3
    names = {"MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow.example.org", "SERVER_TLS_BY_PROXY": "true"}
    users = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "x", "MLFLOW_AUTH_ADMIN_PASSWORD": "x" * 12, "SERVER_USERS": "true"}
    assert problems(tmp_path, **host, **names, **users) == []


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"psycopg", "boto3", "prometheus_flask_exporter"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else name)
    found = problems(
        tmp_path,
        MLFLOW_BACKEND_STORE_URI="postgresql://me@127.0.0.1:1/runs",
        MLFLOW_ARTIFACTS_DESTINATION="s3://bucket",
        MLFLOW_EXPOSE_PROMETHEUS="metrics",
    )
    assert len(found) == 3
    assert all("is missing, which" in line and "extra `server`" in line for line in found)


@pytest.mark.parametrize("port", ["0", "http", "70000", "-1", "５０００"])
def test_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    assert problems(tmp_path, MLFLOW_PORT=port) == [f"MLFLOW_PORT = {port!r} is not a whole number from 1 to 65535"]


def test_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        (line,) = problems(tmp_path, MLFLOW_PORT=str(other.getsockname()[1]))
    assert "Address already in use" in line


def test_environment_is_above_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "server.env").write_text(f"# ours\nMLFLOW_PORT=1\nMLFLOW_AUTH_ADMIN_PASSWORD='{PASSWORD}'\n")
    monkeypatch.setenv("MLFLOW_PORT", "2")
    settings = read_settings(tmp_path)
    assert settings.port == 2
    assert settings.get("MLFLOW_AUTH_ADMIN_PASSWORD") == PASSWORD
    assert settings.secrets == [PASSWORD]


def test_lines_without_meaning_are_refused(tmp_path: Path) -> None:
    (tmp_path / "server.env").write_text("SERVER_USER=true\nMLFLOW_PORT\n")
    with pytest.raises(ConfigError) as caught:
        read_settings(tmp_path)
    first, second = str(caught.value).splitlines()
    assert first == "server.env: MLFLOW_PORT has no value; write NAME=VALUE"
    assert second.startswith("server.env: SERVER_USER is unknown; choose one of ")


def test_password_of_the_database_is_in_one_variable_only(tmp_path: Path) -> None:
    settings = Settings(tmp_path, {"MLFLOW_BACKEND_STORE_URI": f"postgresql://me:{PASSWORD}@db/runs?sslmode=require"})
    environ = settings.environ()
    assert environ["PGPASSWORD"] == "p@ss$word{x}"
    uri = "postgresql+psycopg://me@db/runs?sslmode=require"
    assert environ["MLFLOW_BACKEND_STORE_URI"] == uri
    settings.folder.mkdir()
    assert "word{x}" not in _write_auth_config(settings, uri).read_text()


def test_passwords_of_database_and_artifacts_are_not_logged(tmp_path: Path) -> None:
    names = ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION")
    settings = Settings(tmp_path, dict.fromkeys(names, f"sftp://me:{PASSWORD}@host/runs"))
    assert "word{x}" not in _describe(settings)


def test_example_has_only_settings_that_are_known(tmp_path: Path) -> None:
    example = Path(__file__).parents[3] / "server.env.example"
    lines = [line.removeprefix("# ") for line in example.read_text().splitlines()]
    settings = [line for line in lines if line.partition("=")[0].isupper() and "=" in line]
    (tmp_path / "server.env").write_text("\n".join(settings))
    assert len(read_settings(tmp_path).get("MLFLOW_SERVER_ALLOWED_HOSTS")) > 5


@pytest.mark.slow
def test_server_with_tls_starts_without_a_database_and_stops_with_its_workers(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], cwd=tmp_path, check=True, capture_output=True
    )
    server = TeamServer(tmp_path, {"SERVER_TLS_CERTIFICATE": "cert.pem", "SERVER_TLS_KEY": "key.pem"})
    server.start()
    assert requests.get(f"{server.uri}/health", verify=tmp_path / "cert.pem", timeout=30).text == "OK"
    assert (tmp_path / "server/mlflow.db").exists()
    assert server.process is not None
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert len(family) >= 2
    assert server.stop() == 0
    assert not [process for process in family if process.is_running()]
    assert server.log.read_text().splitlines()[-1] == "the tracking server has stopped"


@pytest.mark.slow
def test_worker_that_dies_while_starting_ends_the_server_with_its_last_lines(tmp_path: Path) -> None:
    # Prometheus' files cannot be made below a file, which only the workers notice.
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "src.service.server.start"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "MLFLOW_PORT": str(free_port()),
            "MLFLOW_EXPOSE_PROMETHEUS": "file/metrics",
            "A_SECRET": "NotADirectoryError",
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 2
    assert "TrackingError: MLflow's server lost a worker while it started; its last lines:" in done.stderr
    assert "***: [Errno 20] Not a directory" in done.stderr
    assert "NotADirectoryError" not in done.stderr
