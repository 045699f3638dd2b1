"""Two people who work on branches."""

import pytest

from tests.pipeline.clone import SYNC, Clone


def conflicts(clone: Clone) -> list[str]:
    return clone.git("diff", "--name-only", "--diff-filter=U").splitlines()


def change_on_branch(clone: Clone, branch: str, key: str, value: object) -> None:
    """Change one setting on a branch from main, run the pipeline, and commit its results."""
    clone.git("checkout", "--quiet", "-b", branch, "main")
    old = clone.params()
    for part in key.split("."):
        old = old[part]
    clone.edit("params.yaml", rf"^(  {key.partition('.')[2]}: ){old}\b", rf"\g<1>{value}")
    clone.launch()
    clone.commit(f"Set {key}")


@pytest.mark.thorough
def test_either_side_of_a_conflict_in_results_leads_to_the_merged_results(clone: Clone) -> None:
    change_on_branch(clone, "metric", "train.cv", 3)
    change_on_branch(clone, "resamples", "evaluate.n_bootstrap", 500)
    clone.run("git", "merge", "metric", code=1)
    assert "dvc.lock" in conflicts(clone)
    assert "params.yaml" not in conflicts(clone)
    for command in (("python", "-m", "src.utils.start_pipeline"), SYNC):
        stopped = clone.run(*command, code=2)
        (line,) = stopped.stderr.splitlines()
        assert line == (
            "ConfigError: dvc.lock has a merge conflict; take either side with `git checkout --ours dvc.lock data "
            "reports`, then run `make pipeline`."
        )
    locks = []
    # The model is that of one branch, and its score by the settings of the other is new the first time.
    for side, evaluated in (("--ours", "ran"), ("--theirs", "restored")):
        clone.git("checkout", side, "dvc.lock", "data", "reports")
        clone.launch()
        assert clone.status() == []
        outcomes = clone.outcomes()
        assert outcomes[:3] == ["unchanged"] * 3
        assert outcomes[4] == evaluated
        locks.append(clone.lock())
    assert locks[0] == locks[1]
    clone.git("add", "dvc.lock", "data", "reports")
    clone.git("commit", "--quiet", "--message", "Merge")
    assert clone.git("status", "--porcelain") == ""


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml"])
def test_conflict_in_a_file_of_the_user_is_called_so(clone: Clone, name: str) -> None:
    for branch, comment in (("one", "# one\n"), ("two", "# two\n")):
        clone.git("checkout", "--quiet", "-b", branch, "main")
        (clone.path / name).write_text(comment + clone.read(name))
        clone.commit(branch)
    clone.run("git", "merge", "one", code=1)
    for command in (("python", "-m", "src.utils.start_pipeline"), SYNC, ("python", "-m", "src.utils.prepare")):
        (line,) = clone.run(*command, code=2).stderr.splitlines()
        assert line == (
            f"ConfigError: {name} has a merge conflict; edit it, or take a side with `git checkout --ours {name}`."
        )
