import shutil
from pathlib import Path
from typing import Any

import pytest

from src.errors import TrackingError
from src.tracking.journal import Journal
from src.tracking.lock import digests, read_lock
from src.tracking.store import Store, open_store
from src.tracking.sync import sync
from tests.tracking.support import (
    UNKNOWN_STORE,
    commit,
    ended_session,
    foreign_key,
    git,
    list_artifacts,
    make_execution,
    make_session,
    reproduce,
    run_by_dvc,
    search,
)

pytestmark = [
    # MLflow compares string columns with a range to tell whether they have names.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated:DeprecationWarning"),
    # MLflow's own functions of language models lack the type hints that it asks for.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
]


@pytest.fixture
def empty(root: Path) -> Journal:
    """Work in a folder whose DVC cannot be asked: only the journal knows what happened."""
    return Journal(root)


def dump(store: Store) -> list[tuple[Any, ...]]:
    return [
        (run.info.run_id, run.info.status, run.info.end_time, run.data.params, run.data.metrics, run.data.tags)
        for run in search(store)
    ]


def record_everything(journal: Journal) -> None:
    """Write a session of both stages to the journal, as stages do while no store can be reached."""
    root = journal.root
    journal.write_session(ended_session(root, before={}))
    journal.write_execution("some", run_by_dvc(root, "data_split", entry=None, start_time=1_500, params={"a": "1"}))
    trained = run_by_dvc(
        root, entry=None, metrics={"cv_f1": 0.25}, tags={"best.estimator": "knn"}, model="models/model.joblib",
        artifacts=["reports/plots"], candidates=[{"estimator": "knn", "params": {"k": "1"}, "metrics": {}}],
    )  # fmt: skip
    journal.write_execution("some", trained)


def test_empty_store_is_filled_from_the_journal_and_the_cache_and_again_changes_nothing(
    journal: Journal, store: Store, experiment: str
) -> None:
    record_everything(journal)
    assert sync(journal.root, experiment) == (1, 1)
    (parent,), stages, (candidate,) = (search(store, kind) for kind in ("parent", "stage", "candidate"))
    assert (parent.info.run_name, parent.info.status, parent.info.end_time) == ("by test", "FINISHED", 9_000)
    assert parent.data.metrics == {"test_f1_macro": 0.5, "rows.train": 4.0}
    assert [(run.info.run_name, run.info.status, run.info.start_time) for run in stages] == [
        ("data_split", "FINISHED", 1_500), ("train", "FINISHED", 2_000),
    ]  # fmt: skip
    for stage in stages:
        name = stage.info.run_name
        assert stage.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert stage.data.tags["dvc.entry"] == read_lock(journal.root)[name].digest
        assert parent.data.tags[f"stage.{name}"] == "ran"
        assert parent.data.tags[f"stage.{name}.run_id"] == stage.info.run_id
    assert candidate.data.tags["mlflow.parentRunId"] == stages[1].info.run_id
    assert parent.data.tags["best.estimator"] == "knn"
    parent = store.client.get_run(parent.info.run_id)
    assert len(parent.inputs.dataset_inputs) == len(parent.outputs.model_outputs) == 1
    session = journal.read_session("some")
    assert session is not None
    assert (session.run_id, session.complete) == (parent.info.run_id, True)
    assert [(run.run_id, run.complete) for run in journal.executions("some")] == [
        (stage.info.run_id, True) for stage in stages
    ]
    before = dump(store)
    assert sync(journal.root, experiment) == (0, 1)
    assert dump(store) == before
    # Another store is filled from the cache: since then the outputs were replaced.
    shutil.rmtree(journal.root / "models")
    assert sync(journal.root, f"{experiment}-b") == (1, 1)
    runs = search(open_store(journal.root, f"{experiment}-b"))
    assert {run.info.run_name for run in runs} == {"by test", "data_split", "train", "1 knn k=1"}
    trained = journal.executions("some")[1]
    assert trained.model_id is not None
    assert list_artifacts(store, trained.run_id) >= {"reports/plots/a c.svg", "cv_results.json"}


