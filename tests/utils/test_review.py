import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from src.config.load import load_config
from src.config.schema import Config
from src.data.findings import Finding, write_findings
from src.tracking.dvc_repo import DvcRepo
from src.tracking.journal import Review, Snapshot
from src.tracking.names import Outcome
from src.utils.review import review_results
from tests.tracking.support import commit, ended_session, git, make_execution

LOSES = {"test_f1_macro": 0.5, "test_f1_macro_ci95_low": 0.2, "test_f1_macro_ci95_high": 0.6,
         "test_f1_macro_baseline": 0.3}  # fmt: skip
SCHEMA = {"source": {}, "declared": ["chosen"], "columns": {
    "a": {"kind": "number"}, "empty": {"kind": "ignore"}, "chosen": {"kind": "ignore"}}}  # fmt: skip


@pytest.fixture
def config(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return settings, in a repository whose last commit has the stages `data_split` and `train`."""
    monkeypatch.chdir(repository)
    text = (Path(__file__).parent / "params.yaml").read_text()
    (repository / "config.yaml").write_text(text.replace("\n  columns: {}", "\n  columns: {chosen: {kind: ignore}}"))
    return load_config(repository / "config.yaml")


def review(
    config: Config, outcomes: Mapping[str, Outcome], metrics: dict[str, float] | None = None, **warnings: list[str]
) -> Review:
    executions = [make_execution(stage, warnings=texts) for stage, texts in warnings.items()]
    with DvcRepo(Path.cwd()) as repo:
        snapshot = Snapshot(dict(outcomes), metrics=metrics or {})
        return review_results(config, ended_session(Path.cwd(), snapshot=snapshot), executions, repo)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_state_of_the_last_commit_needs_no_commit(config: Config) -> None:
    assert review(config, {"train": "unchanged"}, {"a": 1.0}) == Review(committed={"a": 1.0})


def test_new_results_are_compared_with_the_last_commit_and_can_be_committed(config: Config) -> None:
    lock = Path("dvc.lock").read_text()
    write(Path("dvc.lock"), lock.replace("train.estimator: logreg", "train.estimator: svm"))
    found = review(config, {"train": "ran"}, {"test_f1_macro": 0.75})
    assert found.committed == {"test_f1_macro": 0.5, "rows.train": 4.0}
    assert found.commit == 'git add config.yaml && git commit -am "…"'
    write(Path("a b.csv"), "")
    write(Path("b.csv"), "")
    write(Path("c.csv"), "")
    assert review(config, {}).commit == "git add 'a b.csv' b.csv c.csv … && git commit -am \"…\""
    git(Path.cwd(), "add", "--all")
    assert review(config, {}).commit == 'git commit -am "…"'


def test_warnings_are_those_that_stages_logged_and_those_that_skipped_stages_would_log(config: Config) -> None:
    write(config.data_load.schema_path, SCHEMA)
    write_findings([Finding("leak", "'a' predicts the target")], config.data_split.checks_path)
    outcomes: dict[str, Outcome] = dict.fromkeys(("data_load", "data_split", "evaluate"), "unchanged")
    all_three = [
        "unused columns: 1, such as 'empty'; no kind fits their values",
        "data check leak: 'a' predicts the target",
    ]
    found = review(config, outcomes, LOSES)
    assert found.warnings[:2] == all_three
    assert found.warnings[2].startswith("the model is not clearly better than the baseline: test_f1_macro is 0.5")
    # Not twice if the stage itself logs it.
    logged = review(config, outcomes, data_load=["column 'empty' has no values: ignored"], data_split=all_three[1:])
    assert logged.warnings == ["column 'empty' has no values: ignored", all_three[1]]
    failed = review(config, {"data_load": "failed", "data_split": "stale"}, data_load=["old file"])
    assert failed.warnings == ["old file"]


def test_failed_stage_gives_its_error_first(config: Config) -> None:
    executions = [
        make_execution("data_load", warnings=["old file"]),
        make_execution("train", status="FAILED", error="DataError: no rows"),
        make_execution("evaluate", status="KILLED", error="KeyboardInterrupt: KeyboardInterrupt"),
    ]
    with DvcRepo(Path.cwd()) as repo:
        found = review_results(config, ended_session(Path.cwd(), snapshot=Snapshot()), executions, repo)
    assert found.warnings == ["stage train failed: DataError: no rows", "old file"]


def test_winner_is_named_by_what_distinguishes_it(config: Config) -> None:
    write(config.train.cv_results_path, "estimator,C,p,mean,std,rank\nsvm,1.0,2,0.5,0.1,2\nsvm,10.0,2,0.6,0.1,1\n")
    assert review(config, {"train": "ran"}).best == "svm C=10, the best of 2 candidates"
    write(config.train.cv_results_path, "estimator,C,mean,std,rank\nsvm,1.0,0.5,0.1,1\n")
    assert review(config, {"train": "ran"}).best == "svm C=1"
    assert review(config, {"train": "failed"}).best == ""


@pytest.mark.parametrize("content", ["", "estimator,C,mean,std,rank\nsvm,1.0,,,\n", "a\n1\n"])
def test_search_without_scores_has_no_winner(config: Config, content: str) -> None:
    write(config.train.cv_results_path, content)
    assert review(config, {"train": "ran"}).best == ""


def test_output_that_changed_without_its_inputs_is_reported(config: Config) -> None:
    lock = Path("dvc.lock").read_text()
    before, output, after = lock.rpartition("path: models/model.joblib")
    write(Path("dvc.lock"), before + output + re.sub(r"md5: \w{32}", f"md5: {'f' * 32}", after, count=1))
    found = review(config, {"train": "ran"})
    assert [text.partition(";")[0] for text in found.warnings] == [
        "models/model.joblib differs from the last commit, although stage train had the same inputs"
    ]
    commit(Path.cwd())
    assert review(config, {"train": "ran"}).warnings == []
    # Other inputs explain other outputs.
    write(Path("dvc.lock"), lock.replace("train.estimator: logreg", "train.estimator: svm"))
    assert review(config, {"train": "ran"}).warnings == []


@pytest.mark.parametrize("committed", ["stages: {train: 1}\n", "\n"])
def test_damaged_commit_is_no_error(config: Config, committed: str) -> None:
    lock = Path("dvc.lock").read_text()
    write(Path("dvc.lock"), committed)
    commit(Path.cwd())
    write(Path("dvc.lock"), lock)
    assert review(config, {"train": "ran"}).warnings == []
