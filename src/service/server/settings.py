"""Read and check the settings of the tracking server: `server.env`, below the environment."""

import importlib.util
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from src.errors import ConfigError
from src.text import message_of
from src.tracking.store import hide_credentials

if TYPE_CHECKING:
    from sqlalchemy import URL

FILE = "server.env"
# What the server stores by default, in the clone.
FOLDER = "server"
MIN_PASSWORD = 12
INSTALL = "install the extra `server` of pyproject.toml, as `make server` does"
OWN_NAMES = {"SERVER_USERS", "SERVER_TLS_CERTIFICATE", "SERVER_TLS_KEY", "SERVER_TLS_BY_PROXY"}


@dataclass(frozen=True)
class Settings:
    """Settings of the tracking server, under MLflow's own names where it has them.

    Attributes:
        root: The clone.
        values: Settings of `server.env` and the environment.
    """

    root: Path
    values: Mapping[str, str]

    def get(self, name: str, default: str = "") -> str:
        """Return a setting; an empty one counts as missing."""
        return self.values.get(name) or default

    def is_on(self, name: str) -> bool:
        """Return a boolean setting."""
        return self.get(name, "false").lower() in ("true", "1", "yes", "on")

    @property
    def folder(self) -> Path:
        """Folder of the SQLite store, the artifacts and the list of users."""
        return self.root / FOLDER

    @property
    def host(self) -> str:
        """Address to listen on."""
        return self.get("MLFLOW_HOST", "127.0.0.1")

    @property
    def port(self) -> int:
        """Port to listen on."""
        return int(self.get("MLFLOW_PORT", "5000"))

    @property
    def database(self) -> "URL":
        """Database of runs and users, with the driver that the extra `server` installs."""
        from sqlalchemy import make_url

        url = make_url(self.get("MLFLOW_BACKEND_STORE_URI") or f"sqlite:///{self.folder / 'mlflow.db'}")
        is_postgresql = url.drivername in ("postgres", "postgresql")
        return url.set(drivername="postgresql+psycopg") if is_postgresql else url

    @property
    def artifacts(self) -> str:
        """Folder or bucket of artifacts."""
        return self.get("MLFLOW_ARTIFACTS_DESTINATION", str(self.folder / "artifacts"))

    @property
    def has_users(self) -> bool:
        """Whether each request needs a user's name and password."""
        return self.is_on("SERVER_USERS")

    @property
    def tls(self) -> tuple[str, str] | None:
        """Files of the certificate and its key; None for plain HTTP."""
        files = self.get("SERVER_TLS_CERTIFICATE"), self.get("SERVER_TLS_KEY")
        return files if any(files) else None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def address(self) -> str:
        """Address of the server for a client on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"{'https' if self.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def secrets(self) -> list[str]:
        """Values that no log may contain."""
        words = ("PASSWORD", "SECRET", "TOKEN")
        named = {value for name, value in self.values.items() if any(word in name.upper() for word in words)}
        return sorted((value for value in named if len(value) > 3), key=len, reverse=True)

    def environ(self) -> dict[str, str]:
        """Return the environment of MLflow's server, which carries all secrets.

        The password of a database is in PGPASSWORD alone, so that no message and no file can contain it.
        """
        database = self.database
        environ = dict(self.values)
        # They are a client's, and may lead to this very server.
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID"):
            environ.pop(name, None)
        if database.get_backend_name() == "postgresql" and database.password:
            environ["PGPASSWORD"] = str(database.password)
            # `set` ignores None.
            database = database._replace(password=None)
        environ["MLFLOW_BACKEND_STORE_URI"] = database.render_as_string(hide_password=False)
        environ["MLFLOW_ARTIFACTS_DESTINATION"] = self.artifacts
        environ["MLFLOW_DISABLE_TELEMETRY"] = environ["DO_NOT_TRACK"] = "true"
        # Jobs evaluate language models. They would be eight more processes.
        environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        environ["PYTHONUNBUFFERED"] = "1"
        return environ


def read_settings(root: Path) -> Settings:
    """Read `server.env`, if there is one; the environment has precedence.

    Raises:
        ConfigError: The file cannot be read, or has an unknown setting or a line without a value.
    """
    from dotenv import dotenv_values

    path = root / FILE
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {message_of(error)}") from None
    # A password may contain a dollar sign.
    found = dotenv_values(stream=StringIO(text), interpolate=False)
    problems = [f"{FILE}: {name} has no value; write NAME=VALUE" for name, value in found.items() if value is None]
    problems += [
        f"{FILE}: {name} is unknown; choose one of {', '.join(sorted(OWN_NAMES))}, or a variable of MLflow"
        for name in found
        if name.startswith("SERVER_") and name not in OWN_NAMES
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    return Settings(root, {name: value for name, value in found.items() if value is not None} | dict(os.environ))


def check(settings: Settings) -> None:
    """Check all that the server needs.

    Raises:
        ConfigError: Something is missing; one line for each problem.
    """
    if problems := list(_problems(settings)):
        raise ConfigError("\n".join(problems))


def _problems(settings: Settings) -> Iterator[str]:
    yield from _number_problems(settings)
    yield from _package_problems(settings)
    if settings.has_users:
        if not settings.get("MLFLOW_FLASK_SERVER_SECRET_KEY"):
            yield (
                "MLFLOW_FLASK_SERVER_SECRET_KEY is not set, which users need; set it to a random text, for example the "
                'output of `python -c "import secrets; print(secrets.token_hex())"`'
            )
        length = len(settings.get("MLFLOW_AUTH_ADMIN_PASSWORD"))
        if length < MIN_PASSWORD:
            yield (
                f"MLFLOW_AUTH_ADMIN_PASSWORD has {length} characters; MLflow needs at least {MIN_PASSWORD}"
                if length
                else f"MLFLOW_AUTH_ADMIN_PASSWORD is not set; set at least {MIN_PASSWORD} characters"
            )
    yield from _tls_problems(settings)
    if not settings.is_local:
        where = f"MLFLOW_HOST={settings.host} lets other machines reach the server"
        if not settings.has_users:
            yield f"{where} without a password; set SERVER_USERS=true"
        if not settings.get("MLFLOW_SERVER_ALLOWED_HOSTS"):
            yield f"{where}; set MLFLOW_SERVER_ALLOWED_HOSTS to the names of the server, such as mlflow.example.org"
        if not settings.tls and not settings.is_on("SERVER_TLS_BY_PROXY"):
            yield (
                f"{where} without TLS; set SERVER_TLS_CERTIFICATE and SERVER_TLS_KEY, or SERVER_TLS_BY_PROXY=true if a "
                "proxy in front of it encrypts"
            )
    yield from _database_problems(settings)


def _number_problems(settings: Settings) -> Iterator[str]:
    for name, most in (("MLFLOW_PORT", 65_535), ("MLFLOW_WORKERS", 1000)):
        value = settings.get(name, "1")
        if not (value.isascii() and value.isdigit() and 1 <= int(value) <= most):
            yield f"{name} = {value!r} is not a whole number from 1 to {most}"
            return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        # A server that has just ended does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            reason = error.strerror or message_of(error)
            yield f"{settings.host} port {settings.port} cannot be used ({reason}); set MLFLOW_HOST or MLFLOW_PORT"


def _package_problems(settings: Settings) -> Iterator[str]:
    needed = {
        "flask_wtf": ("Flask-WTF", "SERVER_USERS", settings.has_users),
        "boto3": ("boto3", "MLFLOW_ARTIFACTS_DESTINATION", settings.artifacts.startswith("s3:")),
        "prometheus_flask_exporter": (
            "prometheus-flask-exporter",
            "MLFLOW_EXPOSE_PROMETHEUS",
            bool(settings.get("MLFLOW_EXPOSE_PROMETHEUS")),
        ),
    }
    for module, (package, setting, is_needed) in needed.items():
        if is_needed and importlib.util.find_spec(module) is None:
            yield f"the package {package} is missing, which {setting} needs; {INSTALL}"


def _tls_problems(settings: Settings) -> Iterator[str]:
    if settings.tls is None:
        return
    problems = [
        f"{name} = {file} cannot be read" if file else f"{name} is not set; a certificate and its key belong together"
        for name, file in zip(("SERVER_TLS_CERTIFICATE", "SERVER_TLS_KEY"), settings.tls, strict=True)
        if not file or not os.access(settings.root / file, os.R_OK)
    ]
    yield from problems
    if problems:
        return
    try:
        certificate, key = (settings.root / file for file in settings.tls)
        # An empty password instead of a question in the terminal.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        reason = message_of(error)
        yield f"SERVER_TLS_CERTIFICATE and SERVER_TLS_KEY are not a PEM certificate and its key, unencrypted: {reason}"


def _database_problems(settings: Settings) -> Iterator[str]:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    name, raw = "MLFLOW_BACKEND_STORE_URI", settings.get("MLFLOW_BACKEND_STORE_URI")
    try:
        database = settings.database
    except (SQLAlchemyError, ValueError):
        yield f"{name} is not the URI of a database; set for example postgresql://user:password@host/mlflow"
        return
    is_postgresql = database.get_backend_name() == "postgresql"
    if is_postgresql and importlib.util.find_spec("psycopg") is None:
        yield f"the package psycopg is missing, which {name} needs; {INSTALL}"
        return
    if not is_postgresql and database.get_backend_name() == "sqlite" and database.database:
        Path(database.database).parent.mkdir(parents=True, exist_ok=True)
    try:
        engine = create_engine(database, connect_args={"connect_timeout": 5} if is_postgresql else {})
        with engine.connect():
            pass
        engine.dispose()
    # Each driver has its own errors.
    except Exception as error:
        shown = database.render_as_string()
        kind = "is of an unknown kind" if isinstance(error, (NoSuchModuleError, ImportError)) else "does not answer"
        reason = hide_credentials(message_of(error), raw).replace(str(database.password or "\0"), "***")
        yield f"{name}: the database {shown} {kind}: {reason.partition('(Background')[0].strip()[:300]}"