@pytest.mark.parametrize("kind", ["parent", "stage"])
def test_run_that_a_user_deleted_stays_deleted(empty: Journal, store: Store, experiment: str, kind: str) -> None:
    empty.write_session(ended_session(empty.root))
    empty.write_execution("some", make_execution())
    sync(empty.root, experiment)
    store.client.delete_run(search(store, kind)[0].info.run_id)
    left = dump(store)
    assert sync(empty.root, experiment) == (0, 1)
    assert dump(store) == left


@pytest.mark.parametrize("launched", [True, False])
def test_session_whose_process_is_gone_is_marked_as_killed(
    empty: Journal, store: Store, experiment: str, launched: bool
) -> None:
    empty.write_session(ended_session(empty.root, status="RUNNING", end_time=None, launched=launched))
    empty.write_execution("some", make_execution(status="RUNNING", end_time=None))
    sync(empty.root, experiment)
    assert {run.info.run_name: run.info.status for run in search(store)} == {"by test": "KILLED", "train": "KILLED"}
    assert all(run.info.end_time for run in search(store))


@pytest.mark.parametrize("owner", [None, foreign_key()], ids=["of this host", "of another host"])
def test_session_that_may_still_run_is_left_alone(journal: Journal, store: Store, experiment: str, owner: Any) -> None:
    session = make_session(journal.root, **({"owner": owner} if owner else {}))
    journal.write_session(session)
    journal.write_execution("some", make_execution(status="RUNNING", end_time=None))
    # Nor is the workspace recorded, which the session is about to change.
    assert sync(journal.root, experiment) == (0, 0)
    assert search(store) == []
    assert journal.sessions() == [session]
    assert [execution.status for execution in journal.executions("some")] == ["RUNNING"]


