import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.tracking.journal import Journal
from src.tracking.session import Place
from src.tracking.store import Store, open_store
from tests.tracking.support import write_repository

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an MLflow store without runs; its tables cost 2 s."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "empty.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def shared_database(empty_database: Path) -> Path:
    """Copy the store once for all tests: each uses an experiment of its own."""
    return Path(shutil.copy2(empty_database, empty_database.with_name("shared.db")))


@pytest.fixture(scope="session")
def repository_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "repository"
    write_repository(path)
    return path


@pytest.fixture
def experiment(shared_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Choose the shared store, and a new name for the experiment in it."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared_database}")
    yield f"experiment-{next(_numbers)}"
    while mlflow.active_run():
        mlflow.end_run()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    path = tmp_path / "root"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def repository(tmp_path: Path, repository_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a repository of the stages `data_split` and `train`, which DVC has run."""
    path = tmp_path / "repository"
    shutil.copytree(repository_template, path, symlinks=True)
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def store(request: pytest.FixtureRequest, experiment: str, tmp_path: Path) -> Store:
    """Open an experiment whose artifacts are in the repository or the folder of the test."""
    name = next((name for name in ("repository", "root") if name in request.fixturenames), None)
    return open_store(request.getfixturevalue(name) if name else tmp_path, experiment)


@pytest.fixture
def journal(repository: Path) -> Journal:
    return Journal(repository)


@pytest.fixture
def place(repository: Path) -> Place:
    return Place(repository, repository)
