import os
import subprocess
from pathlib import Path

import pytest

from src.tracking.git import (
    LOCAL_VARIABLES,
    Experiment,
    GitState,
    list_changes,
    list_experiments,
    read_file,
    read_git,
)
from tests.tracking.support import IDENTITY, commit, git


@pytest.fixture
def cloned(tmp_path: Path) -> Path:
    """Create a git repository with one commit."""
    path = tmp_path / "cloned"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch", "main")
    (path / "params.yaml").write_text("a: 1\n")
    commit(path)
    return path


@pytest.mark.parametrize(
    ("change", "dirty"),
    [
        ("true", "false"),
        ("echo a: 2 > params.yaml", "true"),
        ("echo a: 2 > params.yaml; git add params.yaml", "true"),
        ("touch new.py", "true"),
        ("rm params.yaml", "true"),
        ("git config core.quotePath false; touch \"$(printf 'caf\\351.csv')\"", "true"),
        ("echo '*.db' > .git/info/exclude; touch mlflow.db", "false"),
        ("echo a: 2 > params.yaml; git stash --quiet; git config status.showStash true", "false"),
        ("touch new.py; git config status.showUntrackedFiles no", "true"),
        ("git update-index --skip-worktree params.yaml; echo a: 2 > params.yaml", "true"),
        ("git update-index --assume-unchanged params.yaml; echo a: 2 > params.yaml", "true"),
        ("git update-index --skip-worktree params.yaml", "false"),
        ("git sparse-checkout set --no-cone /none; git config color.ui always", "false"),
    ],
)
def test_uncommitted_changes_make_the_work_tree_dirty(cloned: Path, change: str, dirty: str) -> None:
    subprocess.run(["sh", "-c", change], cwd=cloned, env=os.environ | IDENTITY, check=True)
    (cloned / "folder").mkdir()
    for folder in (cloned, cloned / "folder"):
        assert read_git(folder) == GitState(git(cloned, "rev-parse", "HEAD"), "main", dirty)


def test_marks_of_files_stay(cloned: Path) -> None:
    git(cloned, "update-index", "--skip-worktree", "params.yaml")
    (cloned / "params.yaml").write_text("a: 2\n")
    assert list_changes(cloned) == ["params.yaml"]
    assert git(cloned, "ls-files", "-v") == "S params.yaml"


def test_changes_are_listed_by_path(cloned: Path) -> None:
    for name in ("a file.txt", "'é\n.csv", "moved.txt"):
        (cloned / name).write_text("x")
    git(cloned, "add", "moved.txt")
    commit(cloned)
    git(cloned, "mv", "moved.txt", "elsewhere.txt")
    (cloned / "a file.txt").write_text("y")
    (cloned / "new").mkdir()
    (cloned / "new" / "file.txt").touch()
    (cloned / "'é\n.csv").unlink()
    assert sorted(list_changes(cloned)) == ["'é\n.csv", "a file.txt", "elsewhere.txt", "moved.txt", "new/"]


def test_list_of_variables_has_all_that_git_names(tmp_path: Path) -> None:
    assert set(git(tmp_path, "rev-parse", "--local-env-vars").split()) <= set(LOCAL_VARIABLES)


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"])
def test_variable_of_git_does_not_lead_into_another_repository(
    cloned: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = (read_git(cloned), read_file(cloned, "HEAD", "params.yaml"))
    git(tmp_path, "init", "--quiet", "other")
    paths = {"GIT_WORK_TREE": "other", "GIT_INDEX_FILE": "other/index"}
    monkeypatch.setenv(name, str(tmp_path / paths.get(name, "other/.git")))
    assert (read_git(cloned), read_file(cloned, "HEAD", "params.yaml")) == expected


def test_outputs_of_the_pipeline_do_not_count_as_changes(cloned: Path) -> None:
    (cloned / "reports" / "plots").mkdir(parents=True)
    (cloned / "reports" / "plots" / "roc.svg").touch()
    (cloned / "dvc.lock").touch()
    assert read_git(cloned, ["dvc.lock", "reports/plots"]).dirty == "false"
    assert read_git(cloned, ["dvc.lock", "reports/other"]).dirty == "true"


def test_what_git_does_not_know_is_unknown(cloned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(cloned, "checkout", "--quiet", "--detach")
    assert read_git(cloned) == GitState(git(cloned, "rev-parse", "HEAD"), "(detached)", "false")
    assert (read_git(tmp_path), read_git(tmp_path / "gone"), list_experiments(tmp_path)) == (GitState(), GitState(), [])
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    assert (read_git(tmp_path).commit, read_git(tmp_path).branch) == ("unknown", "main")
    monkeypatch.setenv("PATH", str(cloned))
    assert read_git(cloned) == GitState("unknown", "unknown", "unknown")


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
