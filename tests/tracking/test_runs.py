import json
import logging
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.tracking.dvc_repo import DvcRepo
from src.tracking.journal import Execution, Journal, Session, Snapshot
from src.tracking.lock import LockEntry, read_lock
from src.tracking.names import Outcome, Status
from src.tracking.runs import (
    describe_outcomes,
    ensure_parent,
    fit_key,
    log_values,
    open_execution,
    ui_page,
    write_execution,
    write_parent,
)
from src.tracking.session import Place
from src.tracking.store import Store
from tests.tracking.support import (
    SCORES,
    ended_session,
    list_artifacts,
    make_execution,
    make_session,
    read_artifact,
    reproduce,
    run_by_dvc,
    search,
)

# MLflow compares string columns with a range to tell whether they have names.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated:DeprecationWarning"),
    # MLflow's own functions of language models lack the type hints that it asks for.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
]

TRIED = [
    {"estimator": "knn", "params": {"n_neighbors": "3"}, "metrics": {"cv_f1_mean": 0.9, "cv_rank": 1.0}},
    {"estimator": "sklearn.tree.Tree", "params": {"max_depth": "2"}, "metrics": {"cv_f1_mean": float("nan")}},
    {"estimator": "knn", "params": {"n_neighbors": "999"}, "metrics": {}},
]


@pytest.fixture
def run_id(store: Store) -> str:
    return str(store.client.create_run(store.experiment_id).info.run_id)


def dump(store: Store) -> list[tuple[Any, ...]]:
    """Return what the store has of each run."""
    return [
        (run.info.run_id, run.info.run_name, run.info.status, run.info.end_time, run.data.params, run.data.tags,
         str(run.data.metrics), str(run.inputs), str(run.outputs), list_artifacts(store, run.info.run_id))
        for run in search(store)
    ]  # fmt: skip


# --- values ---


@pytest.mark.parametrize(("kind", "limit"), [("params", 6000), ("tags", 5000)])
def test_long_value_is_kept_or_says_that_it_was_cut(store: Store, run_id: str, kind: str, limit: int) -> None:
    for name, length in (("kept", limit), ("cut", limit + 1), ("long", 100_000)):
        for _ in range(2):
            log_values(store, run_id, **{kind: {name: "x" * length}})  # type: ignore[arg-type]  # params or tags
    values = getattr(store.client.get_run(run_id).data, kind)
    assert values["kept"] == "x" * limit
    for name, length in (("cut", limit + 1), ("long", 100_000)):
        assert len(values[name]) <= limit
        assert values[name].startswith("x" * (limit - 40))
        assert values[name].endswith(f"… (cut, {length} characters)")


def test_many_values_are_logged_completely(store: Store, run_id: str) -> None:
    params = {f"p{number}": str(number) for number in range(250)}
    metrics = {f"m{number}": float(number) for number in range(101)} | {"nan": float("nan"), "inf": float("inf")}
    tags = {f"t{number}": str(number) for number in range(350)}
    # The last of two keys that become equal counts.
    equal = {"p[0]": "-", "p(0)": "0"}
    log_values(store, run_id, params=params | equal, metrics=metrics, tags=tags | {"empty": ""})
    data = store.client.get_run(run_id).data
    assert data.params == params | {"p_0_": "0"}
    assert data.metrics.keys() == metrics.keys()
    assert (data.metrics["m100"], tags.items() <= data.tags.items(), "empty" in data.tags) == (100.0, True, False)


