import os
from collections.abc import Callable
from pathlib import Path

import pytest

from src.tracking.git import Experiment, GitState, list_experiments, read_file, read_git
from tests.tracking.support import commit, git


@pytest.fixture
def cloned(tmp_path: Path) -> Path:
    """Create a git repository with one commit."""
    path = tmp_path / "cloned"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch", "main")
    (path / "params.yaml").write_text("a: 1\n")
    commit(path)
    return path


def edit(root: Path) -> None:
    (root / "params.yaml").write_text("a: 2\n")


def stage(root: Path) -> None:
    edit(root)
    git(root, "add", "params.yaml")


def stash(root: Path) -> None:
    edit(root)
    git(root, "stash", "--quiet")
    git(root, "config", "status.showStash", "true")


def ignore(root: Path) -> None:
    (root / ".git" / "info" / "exclude").write_text("*.db\n")
    (root / "mlflow.db").touch()


@pytest.mark.parametrize(
    ("change", "dirty"),
    [
        (lambda _: None, "false"),
        (edit, "true"),
        (stage, "true"),
        (lambda root: (root / "new.py").touch(), "true"),
        (lambda root: (root / "params.yaml").unlink(), "true"),
        (lambda root: (root / "caf\udce9.csv").touch(), "true"),
        (ignore, "false"),
        (stash, "false"),
    ],
    ids=["nothing", "edited", "staged", "untracked", "deleted", "name that is no text", "ignored", "stashed"],
)
def test_uncommitted_changes_make_the_work_tree_dirty(cloned: Path, change: Callable[[Path], None], dirty: str) -> None:
    change(cloned)
    git(cloned, "config", "core.quotePath", "false")
    (cloned / "folder").mkdir()
    for folder in (cloned, cloned / "folder"):
        assert read_git(folder) == GitState(git(cloned, "rev-parse", "HEAD"), "main", dirty)


def test_outputs_of_the_pipeline_do_not_count_as_changes(cloned: Path) -> None:
    (cloned / "reports" / "plots").mkdir(parents=True)
    (cloned / "reports" / "plots" / "roc.svg").touch()
    (cloned / "dvc.lock").touch()
    assert read_git(cloned, ["dvc.lock", "reports/plots"]).dirty == "false"
    assert read_git(cloned, ["dvc.lock", "reports/other"]).dirty == "true"


def test_detached_head_has_its_commit_and_no_branch(cloned: Path) -> None:
    git(cloned, "checkout", "--quiet", "--detach")
    assert read_git(cloned) == GitState(git(cloned, "rev-parse", "HEAD"), "(detached)", "false")


def test_commit_is_unknown_before_the_first_one(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    assert read_git(tmp_path) == GitState("unknown", "main", "false")


def test_everything_is_unknown_outside_of_git_and_without_git(cloned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_git(cloned.parent) == GitState("unknown", "unknown", "unknown")
    assert read_git(cloned / "gone") == GitState()
    assert list_experiments(cloned.parent) == []
    monkeypatch.setenv("PATH", str(cloned))
    assert read_git(cloned) == GitState()


def test_reading_does_not_write_the_index(cloned: Path) -> None:
    index = (cloned / ".git" / "index").read_bytes()
    # `git status` would write the new time to the index, under its lock.
    os.utime(cloned / "params.yaml", (1, 1))
    assert read_git(cloned).dirty == "false"
    assert (cloned / ".git" / "index").read_bytes() == index


def test_file_is_read_from_a_commit_relative_to_the_folder(cloned: Path) -> None:
    (cloned / "sub").mkdir()
    (cloned / "sub" / "dvc.lock").write_text("é\n", encoding="utf-8")
    first, second = git(cloned, "rev-parse", "HEAD"), commit(cloned)
    (cloned / "sub" / "dvc.lock").write_text("changed\n")
    assert read_file(cloned / "sub", second, "dvc.lock") == "é\n"
    assert read_file(cloned / "sub", first, "dvc.lock") is None


def test_experiments_are_listed_oldest_first_and_queued_ones_are_not(
    cloned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline = git(cloned, "rev-parse", "HEAD")
    expected = []
    for name, seconds in (("new-fox", 2_000_000_000), ("old-fox", 1_000_000_000)):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"{seconds} +0000")
        found = commit(cloned, name)
        git(cloned, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}", found)
        expected.append(Experiment(name, baseline, found, 1000 * seconds))
    git(cloned, "update-ref", "refs/exps/exec/EXEC_HEAD", baseline)
    assert list_experiments(cloned) == expected[::-1]
