"""Start the tracking server: `python -m src.service.server.start`."""

import logging
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from src.atomic import atomic_path
from src.errors import TrackingError
from src.service.server.settings import Settings, check, read_settings
from src.tracking.store import without_password
from src.utils.command import command
from src.utils.start_ui import answers, ended_by_signals

logger = logging.getLogger(__name__)

# PostgreSQL's tables take a while at the first start, on a busy machine.
START_SECONDS = 180.0
# MLflow's server ends its workers, which finish what they answer.
END_SECONDS = 15.0
N_LAST_LINES = 15
# uvicorn starts a worker that died again and again, while the server seems to run.
DIED = re.compile(r"Child process \[\d+\] (died|failed to start)")


@command
def main() -> int:
    """Start the tracking server, report that it is up once it answers, and stop it with Ctrl-C or SIGTERM."""
    settings = read_settings(Path.cwd())
    check(settings)
    settings.folder.mkdir(exist_ok=True)
    try:
        with ended_by_signals(), _serving(settings) as (server, lines):
            _wait_until_it_answers(settings, server, lines)
            sys.stdout.write(f"{settings.address}\n")
            sys.stdout.flush()
            logger.info("the tracking server is up at %s, with %s", settings.address, _describe(settings))
            code = server.wait()
            raise TrackingError(f"MLflow's server ended with exit code {code}; its last lines:\n{lines.last()}")
    except KeyboardInterrupt:
        logger.info("the tracking server has stopped")
    return 0


def _describe(settings: Settings) -> str:
    users = "users" if settings.has_users else "no users: anyone who reaches it may do anything"
    database, artifacts = settings.database.render_as_string(), without_password(settings.artifacts)
    return f"runs in {database}, artifacts in {artifacts}, and {users}"


def _command(settings: Settings) -> list[str]:
    """Return the command, which anyone on the machine can see: the environment has what is secret."""
    workers = settings.get("MLFLOW_WORKERS", "2")
    options = ["--host", settings.host, "--port", str(settings.port), "--workers", workers]
    uvicorn = "--no-access-log"
    if settings.tls:
        certificate, key = (shlex.quote(str(settings.root / file)) for file in settings.tls)
        uvicorn += f" --ssl-certfile {certificate} --ssl-keyfile {key}"
    options += ["--uvicorn-opts", uvicorn, "--serve-artifacts"]
    if settings.has_users:
        options += ["--app-name", "basic-auth"]
    return [sys.executable, "-m", "mlflow", "server", *options]


def _write_auth_config(settings: Settings, database: str) -> Path:
    """Write MLflow's configuration of users, without any password, and return its path."""
    path = settings.folder / "basic_auth.ini"
    lines = {
        "default_permission": "READ",
        # Beside the runs, so that one backup has both. It has no password, see `Settings.environ`.
        "database_uri": database.replace("%", "%%"),
        "admin_username": "admin",
        # A password is hashed slowly on purpose, about 70 ms a request; MLflow does that each time by default.
        "auth_cache_ttl_seconds": "10",
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    with atomic_path(path) as partial:
        partial.write_text("".join(["[mlflow]\n", *(f"{name} = {value}\n" for name, value in lines.items())]))
    return path


class _Lines:
    """The log of the server, without secrets: to stderr, and its end to keep."""

    def __init__(self, stream: IO[bytes], secrets: list[str]) -> None:
        self._secrets = secrets
        self._kept: deque[str] = deque(maxlen=N_LAST_LINES)
        self.deaths: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            text = line.decode(errors="replace").rstrip()
            for secret in self._secrets:
                text = text.replace(secret, "***")
            self._kept.append(text)
            if DIED.search(text):
                self.deaths.put(text)
            # A log that cannot be written must not stop the server.
            with suppress(OSError, ValueError):
                sys.stderr.write(f"{text}\n")
                sys.stderr.flush()

    def last(self) -> str:
        """Return the last lines, once the server has ended."""
        self._thread.join(END_SECONDS)
        return "\n".join(self._kept)


@contextmanager
def _serving(settings: Settings) -> Iterator[tuple["subprocess.Popen[bytes]", _Lines]]:
    """Run MLflow's server in a process group of its own, and end the whole group."""
    environ = settings.environ()
    if settings.has_users and not settings.get("MLFLOW_AUTH_CONFIG_PATH"):
        environ["MLFLOW_AUTH_CONFIG_PATH"] = str(_write_auth_config(settings, environ["MLFLOW_BACKEND_STORE_URI"]))
    server = subprocess.Popen(
        _command(settings),
        cwd=settings.root,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert server.stdout is not None  # noqa: S101 - it is a pipe
    # Its input ends with this process, even after SIGKILL, which would leave the server and its workers.
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; kill -s TERM -- "-$0"', str(server.pid)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield server, _Lines(server.stdout, settings.secrets)
    finally:
        _end(server)
        watcher.kill()
        watcher.wait()


def _end(server: "subprocess.Popen[bytes]") -> None:
    # A second Ctrl-C must not leave workers.
    with suppress(KeyboardInterrupt), suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _wait_until_it_answers(settings: Settings, server: "subprocess.Popen[bytes]", lines: _Lines) -> None:
    end = time.monotonic() + START_SECONDS
    reason = f"does not answer after {START_SECONDS:.0f} s"
    while time.monotonic() < end:
        if (code := server.poll()) is not None:
            reason = f"ended with exit code {code} while it started"
            break
        if not lines.deaths.empty():
            reason = "lost a worker while it started"
            break
        if answers(settings.address):
            return
        time.sleep(0.1)
    _end(server)
    raise TrackingError(f"MLflow's server {reason}; its last lines:\n{lines.last()}")


if __name__ == "__main__":
    sys.exit(main())