@pytest.mark.parametrize(
    ("key", "fitted"),
    [
        ("data/raw/a b-c_d:e.f", "data/raw/a b-c_d:e.f"),
        ("petal length [cm]", "petal length _cm_"),
        ("a\nb'c\"d%", "a_b_c_d_"),
        ("x" * 300, "x" * 250),
        # MLflow takes a key for a path.
        ("a//b", "a/_/b"),
        ("/a", "_/a"),
        ("../a/./b/..", "_/a/_/b/_"),
        ("a/", "a/_"),
        ("", "_"),
        ("x" * 249 + "/y", "x" * 249),
    ],
)
def test_key_is_made_of_what_mlflow_allows(store: Store, run_id: str, key: str, fitted: str) -> None:
    assert fit_key(key) == fitted
    log_values(store, run_id, params={key: "1"}, metrics={key: 1.0}, tags={key: "1"})
    data = store.client.get_run(run_id).data
    assert (data.params, data.metrics, data.tags[fitted]) == ({fitted: "1"}, {fitted: 1.0}, "1")


# --- the parent run ---


def test_run_whose_id_was_lost_with_its_process_is_found_and_ended(
    store: Store, journal: Journal, place: Place
) -> None:
    session, execution = make_session(journal.root), make_execution("train")
    parent_id = ensure_parent(store, journal, replace(session)).run_id
    # The journal still has what was written before.
    journal.write_session(session)
    open_execution(store, ensure_parent(store, journal, session), execution)
    nested_id, execution.run_id = execution.run_id, None
    write_execution(store, place, session, execution)
    assert {run.info.run_id: run.info.status for run in search(store)} == {parent_id: "RUNNING", nested_id: "FINISHED"}


@pytest.fixture
def session(store: Store, journal: Journal) -> Session:
    return ensure_parent(store, journal, make_session(journal.root))


def test_parent_is_opened_once_with_the_tags_of_its_session(store: Store, journal: Journal) -> None:
    session = make_session(journal.root, exp_name="brave-fox", exp_baseline="abc")
    journal.write_session(session)
    first = ensure_parent(store, journal, session)
    # Another stage read the session before it had a run.
    second = ensure_parent(store, journal, make_session(journal.root))
    assert first == second == journal.read_session("some")
    (run,) = search(store)
    assert (run.info.run_id, run.info.run_name, run.info.status) == (first.run_id, "by test", "RUNNING")
    assert run.info.start_time == 1_000
    expected = {
        "pipeline.kind": "parent",
        "pipeline.session": "some",
        "mlflow.source.name": "dvc.yaml",
        "git.commit": "c0ffee",
        "git.branch": "main",
        "git.dirty": "false",
        "pipeline.host": session.owner.host,
        "pipeline.python": platform.python_version(),
        "dvc.exp.name": "brave-fox",
        "dvc.exp.baseline": "abc",
    }
    assert expected.items() <= run.data.tags.items()
    assert run.data.tags["pipeline.cpu"]


@pytest.mark.parametrize("how", ["deleted", "of another store"])
def test_parent_that_cannot_be_used_is_replaced_with_a_warning(
    store: Store, journal: Journal, run_id: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    if how == "deleted":
        store.client.delete_run(run_id)
    former = run_id if how == "deleted" else "0" * 32
    with caplog.at_level(logging.WARNING):
        session = ensure_parent(store, journal, make_session(journal.root, run_id=former))
    assert session.run_id not in (None, former)
    assert f"MLflow run {former} does not exist in sqlite:///" in caplog.text
    assert "continuing under a new parent run" in caplog.text
    assert "dvc.exp.name" not in store.client.get_run(session.run_id).data.tags


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"launched": False}, "RUNNING"), ({"launched": True}, "FINISHED"),
     ({"launched": False, "status": "FINISHED"}, "FINISHED")],
)  # fmt: skip
def test_parent_opened_by_hand_runs_again_with_the_next_stage(
    store: Store, journal: Journal, run_id: str, changes: dict[str, Any], status: str
) -> None:
    store.client.set_terminated(run_id, "FINISHED")
    ensure_parent(store, journal, make_session(journal.root, run_id=run_id, **changes))
    assert store.client.get_run(run_id).info.status == status


