import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.tracking.session import Place
from src.tracking.store import Store, open_store
from tests.pipeline.conftest import build_once
from tests.tracking.workspace import write_repository


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with an empty store and a small repository; making them costs 4 s."""

    def build(path: Path) -> None:
        from mlflow import MlflowClient

        (path / "repository").mkdir()
        write_repository(path / "repository")
        MlflowClient(f"sqlite:///{path / 'mlflow.db'}").search_experiments()

    return build_once(tmp_path_factory, "tracking-templates", build)


@pytest.fixture
def root(tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder whose MLflow store has its tables, but no experiment of ours."""
    path = tmp_path / "root"
    path.mkdir()
    shutil.copy2(templates / "mlflow.db", path)
    monkeypatch.chdir(path)
    yield path
    _leave_mlflow()


@pytest.fixture
def repository(tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a repository of the stages `data_split` and `train`, which DVC has run."""
    path = tmp_path / "repository"
    shutil.copytree(templates / "repository", path, symlinks=True)
    shutil.copy2(templates / "mlflow.db", path)
    monkeypatch.chdir(path)
    yield path
    _leave_mlflow()


@pytest.fixture
def store(root: Path) -> Store:
    return open_store(root, "pipeline")


@pytest.fixture
def place(root: Path) -> Place:
    return Place(root, root)


def _leave_mlflow() -> None:
    import mlflow

    while mlflow.active_run():
        mlflow.end_run()
