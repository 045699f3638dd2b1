"""DVC's own word counts: cache and remotes may be configured on any level."""

import shutil
from pathlib import Path

import pytest

from src.versions.load import load_model
from src.versions.publish import publish
from src.versions.reproduce import find_record, reproduce
from src.versions.restore import restore
from tests.versions.project import Project
from tests.versions.runs import EXPERIMENT

LEVELS = ["--system", "--global", "--local"]


@pytest.fixture(autouse=True)
def _empty_levels(_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for level in ("SYSTEM", "GLOBAL"):
        monkeypatch.setenv(f"DVC_{level}_CONFIG_DIR", str(tmp_path / level))


def add_version(project: Project) -> None:
    project.set_scale(7)
    project.add_table()
    project.depend_on("external/my table.csv")
    project.commit()
    project.git("push", "--quiet", "origin", "main")


def check_all(project: Project, other: Project) -> None:
    """Publish here, and use the version there."""
    add_version(project)
    publish(project.root, "v2.0.0", None, None)
    other.git("fetch", "--quiet", "--tags")
    assert load_model(other.root, "v2.0.0")[1] == 7
    restore(other.root, "v2.0.0")
    assert other.md5s() == project.md5s()
    assert other.dvc("status") == "Data and pipelines are up to date."
    assert reproduce(other.root, find_record(other.root, "v2.0.0", EXPERIMENT)) == []


@pytest.mark.parametrize("level", LEVELS)
def test_cache_temporary_files_and_remote_may_be_configured_on_any_level(
    project: Project, fresh: Project, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_SITE_CACHE_DIR")
    project.dvc("remote", "remove", "storage")
    project.commit("Leave the remote to each user")
    for clone in (project, fresh) if level == "--local" else (project,):
        for key, value in {"cache.dir": "cache", "core.site_cache_dir": "site"}.items():
            clone.dvc("config", level, key, str(tmp_path / value))
        clone.dvc("config", level, "cache.type", "symlink")
        clone.dvc("remote", "add", level, "--default", "team", str(tmp_path / "team"))
    # The commit that the fresh clone is at still names another remote.
    shutil.rmtree(project.root.parent / "storage")
    (tmp_path / "team").mkdir()
    check_all(project, fresh)
    assert (fresh.root / "models/model.joblib").resolve().is_relative_to(tmp_path / "cache")
    assert not (fresh.root / ".dvc/cache/files").exists()
    assert (tmp_path / "site").is_dir()


def test_reproducing_writes_nothing_into_a_cache_that_all_clones_share(project: Project, tmp_path: Path) -> None:
    project.dvc("config", "--global", "cache.dir", str(tmp_path / "cache"))
    assert reproduce(project.root, find_record(project.root, "v1.0.0", EXPERIMENT)) == []
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_output_may_have_its_own_remote(project: Project, fresh: Project, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    project.dvc("remote", "add", "--global", "models", str(tmp_path / "models"))
    config = project.root / "dvc.yaml"
    model = '"${train.model_path}"'
    config.write_text(config.read_text().replace(f"{model}, table", f"{model}: {{remote: models}}, table"))
    check_all(project, fresh)
    assert len([path for path in (tmp_path / "models").rglob("*") if path.is_file()]) == 1
