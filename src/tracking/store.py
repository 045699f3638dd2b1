"""Open the MLflow store, with short timeouts, and explain its errors in one line."""

import errno
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from filelock import FileLock

from src.config.url import CREDENTIALS, mask_url, names_secret
from src.errors import PipelineError, TrackingError
from src.text import message_of
from src.tracking import names

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

SYNC_HINT = "run `make sync` to complete the record"
# For what only asks the store, and leaves nothing to complete.
AGAIN_HINT = "try again"

# A server that is down costs a stage at most 10 s. Values that the user has set are kept.
TIMEOUTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Otherwise the client of a tracking server prints a line for each run.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
}
ARTIFACT_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


@dataclass(frozen=True)
class Store:
    """An open store, with the experiment of all runs."""

    client: "MlflowClient"
    experiment_id: str
    uri: str
    left_out: set[str] = field(default_factory=set)  # what `optional` has warned about

    @property
    def label(self) -> str:
        """The URI without its password, for messages."""
        return without_password(self.uri)

    @property
    def ui_address(self) -> str | None:
        """Address of a tracking server's UI; None for a database."""
        return self.label.rstrip("/") if self.uri.startswith(("http://", "https://")) else None

    @contextmanager
    def optional(self, what: str, *, quiet: bool = False) -> Iterator[None]:
        """Leave out of the record what a server refuses, for example because it is older, with one warning.

        Other errors are raised, so that `make sync` completes the record when the server is up again.

        Args:
            what: Name of what is left out, for the warning.
            quiet: Whether nothing is left out if the server refuses, so that there is no warning.
        """
        try:
            yield
        # MLflow's errors and those of its artifact stores share no base class.
        except Exception as error:
            if self.ui_address is None or not _is_refusal(error):
                raise
            if not quiet and what not in self.left_out:
                self.left_out.add(what)
                reason = _describe(error, self.uri).partition(" Response body")[0]
                logger.warning("MLflow store %s refused %s, left out of the record: %s", self.label, what, reason[:300])


def _is_refusal(error: Exception) -> bool:
    """Return whether a server has no such call, or does not accept its values.

    A server that is down or busy, or that refuses the user, may accept them later.
    """
    from mlflow.exceptions import MlflowException
    from requests import HTTPError

    if isinstance(error, MlflowException):
        status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]  # MLflow has no types
    else:
        status = error.response.status_code if isinstance(error, HTTPError) and error.response is not None else 0
    return status == 501 or (400 <= status < 500 and status not in (401, 403, 408, 429))


def store_uri(root: Path) -> str:
    """Return `MLFLOW_TRACKING_URI`, or by default the URI of `mlflow.db` in the root."""
    uri = os.environ.get(names.MLFLOW_TRACKING_URI) or "sqlite:///mlflow.db"
    path = _sqlite_path(uri)
    return uri.replace("sqlite:///", f"sqlite:///{root}/", 1) if path and not path.is_absolute() else uri


def open_store(root: Path, experiment_name: str, then: str = SYNC_HINT) -> Store:
    """Open the store, and create it and the experiment on first use.

    Args:
        root: Root of the main repository, to which paths are relative.
        then: What an error asks the user to do when the store works again.

    Raises:
        TrackingError: The store cannot be read or written.
    """
    uri, artifacts = store_uri(root), (root / "mlruns").as_uri()
    special = " and ".join(sorted(set(str(root)) & set("?#%")))
    if special and not os.environ.get(names.MLFLOW_TRACKING_URI) and not (root / "mlflow.db").exists():
        raise TrackingError(f"{root} contains {special}, with which MLflow cannot create a store; rename the folder.")
    os.environ |= {**TIMEOUTS, **QUIET, **os.environ}
    try:
        with _locked(uri):
            path = _sqlite_path(uri)
            is_made = path is None or _is_made(path)
            import mlflow

            # Errors are raised too, and reported in one line; logged tracebacks would hide it.
            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
            if path and path.is_symlink() and not path.exists():
                raise TrackingError(f"{path} is a link to {path.readlink()}, which is missing; remove the link.")
            if path and not is_made:
                _create_sqlite(path, artifacts)
            elif path and path.is_relative_to(root):
                _anchor(path, artifacts)
            mlflow.set_tracking_uri(uri)
            client = mlflow.MlflowClient(uri)
            experiment_id = _experiment_id(client, uri, experiment_name, artifacts, then)
            mlflow.set_experiment(experiment_id=experiment_id)
    # MLflow raises errors of SQLAlchemy, requests and alembic, which share no base class.
    except Exception as error:
        raise TrackingError(explain(error, uri, then)) from error
    return Store(client, experiment_id, uri)


def without_password(uri: str) -> str:
    """Mask the credentials of a URI, and the values of its parameters."""
    return mask_url(uri)


def explain(error: BaseException, uri: str, then: str = SYNC_HINT) -> str:
    """Describe an error of the store in one line: which store, why, and what to do; last of all `then`."""
    if isinstance(error, PipelineError):
        return str(error)
    text = _describe(error, uri)
    where = f"MLflow store {without_password(uri)}"
    lower = text.lower()
    if "no space" in lower or "disk is full" in lower or "disk full" in lower:
        return f"{where}: the disk is full; free some space, then {then}."
    if isinstance(error, OSError) and error.filename and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        # It may be a folder of artifacts, while the store itself is writable.
        return (
            f"{where}: {error.filename} cannot be written ({error.strerror}); make it writable or set "
            f"MLFLOW_TRACKING_URI to another store, then {then}."
        )
    if "readonly" in lower or "read-only" in lower or isinstance(error, PermissionError):
        return f"{where} is read-only; make it writable or set MLFLOW_TRACKING_URI to another, then {then}."
    if "out-of-date database schema" in lower or "can't locate revision" in lower:
        return (
            f"{where} has the schema of another MLflow; install that version, or run `mlflow db upgrade {where[13:]}` "
            f"on a copy, then {then}."
        )
    if "not a database" in lower or "malformed" in lower:
        return f"{where} is corrupted; move it away, then run `make sync` to rebuild the record."
    if "max retries" in lower or "connection" in lower or "timed out" in lower:
        return f"{where} cannot be reached; start it or check MLFLOW_TRACKING_URI, then {then}."
    if "scheme" in lower or "registry" in lower or "could not parse" in lower or "can't load plugin" in lower:
        return f"{where}: unknown kind of store; set MLFLOW_TRACKING_URI to sqlite:///…, postgresql://… or http(s)://…."
    return f"{where} failed ({text[:300]}); {then}."


