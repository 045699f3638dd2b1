import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import pytest

from src.errors import ConfigError, TrackingError
from src.tracking.store import Store, explain, log_traceback, open_store, store_uri, without_password
from tests.tracking.support import UNREACHABLE

ROOT = Path(__file__).parents[2]
HINT = "make sync"
# MLflow is imported once, so that both come to the store at the same time.
OPEN_AT_ONCE = """
import os, sys
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store
from src.tracking.store import open_store

children = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        open_store(Path(sys.argv[1]), "p")
        os._exit(0)
    children.append(pid)
sys.exit(max(os.waitpid(child, 0)[1] for child in children) > 0)
"""


@pytest.fixture
def database(root: Path, empty_database: Path) -> Path:
    """Give the folder of the test a store of its own, without our experiment."""
    return Path(shutil.copy2(empty_database, root / "mlflow.db"))


def read_failure(root: Path) -> str:
    with pytest.raises(TrackingError) as caught:
        open_store(root, "pipeline")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- where it is ---


@pytest.mark.parametrize(
    ("variable", "uri"),
    [
        (None, "sqlite:///{root}/mlflow.db"),
        ("", "sqlite:///{root}/mlflow.db"),
        # Stages of some experiments run in a folder that is deleted.
        ("sqlite:///stores/other.db", "sqlite:///{root}/stores/other.db"),
        ("sqlite:////absolute/other.db", "sqlite:////absolute/other.db"),
        ("sqlite:///other.db?timeout=60", "sqlite:///{root}/other.db?timeout=60"),
        (UNREACHABLE, UNREACHABLE),
        ("postgresql://host/db", "postgresql://host/db"),
    ],
)
def test_store_is_in_the_root_unless_the_environment_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, uri: str
) -> None:
    if variable is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    assert store_uri(tmp_path) == uri.format(root=tmp_path)