def test_parent_shows_everything_that_its_session_left(store: Store, session: Session, repository: Path) -> None:
    md5s = {path: str(md5) for stage in read_lock(repository).values() for path, md5 in stage.outs.items()}
    session.snapshot = Snapshot(
        outcomes={"train": "ran", "evaluate": "stale"},
        params={"train.cv": "5", "data_load.source.kind": "sklearn", "data_load.source.name": "iris"},
        metrics={"f1": 0.5},
        md5s=md5s,
        models=["models/model.joblib"],
        reports=["reports/plots", "gone.svg"],
        texts={"params.yaml": "train: {cv: é}\n"},
    )
    session.status, session.end_time = "KILLED", 9_000
    with DvcRepo(repository) as repo:
        write_parent(store, repo, session)
        before = dump(store)
        write_parent(store, repo, session)
    assert dump(store) == before
    (run,) = search(store)
    assert (run.info.status, run.info.end_time) == ("KILLED", 9_000)
    assert (run.data.params, run.data.metrics) == (session.snapshot.params, {"f1": 0.5})
    searched = {f"dvc.md5.{path}": md5s[path] for path in ("data/train.parquet", "models/model.joblib")}
    assert {key: value for key, value in run.data.tags.items() if key.startswith("dvc.md5")} == searched
    assert json.loads(read_artifact(store, run.info.run_id, "md5s.json")) == md5s
    assert (run.data.tags["stage.train"], run.data.tags["stage.evaluate"]) == ("ran", "stale")
    assert run.data.tags["pipeline.outcome"] == "1 ran, 1 stale"
    (table,) = run.inputs.dataset_inputs
    assert (table.dataset.name, table.dataset.digest) == ("iris", md5s["data/train.parquet"])
    assert json.loads(table.dataset.source) == {"uri": "data/train.parquet"}
    assert "pipeline" in {tag.value for tag in table.tags}
    plots = {"reports/plots/a c.svg", "reports/plots/deep/é.svg"}
    assert list_artifacts(store, run.info.run_id) == {"md5s.json", "params.yaml", *plots}
    assert read_artifact(store, run.info.run_id, "reports/plots/a c.svg") == "<svg>é</svg>"


def test_table_of_the_parent_is_the_one_that_the_settings_name(store: Store, session: Session, place: Place) -> None:
    md5 = str(read_lock(place.work_root)["data_split"].outs["data/train.parquet"])
    md5s = {"external/other.parquet": "0" * 32, "data/train.parquet": md5}
    session.snapshot = Snapshot(md5s=md5s, params={"data_load.dataset_path": "data/train.parquet"})
    with DvcRepo(place.work_root) as repo:
        write_parent(store, repo, session)
    (run,) = search(store)
    assert {key for key in run.data.tags if key.startswith("dvc.md5")} == {"dvc.md5.data/train.parquet"}
    assert [table.dataset.digest for table in run.inputs.dataset_inputs] == [md5]


@pytest.mark.parametrize(
    ("outcomes", "status", "text"),
    [
        (["ran", "ran", "unchanged", "unchanged", "unchanged"], "FINISHED", "2 ran, 3 unchanged"),
        (["stale", "unchanged", "restored", "unknown"], "FINISHED", "1 restored, 1 unchanged, 1 stale, 1 unknown"),
        (["unchanged"] * 5, "FINISHED", "5 unchanged"),
        (["unchanged", "failed", "stale"], "FAILED", "b failed"),
        (["ran", "failed", "stale"], "KILLED", "b killed"),
        (["failed", "ran", "failed"], "FAILED", "2 stages failed"),
        ([], "FAILED", ""),
    ],
)
def test_outcomes_of_all_stages_are_summarized(outcomes: list[Outcome], status: Status, text: str) -> None:
    assert describe_outcomes(dict(zip("abcde", outcomes, strict=False)), status) == text


def test_param_that_changed_since_the_run_was_opened_keeps_its_first_value(store: Store, session: Session) -> None:
    for cv in ("5", "10"):
        session.snapshot = Snapshot(params={"cv": cv, "a[1]": cv, f"new{cv}": "1"}, metrics={"f1": float(cv)})
        write_parent(store, None, session)
    (run,) = search(store)
    assert run.data.params == {"cv": "5", "a_1_": "5", "new5": "1", "new10": "1"}
    assert run.data.metrics == {"f1": 10.0}