def _describe(error: BaseException, uri: str) -> str:
    """Return the message of an error in one line, without the credentials of the store."""
    return hide_credentials(message_of(error), uri)


def hide_credentials(text: str, uri: str) -> str:
    """Mask the credentials of a store in a text, also where a driver quotes them by themselves."""
    text = text.replace(uri, mask_url(uri))
    parameters = [part.partition("=") for part in re.split("[?&;#]", uri.partition("://")[2])[1:]]
    # Of other parameters, such as sslmode=require, the value is a word that an error may contain.
    values = {value or name for name, is_named, value in parameters if not is_named or names_secret(name)}
    for value in sorted({*values, *map(unquote, values)} - {""}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "***", text)
    secrets = set()
    if found := CREDENTIALS.search(uri):
        # Decoded, without the user, or as part of a misread host.
        secrets = {found[0][:-1], found[0][:-1].partition(":")[2], *found[0][:-1].split("@")}
    for secret in sorted({*secrets, *map(unquote, secrets)} - {""}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def log_traceback(error: BaseException, uri: str) -> None:
    """Log the traceback of an error at DEBUG, without the credentials of the store."""
    logger.debug("tracking failed\n%s", hide_credentials("".join(traceback.format_exception(error)), uri))


@contextmanager
def _locked(uri: str) -> Iterator[None]:
    """Let one process at a time open a SQLite store; two that create it at once break it."""
    path = _sqlite_path(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=60):
        yield


def _sqlite_path(uri: str) -> Path | None:
    path = uri.partition("sqlite:///")[2].partition("?")[0]
    return Path(path) if path and path != ":memory:" else None


def _is_made(path: Path) -> bool:
    """Return whether a SQLite file has MLflow's tables, of which the first experiment is the last part.

    Fails at once for a corrupted or read-only file, or a full disk, where MLflow would retry for a minute.
    """
    if not path.exists():
        return False
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        tables = _tables(connection)
        found = connection.execute("SELECT 1 FROM experiments LIMIT 1").fetchall() if "experiments" in tables else []
        connection.rollback()
    # Other tables are another program's, and MLflow adds its own.
    return bool(found) or (bool(tables) and not tables & {"experiments", "_alembic_tmp_experiments"})


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _create_sqlite(path: Path, artifacts: str) -> None:
    """Create MLflow's tables in a temporary file: a file that has only some of them is of no use to MLflow."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    prefix = f"{path.name}.partial-"
    # A process that was killed leaves its folder.
    for left in path.parent.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as folder:
        partial = Path(folder, path.name)
        SqlAlchemyStore(f"sqlite:///{partial}", artifacts).engine.dispose()  # type: ignore[no-untyped-call]  # as above
        if path.exists():
            aside = path.with_name(f"{path.name}.half-made")
            path.replace(aside)
            logger.warning(
                "MLflow store sqlite:///%s has no runs, since its creation was stopped; it is now %s, and a new one "
                "takes its place", path, aside.name,
            )  # fmt: skip
        partial.replace(path)


def _anchor(path: Path, artifacts: str) -> None:
    """Correct the places of artifacts, which MLflow stores as absolute paths, if the repository was copied or moved.

    A run or model whose artifacts are only in the old place keeps it.
    """
    with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        query = "SELECT DISTINCT artifact_location FROM experiments"
        query += " WHERE artifact_location LIKE 'file:///%/mlruns' AND artifact_location != ?"
        tables = _tables(connection)
        for (old,) in connection.execute(query, [artifacts]).fetchall() if "experiments" in tables else ():
            if _path_of(old).exists() and not (_path_of(old).parent / ".dvc").exists():
                # No clone: the user has chosen this place.
                continue
            for table, column in [place for place in ARTIFACT_PLACES if place[0] in tables]:
                query = f"SELECT rowid, {column} FROM {table} WHERE substr({column}, 1, ?) = ?"  # noqa: S608 - constants
                for row, place in connection.execute(query, [len(old), old]).fetchall():
                    new = artifacts + place[len(old) :]
                    if table == "experiments" or _path_of(new).exists() or not _path_of(place).exists():
                        query = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"  # noqa: S608 - constants
                        connection.execute(query, [new, row])
            logger.info("this repository was copied or moved: its artifacts are now in %s, no longer in %s",
                        _path_of(artifacts), _path_of(old))  # fmt: skip


def _path_of(uri: str) -> Path:
    return Path(unquote(uri.removeprefix("file://")))


def _experiment_id(client: "MlflowClient", uri: str, name: str, artifacts: str, then: str) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # A server chooses the location; the default of a database is the working folder.
        location = None if uri.startswith(("http://", "https://")) else artifacts
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:
            # Another process may have created it meanwhile.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        raise TrackingError(
            f"MLflow store {without_password(uri)}: experiment {name!r} was deleted; restore it in the UI or set "
            f"tracking.experiment_name to another, then {then}."
        )
    return str(experiment.experiment_id)
