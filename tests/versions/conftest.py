"""A small DVC project in git, whose one stage takes a second: published twice, and run a third time."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from src.versions.publish import publish
from tests.versions.project import FILES, IDENTITY, Project
from tests.versions.runs import create_runs


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give variables that hide the configuration of the user who runs the tests."""
    home = tmp_path_factory.mktemp("home")
    return IDENTITY | {
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_GLOBAL_CONFIG_DIR": str(home / "dvc"),
        "DVC_SITE_CACHE_DIR": str(home / "site-cache"),
        "DVC_NO_ANALYTICS": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.fixture(autouse=True)
def _environment(_clean_environment: None, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def template(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish v1.0.0 and v1.1.0 with different settings, and commit a third result."""
    with pytest.MonkeyPatch.context() as patch:
        # MLflow sets it for child processes, and an earlier test may have left it.
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        return _publish_two_versions(tmp_path_factory.mktemp("template"), patch)


def _publish_two_versions(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    project = Project(folder / "repo")
    for name, text in FILES.items():
        path = project.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch", "main", folder / "origin.git"], check=True)
    project.git("init", "--quiet", "--initial-branch", "main")
    project.git("remote", "add", "origin", "../origin.git")
    project.dvc("init", "--quiet")
    project.dvc("remote", "add", "--default", "storage", "../storage")
    patch.chdir(project.root)
    for scale, tag in ((1, "v1.0.0"), (2, "v1.1.0"), (3, None)):
        project.set_scale(scale)
        project.dvc("repro", "--quiet")
        project.commit(f"Scale by {scale}")
        project.git("push", "--quiet", "origin", "main")
        if tag:
            publish(project.root, tag, None, None)
    create_runs(project)
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Copy the project, its git remote and its DVC remote; the working directory is its root."""
    shutil.copytree(template, tmp_path / "projects", symlinks=True)
    copy = Project(tmp_path / "projects" / "repo")
    monkeypatch.chdir(copy.root)
    return copy


@pytest.fixture
def fresh(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Clone the project from its git remote: no data, and nothing in DVC's cache."""
    clone = Project(project.root.parent / "fresh")
    project.git("clone", "--quiet", "../origin.git", str(clone.root))
    monkeypatch.chdir(clone.root)
    return clone


@pytest.fixture(autouse=True)
def _record_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="src")
