import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.pipeline.clone import Clone, copy_clone, fresh_clone
from tests.pipeline.versions import add_origin, make, md5s

# A folder for PYTHONPATH. Some systems have a module of the same name, so pytest could not import it.
collect_ignore = ["pause"]


def build_once(tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """Build a folder once for all workers of a test run, because a first run of the pipeline takes long."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    path = shared / name
    with FileLock(shared / f"{name}.lock"):
        if not (path / "done").exists():
            path.mkdir()
            build(path)
            (path / "done").touch()
    return path


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the repository as it is on disk, and run the pipeline once."""

    def build(path: Path) -> None:
        clone = fresh_clone(path / "repo")
        clone.launch("--name", "first")
        clone.run("git", "commit", "--quiet", "--all", "--allow-empty", "--message", "Run")

    return build_once(tmp_path_factory, "template", build) / "repo"


@pytest.fixture
def clone(template: Path, tmp_path: Path) -> Clone:
    """Return a repository whose pipeline has run once, with everything committed."""
    return copy_clone(template, tmp_path / "repo")


@pytest.fixture
def fresh(tmp_path: Path) -> Clone:
    """Return a repository without data, cache and store."""
    return fresh_clone(tmp_path / "repo")


@pytest.fixture
def origin(clone: Clone, tmp_path: Path) -> Clone:
    """Return a repository with a git remote and no published version."""
    add_origin(clone, tmp_path / "origin.git")
    return clone


@pytest.fixture(scope="session")
def two_versions(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish v1.0.0, change the estimator, and publish v1.1.0."""

    def build(path: Path) -> None:
        clone = copy_clone(template, path / "repo")
        add_origin(clone, path / "origin.git")
        for tag, estimator in (("v1.0.0", "logreg"), ("v1.1.0", "svm")):
            if tag == "v1.1.0":
                clone.edit("params.yaml", "estimator: logreg", f"estimator: {estimator}")
                clone.commit(f"Try {estimator}")
                clone.launch("--name", estimator)
                clone.commit(f"Run {estimator}")
                clone.git("push", "--quiet", "origin", "main")
            make(clone, "publish", TAG=tag)
            (path / f"{tag}.json").write_text(json.dumps(md5s(clone)))

    return build_once(tmp_path_factory, "versions", build)


@pytest.fixture
def published(two_versions: Path, tmp_path: Path) -> Clone:
    """Return a copy of the repository that published both versions, with its own remotes."""
    clone = copy_clone(two_versions / "repo", tmp_path / "repo")
    for name in ("origin.git", "dvc-storage"):
        shutil.copytree(two_versions / name, tmp_path / name, symlinks=True)
    clone.git("remote", "set-url", "origin", str(tmp_path / "origin.git"))
    return clone


@pytest.fixture
def elsewhere(published: Clone, tmp_path: Path) -> Clone:
    """Return a fresh clone of `published`, with an empty cache."""
    path = tmp_path / "elsewhere"
    published.run("git", "clone", "--quiet", str(tmp_path / "origin.git"), str(path))
    return Clone(path)
