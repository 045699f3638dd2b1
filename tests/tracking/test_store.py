import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import pytest

from src.errors import TrackingError
from src.tracking.store import PATIENCE, QUIET, Store, explain, open_store, store_uri, without_password
from tests.tracking.workspace import UNREACHABLE

ROOT = Path(__file__).parents[2]
HINT = "make sync"
# Imported once, so that all of them come to the store at the same time.
OPEN_AT_ONCE = """
import os, sys
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store
from src.tracking.store import open_store

children = []
for _ in range(8):
    pid = os.fork()
    if pid == 0:
        open_store(Path(sys.argv[1]), "p")
        os._exit(0)
    children.append(pid)
sys.exit(max(os.waitpid(child, 0)[1] for child in children) > 0)
"""


def failure(root: Path) -> str:
    with pytest.raises(TrackingError) as caught:
        open_store(root, "pipeline")
    message = str(caught.value)
    assert "\n" not in message
    return message


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


# --- where it is ---


def test_store_is_a_file_in_the_root_unless_the_environment_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert store_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", UNREACHABLE)
    assert store_uri(tmp_path) == UNREACHABLE


def test_relative_store_is_anchored_to_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Stages of some experiments run in a folder that is deleted.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///stores/other.db")
    assert store_uri(tmp_path) == f"sqlite:///{tmp_path}/stores/other.db"


def test_opening_gives_the_experiment_with_artifacts_in_the_root(root: Path, store: Store) -> None:
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.name == "pipeline"
    assert experiment.artifact_location == (root / "mlruns").as_uri()
    assert not (root / "mlruns").exists()


def test_working_folder_does_not_decide_where_anything_goes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    store = open_store(root, "pipeline")
    run = store.client.create_run(store.experiment_id)
    store.client.log_text(run.info.run_id, "x", "note.txt")
    assert list(elsewhere.iterdir()) == []
    assert list((root / "mlruns").rglob("note.txt"))


def test_opening_again_gives_the_same_experiment(root: Path, store: Store) -> None:
    assert open_store(root, "pipeline").experiment_id == store.experiment_id
    assert open_store(root, "another").experiment_id != store.experiment_id


def test_fluent_functions_use_the_open_store(store: Store) -> None:
    import mlflow

    with mlflow.start_run() as run:
        mlflow.log_metric("f1", 0.5)
    assert store.client.get_run(run.info.run_id).data.metrics == {"f1": 0.5}
    assert run.info.experiment_id == store.experiment_id


