"""Register, judge, promote and roll back, with real git, DVC and MLflow."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from src.errors import BusyError, ConfigError, TrackingError, VersionError
from src.service.registry.gate import read_aliases
from src.service.registry.list_models import format_models, list_models
from src.service.registry.promote import move, promote
from src.service.registry.register import register
from src.service.registry.registered import open_registered
from src.service.registry.rollback import rollback
from src.tracking.store import Store, open_store
from src.utils.exclusive import exclusive
from src.versions.lineage import trace
from tests.pipeline.clone import Clone
from tests.pipeline.server import free_port

pytestmark = [
    pytest.mark.slow,
    # MLflow's own functions of language models lack the type hints that it asks for.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
]


def store_of(clone: Clone) -> Store:
    return open_store(clone.path, "pipeline")


def versions(clone: Clone) -> dict[int, Any]:
    return {int(each.version): each for each in store_of(clone).client.search_model_versions("name = 'iris'")}


def files_of(clone: Clone, number: int) -> Path:
    store = store_of(clone)
    model_id = versions(clone)[number].source.removeprefix("models:/")
    return Path(store.client.get_logged_model(model_id).artifact_location.removeprefix("file://"))


def test_models_are_registered_judged_promoted_and_rolled_back(clone: Clone) -> None:
    good = register(clone.path, "logreg")
    assert (good.version, good.passed) == ("1", True)
    assert "there is no champion yet" in good.table
    assert promote(clone.path) == "1"

    # A clearly worse model is refused, by name of each check.
    bad = register(clone.path, "dummy")
    assert (bad.version, bad.passed) == ("2", False)
    assert [line.split()[-1] for line in bad.table.splitlines()[1:5]] == ["refused", "passed", "passed", "refused"]
    with pytest.raises(VersionError, match=r"iris/2 did not pass the gate"):
        promote(clone.path, "2")

    # HEAD by default; registering again gives the same version and the same verdict.
    third = register(clone.path)
    assert (third.version, third.passed) == ("3", True)
    assert register(clone.path) == third
    assert promote(clone.path) == "3"
    store = store_of(clone)
    assert read_aliases(store, "iris") == {"champion": "3", "previous": "1"}
    assert rollback(clone.path) == "1"
    assert read_aliases(store, "iris") == {"champion": "1", "previous": "3"}
    assert rollback(clone.path) == "3"

    # Judged when there was no champion, so it is judged again.
    assert versions(clone)[1].tags["gate.champion"] == "none"
    assert promote(clone.path, "1") == "1"
    assert versions(clone)[1].tags["gate.champion"] == "3"

    lineage = trace(clone.path, "models:/iris@previous", "pipeline")
    assert (lineage["registered model"]["version"], lineage["git"]["commit"]) == ("3", clone.git("rev-parse", "svm"))
    with pytest.raises(VersionError, match=r"has no models:/iris/9; `make models` lists all"):
        trace(clone.path, "models:/iris/9", "pipeline")

    tags = versions(clone)[3].tags
    assert tags["git.commit"] == clone.git("rev-parse", "svm")
    assert {"dvc.md5", "data.md5", "dvc.lock"} < set(tags)
    models = list_models(clone.path)
    assert [(each["version"], each["aliases"], each["gate"]) for each in models] == [
        (3, ["previous"], "passed"),
        (2, [], "refused"),
        (1, ["champion"], "passed"),
    ]
    assert format_models(models).splitlines()[3].split()[:4] == ["1", "champion", "test_f1_macro", "0.9346"]
    # The same is in MLflow.
    version = versions(clone)[2]
    assert "| better than the baseline |" in version.description

    # A run is found by its id, and its commit by its results.
    run = next(run for run in clone.parents() if run.info.run_name == "dummy")
    assert register(clone.path, run.info.run_id).version == "2"

    # A champion that is gone or damaged does not keep a new model out.
    (files_of(clone, 1) / "model.skops").write_bytes(b"PK")
    with pytest.raises(VersionError, match=r"^iris/1: its files are damaged or incomplete"):
        open_registered(store, "models:/iris@champion")
    table = register(clone.path).table
    assert "the champion cannot be loaded: iris/1" in table
    store.client.delete_model_version("iris", "1")
    assert "there is no champion yet" in register(clone.path).table
    with pytest.raises(VersionError, match=r"has no alias champion of a registered model 'iris'"):
        open_registered(store, "models:/iris@champion")
    # A model that cannot be loaded itself is refused.
    shutil.rmtree(files_of(clone, 3))
    assert not register(clone.path).passed


def test_registered_model_is_loaded_with_its_own_code(clone: Clone) -> None:
    register(clone.path)
    code = files_of(clone, 1) / "code" / "src" / "featurize" / "features.py"
    code.write_text(code.read_text() + "\nraise ImportError('No module named other', name='other')\n")
    with pytest.raises(VersionError, match=r"^iris/1: its files are damaged .*No module named other"):
        open_registered(store_of(clone), "iris/1")
    code.write_text("import missing_package\n")
    with pytest.raises(VersionError, match=r"^iris/1 needs the package missing_package, which is not installed"):
        open_registered(store_of(clone), "iris/1")


def test_state_that_others_could_not_find_is_refused(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VersionError, match=r"^no model is registered as 'iris'"):
        promote(clone.path)
    with pytest.raises(VersionError, match=r"no previous champion"):
        rollback(clone.path)
    with pytest.raises(VersionError, match=r"has no run"):
        register(clone.path, "0" * 32)
    with pytest.raises(VersionError, match=r"'nope' is not a tag"):
        register(clone.path, "nope")
    clone.set_param("registry.gate.minimum", {"test_f1": 0.5})
    with pytest.raises(VersionError, match=r"params.yaml: not committed; .* then register"):
        register(clone.path)
    clone.commit()
    with pytest.raises(ConfigError, match=r"registry.gate.minimum: 'test_f1' is not a metric .* test_accuracy"):
        register(clone.path)
    clone.set_param("registry.gate.minimum", {"test_f1_macro": 0.99, "test_log_loss": 0.5})
    clone.set_param("registry.model_name", "o'dd \"<b>|é@x")
    clone.commit()
    # A support vector machine has no probabilities, and no log loss.
    judged = register(clone.path, "logreg")
    assert not judged.passed
    assert [line.split()[-1] for line in judged.table.splitlines()[1:3]] == ["refused", "passed"]
    clone.set_param("train.cv", 4)
    clone.commit()
    with pytest.raises(VersionError, match=r"train: stale or not in the cache"):
        register(clone.path)
    # A server that is down has no record to complete.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for command in (list_models, register, promote, rollback):
        with pytest.raises(TrackingError, match=r"cannot be reached; .* then try again\.$"):
            command(clone.path)


def test_version_has_its_git_tag_before_it_becomes_champion(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    register(clone.path, "logreg")
    # An endpoint reads the tags when it finds a new champion.
    clone.git("tag", "v1.0.0", "logreg")
    at_move: list[str | None] = []

    def remember(store: Store, name: str, champion: str, previous: str | None) -> None:
        at_move.append(versions(clone)[int(champion)].tags.get("git.tag"))
        move(store, name, champion, previous)

    monkeypatch.setattr("src.service.registry.promote.move", remember)
    promote(clone.path, "1")
    assert at_move == ["v1.0.0"]


def test_another_process_that_moves_the_alias_is_reported_and_keeps_the_champion(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reference in ("logreg", "svm"):
        register(clone.path, reference)
    store = store_of(clone)
    original = store.client.set_registered_model_alias

    # While a model was compared with the champion, which was none.
    original("iris", "champion", "1")
    with pytest.raises(VersionError, match=r"another process made version 1 of iris the champion"):
        move(store, "iris", "2", None)
    assert read_aliases(store, "iris") == {"champion": "1"}
    move(store, "iris", "1", None)
    assert read_aliases(store, "iris") == {"champion": "1"}

    # Immediately afterwards.
    def overtaken(name: str, alias: str, version: str) -> None:
        original(name, alias, version)
        if alias == "champion":
            original(name, alias, "1")

    monkeypatch.setattr(store.client, "set_registered_model_alias", overtaken)
    with pytest.raises(VersionError, match=r"another process made version 1 of iris the champion"):
        move(store, "iris", "2", "1")
    with exclusive(clone.path, "promote"), pytest.raises(BusyError, match="another `make promote`"):
        promote(clone.path, "2")