def test_store_that_fails_leaves_everything_in_the_journal(
    empty: Journal, experiment: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ended_session(empty.root)
    empty.write_session(session)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", UNKNOWN_STORE)
        with pytest.raises(TrackingError, match=f"MLflow store {UNKNOWN_STORE}"):
            sync(empty.root, experiment)
    assert empty.sessions() == [session]
    # A failure in the middle is explained too.
    (empty.root / "mlruns").write_text("no folder")
    empty.write_execution("some", make_execution(status="FAILED", traceback="x"))
    with pytest.raises(TrackingError, match=f"/some: MLflow store {store.uri} failed .*make sync"):
        sync(empty.root, experiment)


# --- the workspace after `git checkout` ---


@pytest.mark.usefixtures("store")
def test_session_that_cannot_be_written_hides_no_other(empty: Journal, experiment: str) -> None:
    for number, session_id in enumerate(("bad", "good")):
        empty.write_session(ended_session(empty.root, session_id, start_time=number))
    empty.write_execution("bad", make_execution(candidates=[{"no": "estimator"}]))
    with pytest.raises(TrackingError, match=r"^1 of 2 sessions .*, such as .*/bad: MLflow store .* failed \('params'"):
        sync(empty.root, experiment)
    assert [session.complete for session in empty.sessions()] == [False, True]


def test_results_that_came_by_git_are_recorded_once_as_the_workspace(
    journal: Journal, store: Store, experiment: str
) -> None:
    root = journal.root
    assert sync(root, experiment) == (1, 1)
    (run,) = search(store)
    assert (run.info.run_name, run.info.status) == ("workspace", "FINISHED")
    assert run.data.metrics == {"test_f1_macro": 0.5, "rows.train": 4.0}
    assert run.data.params["data_split.size"] == "0.25"
    assert [run.data.tags[f"stage.{stage}"] for stage in ("data_split", "train")] == ["unchanged", "unchanged"]
    assert run.data.tags["stage.train.run_id"] == "unknown"
    assert run.data.tags["git.commit"] == git(root, "rev-parse", "HEAD")
    assert sync(root, experiment) == (0, 1)
    # Another version is checked out.
    (root / "scores.json").write_text('{"test_f1_macro": 0.75}')
    reproduce(root)
    commit(root)
    assert sync(root, experiment) == (1, 2)
    # Both are known now, also where dvc.lock still has a stage that was removed.
    lock = (root / "dvc.lock").read_text()
    git(root, "checkout", "--quiet", "HEAD~")
    (root / "dvc.lock").write_text((root / "dvc.lock").read_text() + "  removed: {cmd: echo}\n")
    assert sync(root, experiment) == (0, 2)
    (root / "dvc.lock").write_text(lock)
    assert sync(root, experiment) == (0, 2)


def test_workspace_with_stages_in_subfolders_is_recorded_once(journal: Journal, store: Store, experiment: str) -> None:
    root = journal.root
    (root / "sub").mkdir()
    (root / "sub" / "dvc.yaml").write_text(
        "stages: {inner: {cmd: cp ../scores.json a, deps: [../scores.json], outs: [a]}}"
    )
    stage = "  moved:\n    wdir: sub\n    cmd: cp ../scores.json b\n    deps: [../scores.json]\n    outs: [b]\n"
    definition = (root / "dvc.yaml").read_text()
    (root / "dvc.yaml").write_text(definition.replace("artifacts:", f"{stage}artifacts:"))
    reproduce(root, all_pipelines=True)
    assert sync(root, experiment) == (1, 1)
    assert sync(root, experiment) == (0, 1)
    assert search(store)[0].data.tags["stage.sub/dvc.yaml:inner"]


def test_session_of_a_newer_state_hides_an_older_one_of_the_same_folder(
    journal: Journal, store: Store, experiment: str
) -> None:
    root = journal.root
    journal.write_session(ended_session(root, "first", name="first", start_time=1, before={}))
    journal.write_session(ended_session(root, "second", name="second", start_time=2, before={}))
    sync(root, experiment)
    stages = {run.info.run_name: run.data.tags.get("stage.train") for run in search(store)}
    assert stages == {"first": None, "second": "restored"}


# --- experiments ---


def make_experiment(root: Path, name: str, f1: float) -> tuple[str, str]:
    """Run an experiment as DVC does: its results are a commit on a ref; returns baseline and commit."""
    baseline = git(root, "rev-parse", "HEAD")
    (root / "scores.json").write_text(f'{{"test_f1_macro": {f1}}}')
    reproduce(root)
    found = commit(root, f"dvc: {name}")
    git(root, "reset", "--quiet", "--hard", baseline)
    git(root, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}", found)
    return baseline, found


def test_experiments_are_matched_with_their_commits_and_recorded_from_them(
    journal: Journal, store: Store, experiment: str
) -> None:
    root = journal.root
    before = digests(read_lock(root))
    baseline, ran = make_experiment(root, "brave-fox", 0.75)
    _, restored = make_experiment(root, "calm-owl", 0.875)
    reproduce(root)
    temporary = str(root / ".dvc" / "tmp" / "exps" / "gone")
    changes: dict[str, Any] = {"exp_name": "brave-fox", "exp_baseline": baseline, "work_root": temporary}
    journal.write_session(ended_session(root, **changes, name="brave-fox", launched=False, before=before))
    journal.write_session(ended_session(root, "older", **changes, start_time=1, launched=False))
    journal.write_execution("some", make_execution("train"))
    assert sync(root, experiment) == (4, 4)
    runs = {run.info.run_name: run for run in search(store, "parent")}
    assert set(runs) == {"brave-fox", "calm-owl", "by test", "workspace"}
    for name, f1, outcome in (("brave-fox", 0.75, "ran"), ("calm-owl", 0.875, "restored")):
        assert runs[name].data.metrics["test_f1_macro"] == f1
        assert (runs[name].data.tags["stage.train"], runs[name].data.tags["stage.data_split"]) == (outcome, "unchanged")
        assert runs[name].data.tags["dvc.exp.baseline"] == baseline
        assert runs[name].info.status == "FINISHED"
    assert runs["calm-owl"].info.start_time == runs["calm-owl"].info.end_time
    assert runs["calm-owl"].data.tags["git.commit"] == baseline
    sessions = {session.name: session.exp_commit for session in journal.sessions()}
    assert sessions == {"brave-fox": ran, "calm-owl": restored, "by test": "", "workspace": ""}
    before_again = dump(store)
    assert sync(root, experiment) == (0, 4)
    assert dump(store) == before_again