def test_patience_that_a_user_has_set_stands(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    open_store(root, "pipeline")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    expected = PATIENCE | QUIET | {"MLFLOW_HTTP_REQUEST_TIMEOUT": "77"}
    assert {name: os.environ[name] for name in expected} == expected


def test_store_that_is_not_there_is_made_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new folder" / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    store = open_store(tmp_path, "pipeline")
    assert path.is_file()
    assert store.client.get_experiment(store.experiment_id).name == "pipeline"


@pytest.mark.slow
def test_eight_processes_open_an_empty_store_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_AT_ONCE, str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM experiments WHERE name = 'p'").fetchone() == (1,)


# --- how it fails ---


def test_store_of_a_newer_mlflow_is_named_with_what_to_do(root: Path) -> None:
    execute(root / "mlflow.db", "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    message = failure(root)
    assert message.startswith(f"MLflow store sqlite:///{root}/mlflow.db has the schema of another MLflow")
    assert f"mlflow db upgrade sqlite:///{root}/mlflow.db" in message
    assert HINT in message


@pytest.mark.parametrize("content", [b"this is no database at all, but text" * 100, b"SQLite format 3\0" + b"x" * 5000])
def test_corrupted_store_is_named_and_left_alone(root: Path, content: bytes) -> None:
    (root / "mlflow.db").write_bytes(content)
    message = failure(root)
    assert message.startswith(f"MLflow store sqlite:///{root}/mlflow.db is corrupted; move it away")
    assert HINT in message
    assert (root / "mlflow.db").read_bytes() == content


def test_store_cut_in_the_middle_is_corrupted(root: Path) -> None:
    content = (root / "mlflow.db").read_bytes()
    (root / "mlflow.db").write_bytes(content[: len(content) // 2])
    assert failure(root).startswith(f"MLflow store sqlite:///{root}/mlflow.db is corrupted")


def test_server_that_is_down_is_named_without_its_password(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:s3cr3t@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    message = failure(root)
    assert message.startswith("MLflow store http://***@127.0.0.1:9 cannot be reached; start it")
    assert HINT in message
    assert "s3cr3t" not in message


@pytest.mark.parametrize("uri", ["foo://host/x", "foo+bar://host/x"])
def test_unknown_kind_of_store_lists_the_known(root: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    message = failure(root)
    assert message.startswith(f"MLflow store {uri}: no such kind of store; set MLFLOW_TRACKING_URI to sqlite:///")
    assert "postgresql://" in message


def test_store_in_a_folder_that_cannot_be_made_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/file/mlflow.db")
    message = failure(root)
    assert message.startswith(f"MLflow store sqlite:///{root}/file/mlflow.db failed (")
    assert HINT in message


def test_deleted_experiment_is_named_with_what_to_do(root: Path, store: Store) -> None:
    store.client.delete_experiment(store.experiment_id)
    message = failure(root)
    assert message.startswith(f"MLflow store sqlite:///{root}/mlflow.db: experiment 'pipeline' was deleted; restore it")
    assert "tracking.experiment_name" in message


def test_read_only_database_is_said_to_be_read_only(root: Path) -> None:
    with (
        closing(sqlite3.connect(f"file:{root}/mlflow.db?mode=ro", uri=True)) as connection,
        pytest.raises(sqlite3.OperationalError) as caught,
    ):
        connection.execute("DELETE FROM experiments")
    message = explain(caught.value, "sqlite:////a/mlflow.db")
    assert message.startswith("MLflow store sqlite:////a/mlflow.db is read-only; make it writable")
    assert HINT in message


def test_full_database_is_said_to_be_full(root: Path) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        n_pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {n_pages}")
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("CREATE TABLE large AS SELECT zeroblob(10000000)")
    message = explain(caught.value, "sqlite:////a/mlflow.db")
    assert message.startswith("MLflow store sqlite:////a/mlflow.db: the disk is full; free some space")
    assert HINT in message


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device"), "the disk is full"),
        (PermissionError(13, "Permission denied", "/a/mlflow.db"), "is read-only"),
        (OSError(30, "Read-only file system"), "is read-only"),
        (RuntimeError("Detected out-of-date database schema (found version 1, but expected 2)"), "another MLflow"),
        (RuntimeError("Can't locate revision identified by 'ffff'"), "another MLflow"),
        (RuntimeError("database disk image is malformed"), "is corrupted"),
        (RuntimeError("HTTPConnectionPool: Max retries exceeded with url: /api"), "cannot be reached"),
        (ConnectionRefusedError(111, "Connection refused"), "cannot be reached"),
        (TimeoutError("The read operation timed out"), "cannot be reached"),
        (RuntimeError("Can't load plugin: sqlalchemy.dialects:foo"), "no such kind of store"),
        (RuntimeError("Could not parse SQLAlchemy URL from given URL string"), "no such kind of store"),
        (RuntimeError("something\n  nobody thought of"), "failed (something nobody thought of)"),
        (RuntimeError(), "failed (RuntimeError)"),
        (KeyError("x"), "failed ('x')"),
        (RuntimeError("x" * 10_000), "failed (" + "x" * 300 + ")"),
    ],
)
def test_every_failure_is_one_line_with_the_store_and_the_reason(error: Exception, expected: str) -> None:
    message = explain(error, "postgresql://host/db")
    assert message.startswith("MLflow store postgresql://host/db")
    assert expected in message
    assert "\n" not in message


def test_what_is_explained_already_is_not_explained_again() -> None:
    assert explain(TrackingError("The reason."), "sqlite:///x") == "The reason."


# --- passwords ---

WITH_PASSWORD = [
    ("postgresql://ann:s3cr3t@host:5432/db", "postgresql://***@host:5432/db"),
    ("postgresql+psycopg://ann:s3cr3t@host/db?sslmode=require", "postgresql+psycopg://***@host/db?sslmode=require"),
    ("https://s3cr3t@host", "https://***@host"),
    ("https://:s3cr3t@host/path", "https://***@host/path"),
    ("https://ann:s3cr3t@[::1]:5000/", "https://***@[::1]:5000/"),
    # Percent-encoded, as it must be.
    ("postgresql://ann:s3cr3t%40x%2Fy@host/db", "postgresql://***@host/db"),
    # Not encoded, as it is often written; SQLAlchemy takes all but @.
    ("postgresql://ann:s3cr3t@x@host/db", "postgresql://***@host/db"),
    ("postgresql://ann:s3cr3t/x@host/db", "postgresql://***@host/db"),
    ("postgresql://ann:s3cr3t#x@host/db", "postgresql://***@host/db"),
    ("postgresql://ann:s3cr3t?x@host/db", "postgresql://***@host/db"),
    ("postgresql://ann:s3cr3t[x@host/db", "postgresql://***@host/db"),
]


@pytest.mark.parametrize(("uri", "shown"), WITH_PASSWORD)
def test_address_is_shown_without_its_password(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


def test_password_in_a_query_is_not_shown() -> None:
    shown = without_password("postgresql://host/db?user=ann&password=s3cr3t&sslmode=require")
    assert "s3cr3t" not in shown
    assert "host/db" in shown
    assert "sslmode=require" in shown


@pytest.mark.parametrize(
    "uri", ["sqlite:////a/mlflow.db", "http://host:5000", "postgresql://host/db", "./mlruns", "", "sqlite:///a@b.db"]
)
def test_address_without_a_password_is_shown_as_it_is(uri: str) -> None:
    assert without_password(uri) == uri


@pytest.mark.parametrize("uri", [uri for uri, _ in WITH_PASSWORD])
def test_failure_is_explained_without_the_password(uri: str) -> None:
    credentials = unquote(uri.partition("://")[2].rpartition("@")[0])
    texts = ("refused", f"no {uri}, {uri}", f"disk full: {uri}", f"connection to {uri}", f"no user {credentials}")
    assert [text for text in texts if "s3cr3t" in explain(RuntimeError(text), uri)] == []


def test_host_behind_half_a_password_is_not_shown_with_it() -> None:
    # SQLAlchemy ends the password at the first @.
    error = RuntimeError('could not translate host name "s3cr3t@host" to address')
    assert "s3cr3t" not in explain(error, "postgresql://ann:half@s3cr3t@host/db")


def test_label_of_a_store_is_without_its_password(store: Store) -> None:
    assert Store(store.client, "1", "https://ann:s3cr3t@host").label == "https://***@host"


def test_store_that_was_copied_while_open_can_be_opened(root: Path, store: Store, tmp_path: Path) -> None:
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    shutil.copytree(root, tmp_path / "copy")
    assert open_store(tmp_path / "copy", "pipeline").experiment_id == store.experiment_id
