"""Variables of git that a user or a hook has exported do not lead into another repository."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from src.versions.compare import compare
from src.versions.lineage import trace
from src.versions.load import load_model
from src.versions.publish import publish
from src.versions.reproduce import find_record, reproduce
from src.versions.restore import restore
from tests.versions.project import Project
from tests.versions.runs import EXPERIMENT

COMMANDS: dict[str, Callable[[Path], object]] = {
    "publish": lambda root: publish(root, "v2.0.0", None, None),
    "restore": lambda root: restore(root, "v1.0.0"),
    "compare": lambda root: compare(root, "v1.0.0", "v1.1.0", None),
    "reproduce": lambda root: reproduce(root, find_record(root, "v1.0.0", EXPERIMENT)),
    "lineage": lambda root: trace(root, "v1.0.0", EXPERIMENT),
    "predict": lambda root: load_model(root, "v1.0.0"),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("variables", [["GIT_DIR"], ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"]])
def test_command_touches_only_the_repository_of_its_folder(
    project: Project, name: str, variables: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Project(project.root.parent / "other")
    other.git("init", "--quiet", "--initial-branch", "main")
    (other.root / "mine.txt").write_text("mine")
    other.commit()
    files = {"GIT_DIR": ".git", "GIT_INDEX_FILE": ".git/index", "GIT_WORK_TREE": "."}

    def state() -> str:
        head = (other.root / ".git/HEAD").read_text()
        refs = sorted(str(path) for path in (other.root / ".git/refs").rglob("*"))
        index = (other.root / ".git/index").read_bytes().hex()
        return json.dumps([head, refs, index, sorted(path.name for path in other.root.iterdir())])

    before = state()
    with monkeypatch.context() as patch:
        for variable in variables:
            patch.setenv(variable, str(other.root / files[variable]))
        COMMANDS[name](project.root)
    assert state() == before
    assert project.git("status", "--porcelain") == ""
    assert project.git("branch", "--show-current") == ("" if name == "restore" else "main")


def test_repository_that_is_named_itself_is_not_changed_by_reproducing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = project.git("rev-parse", "HEAD")
    record = find_record(project.root, "v1.0.0", EXPERIMENT)
    with monkeypatch.context() as patch:
        patch.setenv("GIT_DIR", str(project.root / ".git"))
        assert reproduce(project.root, record) == []
    assert (project.git("branch", "--show-current"), project.git("rev-parse", "HEAD")) == ("main", head)