# --- which run produced what is there ---


def record(store: Store, session: Session, **changes: Any) -> str:
    """Create the nested run of an execution that has produced the entry `digest`."""
    execution = make_execution(**changes)
    open_execution(store, session, execution)
    assert execution.run_id is not None
    store.client.set_tag(execution.run_id, "dvc.entry", "digest")
    store.client.set_tag(execution.run_id, "best.estimator", "knn")
    store.client.set_terminated(execution.run_id, end_time=execution.end_time)
    return execution.run_id


def tags_of_parent(store: Store, session: Session, **outcomes: Outcome) -> dict[str, str]:
    session.snapshot = Snapshot(outcomes=outcomes, entries=dict.fromkeys(outcomes, "digest"))
    write_parent(store, None, session)
    return dict(store.client.get_run(session.run_id).data.tags)


@pytest.mark.parametrize(
    ("outcome", "found"), [("restored", True), ("unchanged", True), ("stale", False), ("unknown", False)]
)
def test_stage_links_to_the_run_that_produced_what_is_there(
    store: Store, journal: Journal, session: Session, outcome: Outcome, found: bool
) -> None:
    run_id = record(store, session)
    later = ensure_parent(store, journal, ended_session(journal.root, "later"))
    tags = tags_of_parent(store, later, train=outcome, evaluate="unchanged")
    assert tags["stage.train.run_id"] == (run_id if found else "unknown")
    assert tags.get("best.estimator") == ("knn" if found else None)
    # Nothing is known of where it came from, and nothing is invented.
    assert tags["stage.evaluate.run_id"] == "unknown"
    link = f"[{run_id[:8]}]({ui_page(f'experiments/{store.experiment_id}/runs/{run_id}')})"
    assert tags["mlflow.note.content"].splitlines() == [
        "| stage | outcome | duration | run |",
        "| --- | --- | --- | --- |",
        f"| train | {outcome} | 3.5 s | {link} |" if found else f"| train | {outcome} |  | unknown |",
        "| evaluate | unchanged |  | unknown |",
    ]


@pytest.mark.parametrize("outcome", ["ran", "failed"])
def test_stage_that_ran_links_to_its_run_in_this_session(
    store: Store, journal: Journal, session: Session, outcome: Outcome
) -> None:
    run_id = record(store, session)
    # Another clone produced the same at the same time.
    record(store, ensure_parent(store, journal, make_session(journal.root, "other")), start_time=3_000)
    assert tags_of_parent(store, session, train=outcome)["stage.train.run_id"] == run_id


def test_stage_links_to_the_last_of_several_producers_before_its_session_ended(store: Store, session: Session) -> None:
    runs = [record(store, session, start_time=start, end_time=9_500) for start in (3_000, 7_000, 5_000, 9_001)]
    session.status, session.end_time = "FINISHED", 9_000
    assert tags_of_parent(store, session, train="unchanged")["stage.train.run_id"] == runs[1]
    session.end_time = None
    assert tags_of_parent(store, session, train="unchanged")["stage.train.run_id"] == runs[3]


