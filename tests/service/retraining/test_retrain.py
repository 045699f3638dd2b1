"""Retraining in a real clone, with a registry whose gate the test decides."""

import logging
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from src.errors import BusyError, DataError, PipelineError, VersionError
from src.service.registry.gate import PASSED, REFUSED, Check, Verdict
from src.service.retraining import retrain as retrain_module
from src.service.retraining.retrain import find_next_version, retrain
from src.utils.exclusive import exclusive
from tests.pipeline.clone import Clone, copy_clone, signal_group
from tests.pipeline.conftest import build_once, template  # noqa: F401 - a fixture
from tests.pipeline.versions import add_origin

pytestmark = pytest.mark.slow

TABLE = "data/external/iris.csv"


@dataclass
class Decided:
    """A registry in MLflow without checks: the test decides what the gate decides."""

    passed: bool = True
    breaks: bool = False
    promoted: list[str] = field(default_factory=list)

    def register(self, root: Path, reference: str) -> Verdict:
        from mlflow import MlflowClient

        client = MlflowClient()
        if not client.search_registered_models("name = 'iris'"):
            client.create_registered_model("iris")
        commit = Clone(root).git("rev-parse", reference)
        tags = {"git.commit": commit, "gate": "passed" if self.passed else "refused"}
        version = client.create_model_version("iris", "none", tags=tags)
        return Verdict(f"iris/{version.version}", "", [Check("the checks", "", "", PASSED if self.passed else REFUSED)])

    def promote(self, root: Path, version: str) -> None:  # noqa: ARG002 - as the registry's
        if self.breaks:
            raise KeyboardInterrupt
        self.promoted.append(version)


def state(clone: Clone) -> tuple[object, ...]:
    return clone.git("rev-parse", "HEAD"), clone.git("status", "--porcelain"), clone.git("tag"), clone.read(TABLE)


