"""The endpoint follows the alias of a registered model, with a real registry, under load."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from tests.pipeline.clone import Clone, copy_clone, wait_for
from tests.pipeline.conftest import template  # noqa: F401 - a fixture
from tests.service.endpoint.running import ROW, Load, Running

pytestmark = pytest.mark.slow

OTHER_FEATURES = """
today = add_features

def add_features(X, features):
    return today(X * 0 + 1000, features)
"""
N_WORKERS = 2


class Registry:
    """Versions of a model, made from copies of the files of the logged model."""

    def __init__(self, clone: Clone, folder: Path) -> None:
        self.client = MlflowClient(clone.store)
        self._logged, self._folder = clone.logged_model(), folder
        self.run_id = clone.parent().info.run_id
        (model,) = self.client.search_logged_models([clone.parent().info.experiment_id])
        self.client.create_registered_model("iris")
        self.add(f"models:/{model.model_id}")

    def copy(self, name: str) -> Path:
        return Path(shutil.copytree(self._logged, self._folder / name))

    def add(self, source: str | Path) -> str:
        """Register a version and make it the champion."""
        version = self.client.create_model_version("iris", str(source), self.run_id)
        self.client.set_registered_model_alias("iris", "champion", version.version)
        return str(version.version)


@pytest.fixture(scope="module")
def served(
    template: Path,  # noqa: F811 - a fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Registry, Running]]:
    folder = tmp_path_factory.mktemp("swaps")
    clone = copy_clone(template, folder / "repo")
    clone.set_param("serve.poll_seconds", 0.1)
    clone.set_param("serve.workers", N_WORKERS)
    with pytest.MonkeyPatch.context() as environment:
        # MLflow looks up the source of a version there, whatever the address of its client.
        environment.setenv("MLFLOW_TRACKING_URI", clone.store)
        registry = Registry(clone, folder)
        running = Running(clone.path, "--model", "models:/iris@champion", log=folder / "log")
        assert running.process.poll() is None, running.log.read_text()
        yield registry, running
        assert running.stop() == 0


def test_a_new_champion_takes_over_in_all_workers_without_a_failed_request(served: tuple[Registry, Running]) -> None:
    registry, running = served
    source = registry.copy("new")
    # This code of features is not that of the workspace.
    features = source / "code" / "src" / "featurize" / "features.py"
    features.write_text(features.read_text() + OTHER_FEATURES)
    old = running.predict([ROW])[1]
    with Load(running.port) as load:
        version = registry.add(source)
        wait_for(lambda: running.count(f'serve_model_workers{{model="iris/{version}"') == N_WORKERS)
        wait_for(lambda: f"iris/{version}" in load.models)
    assert load.failed == []
    assert running.count("serve_swaps_total") == N_WORKERS
    new = running.predict([ROW])[1]
    assert (old["model"], new["model"]) == ("iris/1", f"iris/{version}")
    assert new["predictions"] != old["predictions"]


def cut_short(model: Path) -> None:
    file = next(model.glob("*.skops"))
    file.write_bytes(file.read_bytes()[:1000])


def needs_a_package(model: Path) -> None:
    code = model / "code" / "src" / "featurize" / "features.py"
    code.write_text(f"import no_such_package\n{code.read_text()}")


def fails_in_an_unknown_way(model: Path) -> None:
    code = model / "code" / "src" / "featurize" / "features.py"
    code.write_text(f"{code.read_text()}\nraise RuntimeError('broken')\n")


def has_an_example_without_a_column(model: Path) -> None:
    path = model / "input_example.json"
    example = json.loads(path.read_text())
    example["columns"] = [f"old_{name}" for name in example["columns"]]
    path.write_text(json.dumps(example))


def needs_a_type_that_is_not_trusted(model: Path) -> None:
    path = next(model.glob("*.skops"))
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    schema = json.loads(parts["schema.json"])
    schema["__module__"], schema["__class__"] = "subprocess", "Popen"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (parts | {"schema.json": json.dumps(schema).encode()}).items():
            file.writestr(name, content)


def loses_its_files(model: Path) -> None:
    shutil.rmtree(model)


@pytest.mark.parametrize(
    ("break_model", "reason"),
    [
        (cut_short, "damaged"),
        (needs_a_package, "no_such_package"),
        (fails_in_an_unknown_way, "broken"),
        (has_an_example_without_a_column, "does not predict its input example"),
        (loses_its_files, "cannot be read"),
        (needs_a_type_that_is_not_trusted, "the model contains subprocess.Popen, which is not from"),
    ],
)
def test_a_broken_champion_is_refused_once_and_the_old_one_stays(
    served: tuple[Registry, Running], break_model: Any, reason: str
) -> None:
    registry, running = served
    before = running.predict([ROW])[1]
    n_refused, n_logged = running.count("serve_refused_swaps_total"), running.log.read_text().count("is refused")
    source = registry.copy(break_model.__name__)
    break_model(source)
    with Load(running.port) as load:
        version = registry.add(source)
        wait_for(lambda: running.count("serve_refused_swaps_total") == n_refused + N_WORKERS)
        wait_for(lambda: load.models)
    assert (load.failed, load.models) == ([], {before["model"]})
    assert running.predict([ROW])[1]["predictions"] == before["predictions"]
    logged = running.log.read_text()
    assert logged.count("is refused") == n_logged + N_WORKERS
    line = next(line for line in logged.splitlines() if f"version {version} is refused" in line)
    assert reason in line
    assert "Traceback" not in logged


def test_an_alias_that_is_deleted_or_a_registry_that_is_down_leaves_the_model(
    served: tuple[Registry, Running],
) -> None:
    registry, running = served
    before = running.predict([ROW])[1]["model"]
    database = Path(registry.client.tracking_uri.removeprefix("sqlite:///"))
    registry.client.delete_registered_model_alias("iris", "champion")
    wait_for(lambda: running.log.read_text().count("stays: ") >= N_WORKERS)
    assert running.predict([ROW])[1]["model"] == before
    # A new worker loads what the others serve.
    main = psutil.Process(running.process.pid)
    killed = main.children()[0]
    killed.kill()
    wait_for(lambda: killed not in main.children() and len(main.children()) == N_WORKERS)
    wait_for(lambda: running.count(f'serve_model_workers{{model="{before}"') == N_WORKERS)
    hidden = database.rename(database.with_suffix(".hidden"))
    assert running.predict([ROW])[1]["model"] == before
    database.unlink(missing_ok=True)
    hidden.rename(database)
    version = registry.add(registry.copy("back"))
    wait_for(lambda: running.count(f'serve_model_workers{{model="iris/{version}"') == N_WORKERS)
    assert "Traceback" not in running.log.read_text()