# --- the nested run ---


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_stage_is_nested_with_its_values_status_and_times(
    store: Store, place: Place, session: Session, status: Status
) -> None:
    execution = make_execution(
        status=status, params={"train.cv": "5"}, metrics={"n": 3.0}, tags={"best.cv": "y"}, candidates=TRIED,
        artifacts=["reports/metrics.json", "reports/plots", "gone"],
        traceback=None if status == "FINISHED" else "Traceback …\nValueError: é",
    )  # fmt: skip
    for _ in range(2):
        execution.logged = False
        write_execution(store, place, session, execution)
        (run,) = search(store, "stage")
        assert (run.info.run_id, run.info.run_name, run.info.status) == (execution.run_id, "train", status)
        assert (run.info.start_time, run.info.end_time) == (2_000, 5_500)
        assert (run.data.params, run.data.metrics) == ({"train.cv": "5"}, {"n": 3.0})
        tags = {"mlflow.parentRunId": session.run_id, "dvc.stage": "train", "best.cv": "y"}
        assert (tags | {"mlflow.source.name": "src/stages/train.py"}).items() <= run.data.tags.items()
        if status == "FINISHED":
            logged = {"reports/metrics.json", "reports/plots/a c.svg", "reports/plots/deep/é.svg", "cv_results.json"}
            assert list_artifacts(store, execution.run_id) == logged
            assert len(search(store, "candidate")) == 3
        else:
            assert list_artifacts(store, execution.run_id) == {"traceback.txt"}
            assert read_artifact(store, execution.run_id, "traceback.txt") == execution.traceback
            assert search(store, "candidate") == []
        assert store.client.get_run(session.run_id).info.status == "RUNNING"


