import os
from pathlib import Path

import pytest

from src.tracking.git import GitState, read_git
from tests.tracking.workspace import git


@pytest.fixture
def cloned(tmp_path: Path) -> Path:
    """Give a git repository with one commit."""
    path = tmp_path / "cloned"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch", "main")
    (path / "params.yaml").write_text("a: 1\n")
    git(path, "add", "params.yaml")
    git(path, "commit", "--quiet", "--message", "Begin")
    return path


def test_clean_work_tree_has_its_commit_and_branch(cloned: Path) -> None:
    assert read_git(cloned) == GitState(git(cloned, "rev-parse", "HEAD"), "main", "false")


@pytest.mark.parametrize("folder", ["", "deep"])
def test_changed_file_makes_the_work_tree_dirty(cloned: Path, folder: str) -> None:
    (cloned / "deep").mkdir()
    (cloned / "params.yaml").write_text("a: 2\n")
    assert read_git(cloned / folder).dirty == "true"


def test_staged_file_makes_the_work_tree_dirty(cloned: Path) -> None:
    (cloned / "params.yaml").write_text("a: 2\n")
    git(cloned, "add", "params.yaml")
    assert read_git(cloned).dirty == "true"


def test_untracked_file_makes_the_work_tree_dirty(cloned: Path) -> None:
    (cloned / "new.py").write_text("")
    assert read_git(cloned).dirty == "true"


def test_deleted_file_makes_the_work_tree_dirty(cloned: Path) -> None:
    (cloned / "params.yaml").unlink()
    assert read_git(cloned).dirty == "true"


def test_ignored_file_leaves_the_work_tree_clean(cloned: Path) -> None:
    (cloned / ".git" / "info" / "exclude").write_text("*.db\n")
    (cloned / "mlflow.db").write_text("")
    assert read_git(cloned).dirty == "false"


def test_stash_leaves_the_work_tree_clean(cloned: Path) -> None:
    (cloned / "params.yaml").write_text("a: 2\n")
    git(cloned, "stash", "--quiet")
    git(cloned, "config", "status.showStash", "true")
    assert read_git(cloned) == GitState(git(cloned, "rev-parse", "HEAD"), "main", "false")


def test_detached_head_has_its_commit_and_no_branch(cloned: Path) -> None:
    git(cloned, "checkout", "--quiet", "--detach")
    state = read_git(cloned)
    assert state.commit == git(cloned, "rev-parse", "HEAD")
    assert state.branch == "(detached)"


def test_repository_without_a_commit_is_unknown_but_for_its_branch(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    assert read_git(tmp_path) == GitState("unknown", "main", "false")


def test_outside_of_git_all_is_unknown(tmp_path: Path) -> None:
    assert read_git(tmp_path) == GitState("unknown", "unknown", "unknown")


def test_folder_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    assert read_git(tmp_path / "gone") == GitState()


def test_machine_without_git_is_unknown(cloned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cloned))
    assert read_git(cloned) == GitState()


def test_name_that_is_no_text_makes_the_work_tree_dirty_like_another(cloned: Path) -> None:
    git(cloned, "config", "core.quotePath", "false")
    (cloned / "caf\udce9.csv").write_text("")
    assert read_git(cloned).dirty == "true"


def test_reading_writes_nothing_so_that_no_other_git_command_waits(cloned: Path) -> None:
    index = (cloned / ".git" / "index").read_bytes()
    # git status would note the new time in the index, under its lock.
    os.utime(cloned / "params.yaml", (1, 1))
    assert read_git(cloned).dirty == "false"
    assert (cloned / ".git" / "index").read_bytes() == index
