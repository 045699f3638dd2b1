import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.pipeline.clone import IDENTITY, Clone, copy_clone

ROOT = Path(__file__).parents[2]


def build_once(tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """Build a folder that all workers of a test run share, since a pipeline from nothing costs half a minute."""
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
    """Clone the repository as it is on disk, and run its pipeline once."""

    def build(path: Path) -> None:
        _fresh_clone(path / "repo")
        clone = Clone(path / "repo")
        clone.launch("--name", "first")
        clone.run("git", "commit", "--quiet", "--all", "--allow-empty", "--message", "Run")

    return build_once(tmp_path_factory, "template", build) / "repo"


@pytest.fixture
def clone(template: Path, tmp_path: Path) -> Clone:
    """Give a repository whose pipeline has run once under the launcher, everything committed."""
    return copy_clone(template, tmp_path / "repo")


@pytest.fixture
def fresh(tmp_path: Path) -> Clone:
    """Give a repository as it is cloned: no data, no cache, no store."""
    _fresh_clone(tmp_path / "repo")
    return Clone(tmp_path / "repo")


def _fresh_clone(path: Path) -> None:
    """Copy the files that git knows or would know, changes included, and commit them."""
    listed = _git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    _git(path, "init", "--quiet", "--initial-branch", "main")
    _git(path, "add", "--all")
    _git(path, "commit", "--quiet", "--message", "Clone")


def _git(path: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=path, check=True, capture_output=True, text=True, env=os.environ | IDENTITY
    ).stdout