def test_artifact_outside_of_the_repository_is_logged_by_its_name(
    store: Store, place: Place, session: Session, tmp_path: Path
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    execution = make_execution(artifacts=[str(tmp_path / "a.txt"), "../b.txt", "data/../params.yaml"])
    write_execution(store, place, session, execution)
    assert list_artifacts(store, execution.run_id) == {"a.txt", "b.txt", "params.yaml"}


def write_with_dvc(store: Store, place: Place, session: Session, execution: Execution) -> None:
    with DvcRepo(place.work_root) as repo:
        write_execution(store, place, session, execution, repo)


def test_dvcs_record_completes_a_run_that_was_written_live(store: Store, place: Place, session: Session) -> None:
    tags = {"best.estimator": "knn"}
    execution = run_by_dvc(place.work_root, metrics={"f1": 0.5}, model="models/model.joblib", tags=tags)
    params = {"data_load.source.kind": "file", "data_load.external_path": "external/rows.csv.gz"}
    session.snapshot = Snapshot(params=params)
    entry, execution.entry = execution.entry, None
    write_execution(store, place, session, execution)
    (run,) = search(store, "stage")
    assert (execution.logged, execution.complete, "dvc.entry" in run.data.tags) == (True, False, False)
    execution.entry = entry
    write_with_dvc(store, place, session, execution)
    before = dump(store)
    assert entry is not None
    assert execution.complete
    (run,) = search(store, "stage")
    files = {**entry.outs, "data/train.parquet": entry.deps["data/train.parquet"]}
    model = {"dvc.md5.models/model.joblib": files["models/model.joblib"]}
    assert {key: value for key, value in run.data.tags.items() if key.startswith("dvc.md5")} == model
    assert run.data.tags["dvc.entry"] == entry.digest
    (table,) = run.inputs.dataset_inputs
    assert (table.dataset.name, table.dataset.digest) == ("data/train.parquet", files["data/train.parquet"])
    (output,) = run.outputs.model_outputs
    logged = store.client.get_logged_model(output.model_id)
    assert (logged.name, logged.tags["dvc.md5"]) == ("rows-knn", entry.outs["models/model.joblib"])
    for execution.complete in (True, False):
        write_with_dvc(store, place, session, execution)
        assert dump(store) == before


def test_model_that_was_replaced_since_is_not_loaded(
    store: Store, place: Place, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    execution = run_by_dvc(place.work_root, model="models/model.joblib")
    md5 = read_lock(place.work_root)["train"].outs["models/model.joblib"]
    with DvcRepo(place.work_root) as repo:
        (cached,) = repo.find_files("models/model.joblib", md5).values()
    cached.chmod(0o644)
    # A pickle that runs a command.
    cached.write_bytes(b"cos\nmkdir\n(S'hacked'\ntR.")
    write_with_dvc(store, place, session, execution)
    assert "models/model.joblib is not logged: " in caplog.text
    assert execution.model_id is None
    (run,) = search(store, "stage")
    assert run.info.status == "FINISHED"
    assert not Path("hacked").exists()


def test_model_gets_the_scores_of_the_stage_that_read_it(store: Store, place: Place, session: Session) -> None:
    lock = read_lock(place.work_root)["train"]
    md5 = lock.outs["models/model.joblib"]
    trained = run_by_dvc(place.work_root, model="models/model.joblib", metrics={"cv_f1": 0.25})
    scored = make_execution("evaluate", metrics=SCORES | {"rows": 4.0, "note": 1.0})
    scored.entry = LockEntry("evaluate", deps={"models/model.joblib": md5})
    for execution in (scored, trained, scored):
        # A model that was never logged gets nothing.
        execution.complete = False
        write_with_dvc(store, place, session, execution)
    assert trained.model_id is not None
    metrics = store.client.get_logged_model(trained.model_id).metrics
    assert {"test_f1_macro": 0.5, "rows": 4.0}.items() <= {metric.key: metric.value for metric in metrics}.items()
    run = store.client.get_run(scored.run_id)
    assert [item.model_id for item in run.inputs.model_inputs] == [trained.model_id]
    # A training that produced the same model shows the scores too: DVC skips the scoring.
    again = run_by_dvc(place.work_root, model="models/model.joblib", start_time=7_000)
    write_with_dvc(store, place, session, again)
    assert again.model_id not in (None, trained.model_id)
    assert "test_f1_macro" in {metric.key for metric in store.client.get_logged_model(str(again.model_id)).metrics}


# --- servers that refuse ---


def refuse(monkeypatch: pytest.MonkeyPatch, *calls: str, code: str = "ENDPOINT_NOT_FOUND") -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def fail(*_: Any, **__: Any) -> None:
        raise MlflowException("failed with error code 404. Response body: '<html>'", ErrorCode.Value(code))

    for call in calls:
        monkeypatch.setattr(SqlAlchemyStore, call, fail)


@pytest.mark.parametrize(
    ("calls", "left_out"),
    [
        (["create_logged_model", "search_logged_models", "set_logged_model_tags"], ["logged models"]),
        (["log_inputs"], ["tables"]),
        (["log_outputs"], ["logged models"]),
        (["search_runs"], ["candidates of a search", "logged models", "the search for the runs of stages"]),
        (["log_batch"], ["some metrics", "some params", "some tags"]),
    ],
)
def test_what_a_server_refuses_is_left_out_with_one_warning_each(
    store: Store, place: Place, session: Session, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, calls: list[str], left_out: list[str],
) -> None:  # fmt: skip
    old = replace(store, uri="http://ann:s3cr3t@old.example")
    lock = read_lock(place.work_root)
    trained = run_by_dvc(
        place.work_root, model="models/model.joblib", metrics={"cv_f1": 0.25}, params={"train.cv": "5"},
        candidates=TRIED, artifacts=["reports/metrics.json"], tags={"best.cv": "y"},
    )  # fmt: skip
    md5s = {path: str(md5) for stage in lock.values() for path, md5 in stage.outs.items()}
    session.snapshot = Snapshot({"train": "ran"}, metrics={"f1": 0.5}, md5s=md5s, models=["models/model.joblib"])
    session.status, session.end_time = "FINISHED", 9_000
    with monkeypatch.context() as patch, DvcRepo(place.work_root) as repo:
        refuse(patch, *calls)
        write_execution(old, place, session, trained, repo)
        write_parent(old, repo, session)
    assert [record.getMessage() for record in caplog.records] == [
        f"MLflow store http://***@old.example refused {what}, left out of the record: failed with error code 404."
        for what in left_out
    ]
    assert (trained.logged, trained.complete) == (True, True)
    by_id = {run.info.run_id: run for run in search(store)}
    stage, parent = by_id[str(trained.run_id)], by_id[str(session.run_id)]
    assert {run.info.status for run in by_id.values()} == {"FINISHED"}
    assert (stage.info.end_time, parent.info.end_time) == (5_500, 9_000)
    if "log_batch" not in calls:
        assert (stage.data.params, parent.data.metrics) == ({"train.cv": "5"}, {"f1": 0.5})
        assert {"dvc.entry", "best.cv"} <= set(stage.data.tags)
    assert "reports/metrics.json" in list_artifacts(store, trained.run_id)


def test_only_the_value_that_a_server_refuses_is_left_out(
    store: Store, run_id: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    log_batch = SqlAlchemyStore.log_batch

    def log_short(self: Any, **values: Any) -> None:
        if any(len(param.value) > 500 for param in values["params"]):
            raise MlflowException.invalid_parameter_value("Param value had length 600")  # type: ignore[no-untyped-call]  # MLflow has no types for it
        log_batch(self, **values)

    monkeypatch.setattr(SqlAlchemyStore, "log_batch", log_short)
    values = {"long": "x" * 600, "longer": "x" * 700, "short": "x"}
    log_values(replace(store, uri="http://old.example"), run_id, params=values, metrics={"f1": 0.5}, tags={"t": "y"})
    data = store.client.get_run(run_id).data
    assert (data.params, data.metrics, data.tags["t"]) == ({"short": "x"}, {"f1": 0.5}, "y")
    (record,) = caplog.records
    assert record.getMessage().endswith("refused some params, left out of the record: Param value had length 600")


@pytest.mark.parametrize("code", ["TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED"])
def test_what_a_server_that_fails_did_not_take_is_written_later_and_no_status_is_untrue(
    store: Store, place: Place, session: Session, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    from mlflow.exceptions import MlflowException

    old = replace(store, uri="http://old.example")
    trained = run_by_dvc(place.work_root, model="models/model.joblib")
    session.snapshot, session.status = Snapshot({"train": "ran"}), "FINISHED"
    with monkeypatch.context() as patch:
        refuse(patch, "create_logged_model", "log_batch", code=code)
        with pytest.raises(MlflowException):
            write_execution(old, place, session, trained)
        with pytest.raises(MlflowException):
            write_parent(old, None, session)
    assert (trained.logged, trained.complete) == (False, False)
    assert {run.info.status for run in search(store)} == {"FINISHED"}
    write_with_dvc(old, place, session, trained)
    assert trained.model_id


def test_first_stage_shows_the_table_that_it_wrote_and_a_foreach_stage_its_address(
    store: Store, place: Place, session: Session
) -> None:
    execution = run_by_dvc(place.work_root, "data_split")
    entry, execution.stage = execution.entry, "data_split"
    open_execution(store, session, execution)
    execution.stage, execution.entry = "data_split@iris", LockEntry("x", {}, {}, entry.outs if entry else {})
    write_with_dvc(store, place, session, execution)
    (run,) = search(store, "stage")
    assert [table.dataset.name for table in run.inputs.dataset_inputs] == ["data/train.parquet"]
    assert (run.info.run_name, run.data.tags["dvc.stage"]) == ("data_split@iris", "data_split@iris")
    assert run.data.tags["mlflow.source.name"] == "src/stages/data_split.py"


def test_table_is_described_by_its_name_hash_rows_and_columns(store: Store, place: Place, session: Session) -> None:
    import pandas as pd
    from mlflow.types import Schema

    columns = {
        "double": [0.5, 1.5],
        "float": pd.array([0.5, 1.5], dtype="float32"),
        "long": [1, 2],
        "integer": pd.array([1, 2], dtype="int8"),
        "boolean": [True, False],
        "string": ["a", "b"],
        "datetime": pd.to_datetime(["2026-01-01", "2026-01-02"]),
        "binary": [b"a", b"b"],
    }
    pd.DataFrame(columns).to_parquet(place.work_root / "table.parquet", index=False)
    reproduce(place.work_root, ["data_split"])
    execution = run_by_dvc(place.work_root, "data_split")
    write_with_dvc(store, place, session, execution)
    (logged,) = store.client.get_run(execution.run_id).inputs.dataset_inputs
    assert json.loads(logged.dataset.profile) == {"num_rows": 2, "num_elements": 16}
    described = json.loads(logged.dataset.schema)["mlflow_colspec"]
    assert {column["name"]: column["type"] for column in described} == {name: name for name in columns}
    assert Schema.from_json(json.dumps(described)).input_names() == list(columns)
    assert logged.dataset.digest == read_lock(place.work_root)["data_split"].outs["data/train.parquet"]
    assert {tag.key: tag.value for tag in logged.tags} == {"mlflow.data.context": "data_split"}


# --- the candidates of a search ---


def test_candidates_are_runs_under_their_stage_and_rows_of_a_table(
    store: Store, place: Place, session: Session
) -> None:
    import mlflow

    execution = make_execution(candidates=TRIED)
    write_execution(store, place, session, execution)
    runs = sorted(search(store, "candidate"), key=lambda run: str(run.info.run_name))
    assert [run.info.run_name for run in runs] == ["1 knn n_neighbors=3", "2 Tree", "3 knn n_neighbors=999"]
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {execution.run_id}
    assert {(run.info.status, run.info.start_time, run.info.end_time) for run in runs} == {("FINISHED", 2_000, 5_500)}
    assert (runs[0].data.params, runs[0].data.metrics) == (
        {"estimator": "knn", "n_neighbors": "3"}, {"cv_f1_mean": 0.9, "cv_rank": 1.0},
    )  # fmt: skip
    assert runs[0].data.tags["candidate.number"] == "1"
    assert not {"dvc.stage", "dvc.entry"} & set(runs[0].data.tags)
    table = mlflow.load_table("cv_results.json", run_ids=[execution.run_id])
    assert table["cv_f1_mean"].fillna(-1).tolist() == [0.9, -1, -1]
    assert json.loads(read_artifact(store, execution.run_id, "cv_results.json")) == {
        "columns": ["estimator", "max_depth", "n_neighbors", "cv_f1_mean", "cv_rank"],
        "data": [
            ["knn", None, "3", 0.9, 1.0],
            ["sklearn.tree.Tree", "2", None, None, None],
            ["knn", None, "999", None, None],
        ],
    }
    stage = store.client.get_run(execution.run_id)
    assert json.loads(stage.data.tags["mlflow.loggedArtifacts"]) == [{"path": "cv_results.json", "type": "table"}]


def test_candidate_of_any_parameters_has_a_short_name_on_one_line(store: Store, place: Place, session: Session) -> None:
    tried = [{"estimator": "knn", "params": {"kernel": f"a\n{letter * 999}"}, "metrics": {}} for letter in "xy"]
    write_execution(store, place, session, make_execution(candidates=tried))
    found = {str(run.info.run_name) for run in search(store, "candidate")}
    assert {name[:21] for name in found} == {"1 knn kernel=a\\nxxxxx", "2 knn kernel=a\\nyyyyy"}
    assert {len(name) for name in found} <= {250, 251}


def test_only_the_best_candidates_get_runs_and_none_gets_two(store: Store, place: Place, session: Session) -> None:
    many = [{"estimator": "knn", "params": {"k": str(number)}, "metrics": {}} for number in range(22)]
    execution = make_execution(candidates=many[:3])
    write_execution(store, place, session, execution)
    found = {run.data.params["k"]: run.info.run_id for run in search(store, "candidate")}
    # One was interrupted half way, and the user deleted another.
    store.client.update_run(found["0"], status="RUNNING")
    store.client.delete_run(found["1"])
    execution.candidates, execution.logged = many, False
    write_execution(store, place, session, execution)
    runs = {run.data.params["k"]: run for run in search(store, "candidate")}
    assert set(runs) == {str(number) for number in range(20)} - {"1"}
    assert len(search(store, "candidate")) == 19
    assert (runs["0"].info.run_id, runs["0"].info.status) == (found["0"], "FINISHED")
    assert len(json.loads(read_artifact(store, execution.run_id, "cv_results.json"))["data"]) == 22