@pytest.fixture(scope="session")
def with_table(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811 - the fixture
    """Run the pipeline on iris as a CSV file, which lacks every fifth row."""

    def build(path: Path) -> None:
        clone = copy_clone(template, path / "repo")
        rows = pd.read_parquet(clone.path / "data/raw/dataset.parquet")
        rows[rows.index % 5 != 0].to_csv(clone.path / TABLE, index=False)
        rows[rows.index % 5 == 0].to_csv(path / "new.csv", index=False)
        clone.set_param("data_load.source", {"kind": "file"})
        clone.set_param("data_load.external_path", TABLE)
        clone.run("dvc", "add", "--quiet", TABLE)
        clone.git("add", f"{TABLE}.dvc")
        clone.launch()
        clone.commit("Train on a file")

    return build_once(tmp_path_factory, "with-table", build)


@pytest.fixture
def clone(with_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clone]:
    shutil.copy(with_table / "new.csv", tmp_path)
    clone = copy_clone(with_table / "repo", tmp_path / "repo")
    monkeypatch.chdir(clone.path)
    monkeypatch.setattr("os.environ", clone.env | {"MLFLOW_TRACKING_URI": clone.store})
    yield clone
    logging.getLogger("mlflow").setLevel(logging.NOTSET)


def test_refused_model_changes_nothing_and_one_that_passes_is_promoted_once(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before, n_rows = state(clone), len(clone.read(TABLE).splitlines())
    gate = Decided(passed=False)
    monkeypatch.setattr(retrain_module, "register", gate.register)
    monkeypatch.setattr(retrain_module, "promote", gate.promote)
    assert retrain(clone.path, tmp_path / "new.csv") == 1
    assert (state(clone), clone.status(), gate.promoted) == (before, [], [])
    assert "the checks" in capfd.readouterr().out
    # The same rows again: DVC restores the stages, and the process is stopped before the promotion.
    gate.passed = gate.breaks = True
    with pytest.raises(KeyboardInterrupt):
        retrain(clone.path, tmp_path / "new.csv")
    # The next call completes what was left undone.
    gate.breaks = False
    assert retrain(clone.path, tmp_path / "new.csv") == 0
    assert gate.promoted == ["2"]
    assert len(clone.read(TABLE).splitlines()) == n_rows + 30
    assert clone.status() == []
    assert clone.git("status", "--porcelain") == ""
    assert "v1.0.0" in clone.git("tag").split()
    before = state(clone)
    assert retrain(clone.path, tmp_path / "new.csv") == 0
    assert (state(clone), gate.promoted) == (before, ["2"])
    assert find_next_version(clone.path) == "v1.1.0"
    # Another clone has published meanwhile.
    add_origin(clone, tmp_path / "origin.git")
    clone.git("push", "--quiet", "origin", "HEAD:refs/tags/v1.4.0", "HEAD:refs/tags/model@v1.9.0")
    assert find_next_version(clone.path) == "v1.5.0"


def test_commit_made_during_the_training_leaves_no_version_to_promote(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Decided()

    def train(temporary: Path, *_: object) -> Verdict:
        for path in (temporary, clone.path):
            Clone(path).git("commit", "--quiet", "--allow-empty", "--message", f"Commit in {path.name}")
        return gate.register(temporary, "HEAD")

    monkeypatch.setattr(retrain_module, "_train", train)
    before = clone.read(TABLE)
    with pytest.raises(VersionError, match=r"the branch has moved, .*; run `make retrain` again\."):
        retrain(clone.path, tmp_path / "new.csv")
    assert (clone.git("log", "-1", "--format=%s"), clone.read(TABLE)) == ("Commit in repo", before)
    assert MlflowClient().get_model_version("iris", "1").tags["gate"] == "refused"


@pytest.mark.thorough
def test_killed_process_leaves_all_as_it_was_or_what_the_next_call_completes(clone: Clone, tmp_path: Path) -> None:
    command = ("python", "-m", "src.service.retraining.retrain", "--data", str(tmp_path / "new.csv"))
    client, before = MlflowClient(clone.store), (*state(clone), clone.status())

    def aliases() -> dict[str, str]:
        return dict(client.get_registered_model("iris").aliases) if client.search_registered_models() else {}

    def kill_at(line: str) -> str:
        process = clone.start(*command)
        assert process.stdout is not None
        for found in process.stdout:
            if found.startswith(line):
                signal_group(process, signal.SIGKILL)
        process.communicate()
        return clone.git("log", "-1", "--format=%s")

    for line in ("running the pipeline on", "train: done", "registered the model of"):
        kill_at(line)
        assert ((*state(clone), clone.status()), aliases()) == (before, {}), line
    # The branch has the result, and the table is still the old one; then it is published, then promoted.
    for line, alias in (
        ("$ dvc checkout\n", {}),
        ("$ dvc push", {}),
        ("published v1.0.0", {}),
        ("iris/1 is the", None),
    ):
        assert kill_at(line) == "Train with 30 more rows", line
        assert clone.git("status", "--porcelain") == "", line
        assert alias is None or aliases() == alias, line
    for _ in range(2):
        clone.run(*command)
        assert (clone.status(), clone.git("status", "--porcelain")) == ([], "")
        assert clone.git("tag").split() == ["model@v1.0.0", "v1.0.0"]
        (version,) = client.search_model_versions("name = 'iris'")
        assert (aliases(), version.tags["git.tag"]) == ({"champion": version.version}, "v1.0.0")
        assert version.tags["git.commit"] == clone.git("rev-parse", "HEAD")


def test_clone_that_cannot_be_retrained_is_refused_in_one_line(clone: Clone, tmp_path: Path) -> None:
    new = tmp_path / "new.csv"

    def refuse(kind: type[PipelineError], message: str) -> None:
        with pytest.raises(kind, match=message):
            retrain(clone.path, new)

    with exclusive(clone.path, "retrain"):
        refuse(BusyError, "another `make retrain` is running")
    (clone.path / "README.md").write_text("mine")
    refuse(VersionError, "README.md: not committed; commit or discard them, then retrain")
    clone.git("checkout", "--quiet", "README.md")
    clone.git("checkout", "--quiet", "--detach")
    refuse(VersionError, "no branch is checked out")
    clone.git("checkout", "--quiet", "main")
    clone.set_param("data_load.source", {"kind": "sklearn", "name": "iris"})
    clone.commit()
    refuse(DataError, "data_load.source has kind 'sklearn', to which no rows can be added")
    clone.git("reset", "--quiet", "--hard", "HEAD~1")
    clone.run("dvc", "remote", "remove", "storage")
    clone.commit()
    refuse(VersionError, "DVC has no remote to publish to")
    clone.git("reset", "--quiet", "--hard", "HEAD~1")
    clone.git("remote", "add", "origin", str(tmp_path / "nowhere.git"))
    refuse(VersionError, "`git ls-remote` failed: .*Could not read from remote")