@pytest.mark.usefixtures("database")
def test_experiment_is_created_once_and_nothing_goes_to_the_working_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    store = open_store(root, "pipeline")
    assert (os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"], os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) == ("77", "1")
    assert open_store(root, "pipeline").experiment_id == store.experiment_id
    run = store.client.create_run(store.experiment_id)
    store.client.log_text(run.info.run_id, "x", "note.txt")
    assert list(elsewhere.iterdir()) == []
    assert list((root / "mlruns").rglob("note.txt"))
    store.client.delete_experiment(store.experiment_id)
    assert "experiment 'pipeline' was deleted; restore it" in read_failure(root)


def test_two_processes_create_a_store_and_its_folder_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///new folder/mlflow.db")
    command = [sys.executable, "-c", OPEN_AT_ONCE, str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    with closing(sqlite3.connect(tmp_path / "new folder" / "mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM experiments WHERE name = 'p'").fetchone() == (1,)


# --- how it is created ---

OPEN = "import pathlib, sys; from src.tracking.store import open_store; open_store(pathlib.Path(sys.argv[1]), 'p')"


def test_link_whose_target_is_missing_is_refused_and_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (root / "mlflow.db").symlink_to("/nonexistent/team.db")
    with pytest.raises(TrackingError, match=r"mlflow\.db is a link to /nonexistent/team\.db, which is missing"):
        open_store(root, "any")
    assert (root / "mlflow.db").is_symlink()


def test_folder_whose_name_mlflow_cannot_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "a?b%").mkdir()
    with pytest.raises(TrackingError, match=r"contains % and \?, with which MLflow cannot create a store"):
        open_store(tmp_path / "a?b%", "any")
    assert list((tmp_path / "a?b%").iterdir()) == []


def test_creation_that_is_killed_leaves_no_store_and_is_repeated(root: Path) -> None:
    command = [sys.executable, "-c", OPEN, str(root)]
    process = subprocess.Popen(command, cwd=ROOT)
    while not [path for path in root.glob("mlflow.db.partial-*/mlflow.db") if path.stat().st_size > 40_000]:
        assert process.poll() is None
    process.kill()
    process.wait()
    assert not (root / "mlflow.db").exists()
    subprocess.run(command, cwd=ROOT, timeout=120, check=True)
    assert sorted(path.name for path in root.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


@pytest.mark.parametrize(
    "stopped_at",
    [
        "UPDATE alembic_version SET version_num = '2b4d017a5e9b'",
        # Alembic copies a table to change it, and renames the copy.
        "PRAGMA legacy_alter_table = ON; ALTER TABLE experiments RENAME TO _alembic_tmp_experiments",
    ],
)
def test_half_made_store_is_moved_aside_with_one_warning(
    root: Path, database: Path, stopped_at: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript("DELETE FROM experiments")
        connection.executescript(stopped_at)
    content = database.read_bytes()
    assert open_store(root, "pipeline").client.get_experiment_by_name("pipeline")
    (record,) = caplog.records
    assert record.getMessage() == (
        f"MLflow store sqlite:///{database} has no runs, since its creation was stopped; it is now "
        "mlflow.db.half-made, and a new one takes its place"
    )
    assert (root / "mlflow.db.half-made").read_bytes() == content


def test_store_with_tables_of_another_program_keeps_them(root: Path) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE mine (value)")
    open_store(root, "pipeline")
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM mine").fetchone() == (0,)


# --- copied and moved ---


def locations(store: Store, run_id: str) -> list[str]:
    experiment = store.client.get_experiment(store.experiment_id)
    return [experiment.artifact_location, store.client.get_run(run_id).info.artifact_uri]


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("how", ["copied", "moved", "only the database copied"])
def test_copied_or_moved_repository_keeps_its_artifacts(
    root: Path, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / ".dvc").mkdir()
    store = open_store(root, "pipeline")
    run_id, without = (store.client.create_run(store.experiment_id).info.run_id for _ in range(2))
    store.client.log_text(run_id, "x", "note.txt")
    new = tmp_path / "a new 100% place"
    if how == "moved":
        root.rename(new)
    elif how == "copied":
        shutil.copytree(root, new)
    else:
        new.mkdir()
        shutil.copy2(root / "mlflow.db", new)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    caplog.set_level("INFO", "src")
    for _ in range(2):
        moved = open_store(new, "pipeline")
    assert [record.getMessage() for record in caplog.records] == [
        f"this repository was copied or moved: its artifacts are now in {new}/mlruns, no longer in {root}/mlruns"
    ]
    here, there = (new / "mlruns").as_uri(), (root / "mlruns").as_uri()
    of_run = there if how == "only the database copied" else here
    assert locations(moved, run_id) == [here, f"{of_run}/{run_id}/artifacts"]
    assert locations(moved, without) == [here, f"{here}/{without}/artifacts"]
    assert Path(moved.client.download_artifacts(run_id, "note.txt")).read_text() == "x"


@pytest.mark.usefixtures("database")
def test_store_that_clones_share_keeps_the_place_of_its_artifacts(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(root, "pipeline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    shared = open_store(tmp_path / "other", "pipeline")
    experiment = shared.client.get_experiment(shared.experiment_id)
    assert experiment.artifact_location == (root / "mlruns").as_uri()


@pytest.mark.usefixtures("database")
def test_place_of_artifacts_that_a_user_chose_is_kept(root: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    place = (tmp_path / "large disk" / "mlruns").as_uri()
    (tmp_path / "large disk" / "mlruns").mkdir(parents=True)
    MlflowClient(f"sqlite:///{root}/mlflow.db").create_experiment("pipeline", artifact_location=place)
    store = open_store(root, "pipeline")
    assert store.client.get_experiment(store.experiment_id).artifact_location == place


# --- how it fails ---


def test_store_of_another_mlflow_is_named_with_what_to_do(root: Path, database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    message = read_failure(root)
    assert message.startswith(f"MLflow store sqlite:///{database} has the schema of another MLflow")
    assert f"`mlflow db upgrade sqlite:///{database}`" in message
    assert HINT in message


@pytest.mark.parametrize("content", [b"this is no database at all, but text" * 100, b"SQLite format 3\0" + b"x" * 5000])
def test_corrupted_store_is_named_and_left_alone(root: Path, content: bytes) -> None:
    (root / "mlflow.db").write_bytes(content)
    assert read_failure(root).startswith(f"MLflow store sqlite:///{root}/mlflow.db is corrupted; move it away")
    assert (root / "mlflow.db").read_bytes() == content


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://ann:s3cr3t@127.0.0.1:9", "http://***@127.0.0.1:9 cannot be reached; start it"),
        ("foo://host/x", "foo://host/x: unknown kind of store; set MLFLOW_TRACKING_URI to sqlite:///"),
        ("foo+bar://host/x", "foo+bar://host/x: unknown kind of store"),
        ("sqlite:////dev/null/x/mlflow.db", "sqlite:////dev/null/x/mlflow.db failed ("),
    ],
)
def test_store_that_cannot_be_opened_is_explained(
    root: Path, monkeypatch: pytest.MonkeyPatch, uri: str, expected: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    message = read_failure(root)
    assert message.startswith(f"MLflow store {expected}")
    assert "s3cr3t" not in message


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device"), ": the disk is full"),
        (
            PermissionError(13, "Permission denied", "/b/mlruns/0"),
            ": /b/mlruns/0 cannot be written (Permission denied)",
        ),
        (
            OSError(30, "Read-only file system", "/c"),
            ": /c cannot be written (Read-only file system); make it writable",
        ),
        (OSError(30, "Read-only file system"), " is read-only"),
        (sqlite3.OperationalError("attempt to write a readonly database"), " is read-only"),
        (sqlite3.OperationalError("database or disk is full"), ": the disk is full"),
        (RuntimeError("Detected out-of-date database schema (found version 1)"), " has the schema of another MLflow"),
        (RuntimeError("Can't locate revision identified by 'ffff'"), " has the schema of another MLflow"),
        (RuntimeError("database disk image is malformed"), " is corrupted"),
        (RuntimeError("HTTPConnectionPool: Max retries exceeded with url: /api"), " cannot be reached"),
        (ConnectionRefusedError(111, "Connection refused"), " cannot be reached"),
        (RuntimeError("Can't load plugin: sqlalchemy.dialects:foo"), ": unknown kind of store"),
        (RuntimeError("Could not parse SQLAlchemy URL from given URL string"), ": unknown kind of store"),
        (RuntimeError("something\n  unforeseen"), " failed (something unforeseen); run `make sync`"),
        (RuntimeError(), " failed (RuntimeError)"),
        (RuntimeError("x" * 10_000), " failed (" + "x" * 300 + ")"),
    ],
)
def test_each_failure_is_one_line_with_the_store_the_reason_and_what_to_do(error: Exception, expected: str) -> None:
    message = explain(error, "postgresql://host/db")
    assert message.startswith(f"MLflow store postgresql://host/db{expected}")
    assert "\n" not in message
    # What was explained is not explained again.
    assert explain(TrackingError(message), "sqlite:///x") == message
    assert explain(ConfigError("params.yaml: not valid YAML"), "sqlite:///x") == "params.yaml: not valid YAML"


# --- passwords ---

WITH_PASSWORD = [
    ("postgresql+psycopg://ann:s3cr3t@host:5432/db?ssl=yes", "postgresql+psycopg://***@host:5432/db?ssl=***"),
    ("https://s3cr3t@host", "https://***@host"),
    ("https://:s3cr3t@host/path", "https://***@host/path"),
    ("https://ann:s3cr3t@[::1]:5000/", "https://***@[::1]:5000/"),
    # Encoded, as it must be, and not, as it often is; SQLAlchemy accepts all but @.
    ("postgresql://ann:s3cr3t%40x%2Fy@host/db", "postgresql://***@host/db"),
    *((f"postgresql://ann:s3cr3t{letter}x@host/db", "postgresql://***@host/db") for letter in "@/#?["),
    ("postgresql://host/db?user=ann&Password=s3cr3t&ssl=yes", "postgresql://host/db?user=***&Password=***&ssl=***"),
    *(
        (f"http://host/{text}s3cr3t", f"http://host/{text.replace('a=b', 'a=***')}***")
        for text in ("?token=", "?sas=", "?a=b&%74oken=", "#", "?")
    ),
    *((uri, uri) for uri in ("sqlite:////a/mlflow.db", "http://host:5000", "./mlruns", "", "sqlite:///a@b#c.db")),
]


@pytest.mark.parametrize(("uri", "shown"), WITH_PASSWORD)
def test_password_is_shown_neither_in_the_address_nor_in_an_explanation(store: Store, uri: str, shown: str) -> None:
    assert without_password(uri) == Store(store.client, "1", uri).label == shown
    credentials = unquote(uri.partition("://")[2].rpartition("@")[0])
    texts = ["refused", f"no {uri}, {uri}", f"disk full: {uri}", f"connection to {uri}"]
    # A driver may quote it by itself.
    texts += [f"no user {credentials}"] if credentials else []
    assert [text for text in texts if "s3cr3t" in explain(RuntimeError(text), uri)] == []


def test_words_that_are_no_secret_stay_in_an_explanation() -> None:
    uri = "postgresql://host/db?sslmode=require&password=pass"
    message = explain(RuntimeError(f"SSL is required; servers require a password, not pass: {uri}"), uri)
    assert "SSL is required; servers require a password, not ***: postgresql://host/db?sslmode=***&pass" in message


def test_traceback_at_debug_level_shows_no_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "src")
    uri = "http://ann:s3cr3t@host/?sas=t0p-s3cr3t"
    try:
        raise RuntimeError(f"API request to {uri}/api failed; sas is t0p-s3cr3t")
    except RuntimeError as error:
        log_traceback(error, uri)
    assert "RuntimeError: API request to http://***@host/?sas=***/api failed; sas is ***" in caplog.text
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize(
    ("uri", "address"),
    [("http://ann:x@host/", "http://***@host"), ("https://host", "https://host"), ("sqlite:///x", None)],
)
def test_only_a_server_has_a_ui(store: Store, uri: str, address: str | None) -> None:
    assert Store(store.client, "1", uri).ui_address == address
