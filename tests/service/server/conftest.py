"""A tracking server as a team runs it: PostgreSQL, S3 and users, each a real process on loopback."""

import logging
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.pipeline.clone import ROOT, wait_for
from tests.pipeline.conftest import template  # noqa: F401 - a fixture
from tests.pipeline.server import free_port

ADMIN_PASSWORD, DATABASE_PASSWORD, S3_SECRET = (secrets.token_hex(12) for _ in range(3))


def postgresql_programs() -> Path | None:
    """Find PostgreSQL's server programs, which Debian keeps out of PATH, by version."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found := shutil.which("initdb"):
        folders.append(Path(found).resolve().parent)
    return max(folders, key=lambda folder: [int(part) for part in folder.parts if part.isdigit()], default=None)


class TeamServer:
    """`make server` in a folder, which can be stopped and started again."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.settings = {"MLFLOW_PORT": str(free_port()), "MLFLOW_WORKERS": "1", **settings}
        scheme = "https" if "SERVER_TLS_KEY" in settings else "http"
        self.uri = f"{scheme}://127.0.0.1:{self.settings['MLFLOW_PORT']}"
        lines = [f'{name}="{value}"\n' for name, value in self.settings.items()]
        (folder / "server.env").write_text("".join(lines))
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "src.service.server.start"],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
        wait_for(
            lambda: b"is up at" in self.log.read_bytes() or (self.process and self.process.poll() is not None), 180
        )
        assert self.process.poll() is None, self.log.read_text()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.log.write_text(self.log.read_text().replace("is up at", "was up at"))
        return code


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """Start PostgreSQL, which refuses to run as root, and return the URI of a database."""
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    options = {}
    if os.getuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("there is no user postgres, and PostgreSQL refuses to run as root")
        options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    # Not below pytest's folder, which other users cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir="/tmp"))
    password = folder / "password"
    password.write_text(DATABASE_PASSWORD)
    if options:
        for path in (folder, password):
            os.chown(path, options["user"], options["group"])  # type: ignore[arg-type]  # values of several types
    port = free_port()

    def run(*command: object) -> None:
        done = subprocess.run(
            [str(word) for word in command], cwd=folder, check=False, capture_output=True, text=True, **options
        )  # type: ignore[call-overload]  # values of several types
        assert done.returncode == 0, done.stdout + done.stderr

    data = folder / "data"
    run(programs / "initdb", "--pgdata", data, "--username", "mlflow", "--pwfile", password, "--auth", "scram-sha-256")
    server = subprocess.Popen(
        [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **options,
    )  # type: ignore[call-overload]  # values of several types
    wait_for(
        lambda: subprocess.run([programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode == 0
    )
    yield f"postgresql://mlflow:{DATABASE_PASSWORD}@127.0.0.1:{port}/postgres"
    server.send_signal(signal.SIGINT)
    server.wait(60)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    # It logs each request.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, aws_access_key_id="team", aws_secret_access_key=S3_SECRET, region_name="us-east-1"
    )
    client.create_bucket(Bucket="mlflow")
    yield url
    server.stop()


@pytest.fixture(scope="module")
def team(postgresql: str, s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeamServer]:
    """Start a server with PostgreSQL, S3, users and Prometheus."""
    server = TeamServer(
        tmp_path_factory.mktemp("team"),
        {
            "MLFLOW_BACKEND_STORE_URI": postgresql,
            "MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow/artifacts",
            "MLFLOW_S3_ENDPOINT_URL": s3,
            "AWS_ACCESS_KEY_ID": "team",
            "AWS_SECRET_ACCESS_KEY": S3_SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "SERVER_USERS": "true",
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
            "MLFLOW_EXPOSE_PROMETHEUS": "server/metrics",
        },
    )
    server.start()
    yield server
    with suppress(AssertionError):
        server.stop()
