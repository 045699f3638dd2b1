import json
from pathlib import Path
from typing import Any

import pytest

from src.tracking.journal import Visit
from src.tracking.lineage import StageEntry, observe_stage, read_lock, read_stages
from src.tracking.names import Status
from src.tracking.snapshot import (
    data_md5s,
    decide_outcome,
    find_stale_stages,
    flat_params,
    read_metrics,
    take_snapshot,
    worst_status,
)
from tests.tracking.workspace import PARAMS, make_session, make_visit

OLD, NEW = {"a": "1", "b": "1", "c": "1"}, {"a": "2", "b": "2", "c": "2"}


def visits(*stages: tuple[str, Status]) -> list[Visit]:
    return [make_visit(stage, status=status, start_time=time) for time, (stage, status) in enumerate(stages)]


# --- outcomes ---


@pytest.mark.parametrize(
    ("outcome", "stage", "before", "after", "ran", "stale", "finished"),
    [
        # DVC has finished.
        ("ran", "b", OLD, NEW, [("b", "FINISHED")], set(), True),
        ("ran", "b", OLD, OLD, [("b", "FINISHED")], set(), True),
        ("ran", "b", OLD, NEW, [("b", "FAILED"), ("b", "FINISHED")], set(), True),
        ("failed", "b", OLD, OLD, [("b", "FAILED")], set(), True),
        ("failed", "b", OLD, OLD, [("b", "KILLED")], set(), True),
        ("failed", "b", OLD, OLD, [("b", "FINISHED"), ("b", "FAILED")], set(), True),
        ("failed", "b", OLD, OLD, [("b", "FAILED")], {"b"}, True),
        ("unchanged", "b", OLD, OLD, [], set(), True),
        ("unchanged", "b", OLD, OLD, [("a", "FINISHED"), ("c", "FINISHED")], set(), True),
        ("restored", "b", OLD, NEW, [], set(), True),
        ("restored", "b", {}, NEW, [], set(), True),
        ("restored", "b", {"b": None}, NEW, [], set(), True),
        ("stale", "b", OLD, OLD, [], {"b"}, True),
        ("stale", "b", OLD, OLD, [("a", "FAILED")], {"b", "c"}, True),
        ("stale", "b", OLD, {}, [], set(), True),
        ("stale", "b", OLD, {"b": None}, [], set(), True),
        ("stale", "b", {"b": None}, {"b": None}, [], set(), True),
        # It may have been changed while it ran.
        ("stale", "b", OLD, NEW, [("b", "FINISHED")], {"b"}, True),
        # DVC goes on: only what comes before the last stage is decided.
        ("ran", "b", OLD, NEW, [("b", "FINISHED")], set(), False),
        ("ran", "a", OLD, NEW, [("a", "FINISHED"), ("b", "FINISHED")], set(), False),
        ("failed", "b", OLD, OLD, [("b", "FAILED")], set(), False),
        ("unchanged", "a", OLD, OLD, [("b", "FINISHED")], set(), False),
        ("restored", "a", OLD, NEW, [("b", "FINISHED")], set(), False),
        ("unknown", "c", OLD, OLD, [("b", "FINISHED")], set(), False),
        ("unknown", "a", OLD, OLD, [], set(), False),
        ("unknown", "b", OLD, OLD, [("gone", "FINISHED")], set(), False),
        ("stale", "a", OLD, {"a": None, "b": "1"}, [("b", "FINISHED")], set(), False),
    ],
)
def test_outcome_of_a_stage(
    outcome: str,
    stage: str,
    before: dict[str, str | None],
    after: dict[str, str | None],
    ran: list[tuple[str, Status]],
    stale: set[str],
    finished: bool,
) -> None:
    assert decide_outcome(stage, before, after, visits(*ran), stale, finished=finished) == outcome


@pytest.mark.parametrize(
    ("status", "ran"),
    [
        ("FINISHED", []),
        ("FINISHED", [("a", "FINISHED"), ("b", "FINISHED")]),
        ("FAILED", [("a", "FINISHED"), ("b", "FAILED")]),
        ("FAILED", [("a", "FAILED"), ("b", "FINISHED")]),
        ("KILLED", [("a", "KILLED"), ("b", "FAILED")]),
        ("KILLED", [("a", "FAILED"), ("b", "KILLED")]),
        ("FINISHED", [("a", "FAILED"), ("a", "FINISHED")]),
        ("FINISHED", [("a", "KILLED"), ("a", "FINISHED")]),
        ("FAILED", [("a", "KILLED"), ("a", "FAILED")]),
    ],
)
def test_session_ended_as_the_worst_of_what_its_stages_did_last(status: Status, ran: list[tuple[str, Status]]) -> None:
    assert worst_status(visits(*ran)) == status


# --- snapshots ---


def test_snapshot_of_a_pipeline_that_is_up_to_date(repository: Path) -> None:
    entries = {name: entry.digest for name, entry in read_lock(repository).items()}
    session = make_session(repository, before=entries)
    snapshot = take_snapshot(repository, session, [], finished=True, check=False)
    assert snapshot.outcomes == {"data_split": "unchanged", "train": "unchanged"}
    assert snapshot.entries == entries
    assert snapshot.metrics == {"test_f1_macro": 0.5, "rows.train": 4.0}
    assert snapshot.plots == ["reports/train"]
    assert snapshot.params["split.size"] == "0.25"
    assert snapshot.params["base.target_column"] == "target"
    assert set(snapshot.texts) == {"dvc.yaml", "dvc.lock", "params.yaml"}
    assert snapshot.texts["params.yaml"] == PARAMS
    assert {"data/train.parquet", "models/model.joblib", "reports/train"} <= set(snapshot.md5s)


def test_snapshot_shows_no_metrics_and_files_of_a_stage_that_is_stale(repository: Path) -> None:
    path = repository / "params.yaml"
    path.write_text(path.read_text().replace("shuffle: true", "shuffle: false"))
    before = {name: entry.digest for name, entry in read_lock(repository).items()}
    snapshot = take_snapshot(repository, make_session(repository, before=before), [], finished=True, check=True)
    assert snapshot.outcomes == {"data_split": "unchanged", "train": "stale"}
    assert snapshot.metrics == {}
    assert snapshot.plots == []
    assert "models/model.joblib" not in snapshot.md5s
    assert "data/train.parquet" in snapshot.md5s


def test_snapshot_before_dvc_wrote_the_lock_takes_what_the_stage_observed(repository: Path) -> None:
    entry = observe_stage(repository, read_stages(repository)["data_split"])
    (repository / "dvc.lock").unlink()
    visit = make_visit("data_split", entry=entry)
    snapshot = take_snapshot(repository, make_session(repository), [visit], finished=False, check=False)
    assert snapshot.outcomes == {"data_split": "ran", "train": "unknown"}
    assert snapshot.entries == {"data_split": entry.digest, "train": None}
    assert snapshot.md5s["data/train.parquet"] == entry.outs["data/train.parquet"]
    assert "dvc.lock" not in snapshot.texts


def test_snapshot_of_a_failed_stage_shows_no_metrics_of_a_former_run(repository: Path) -> None:
    visit = make_visit("train", status="FAILED")
    snapshot = take_snapshot(repository, make_session(repository), [visit], finished=False, check=False)
    assert snapshot.outcomes["train"] == "failed"
    assert snapshot.metrics == {}


def test_dvc_is_asked_which_stages_are_stale(repository: Path) -> None:
    assert find_stale_stages(repository) == set()
    path = repository / "params.yaml"
    path.write_text(path.read_text().replace("0.25", "0.5"))
    assert find_stale_stages(repository) == {"data_split", "train"}


def test_outside_of_dvc_nobody_knows_which_stages_are_stale(tmp_path: Path) -> None:
    assert find_stale_stages(tmp_path) is None


def test_what_dvc_cannot_tell_is_unknown_unless_it_can_be_seen(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.tracking.snapshot.find_stale_stages", lambda _: None)
    before = {name: entry.digest for name, entry in read_lock(repository).items()}
    session = make_session(repository, before=before)
    snapshot = take_snapshot(repository, session, [], finished=True, check=True)
    assert snapshot.outcomes == {"data_split": "unchanged", "train": "unchanged"}
    # Another process is about to write it.
    (repository / "models" / "model.joblib").unlink()
    snapshot = take_snapshot(repository, session, [], finished=True, check=True)
    assert snapshot.outcomes == {"data_split": "unchanged", "train": "unknown"}
    assert snapshot.metrics == {}
    # DVC restored it, or the other process wrote it.
    session.before = {**before, "data_split": "another"}
    assert take_snapshot(repository, session, [], finished=True, check=True).outcomes["data_split"] == "unknown"


@pytest.mark.parametrize("first", ["failed", "stale"])
def test_what_comes_after_a_stage_that_failed_or_is_stale_is_stale_and_shows_no_metrics(
    repository: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    # DVC looks at each stage by itself.
    monkeypatch.setattr("src.tracking.snapshot.find_stale_stages", lambda _: {"data_split"})
    before = {name: entry.digest for name, entry in read_lock(repository).items()}
    visits = [make_visit("data_split", status="FAILED")] if first == "failed" else []
    snapshot = take_snapshot(repository, make_session(repository, before=before), visits, finished=True, check=True)
    assert snapshot.outcomes == {"data_split": first, "train": "stale"}
    assert snapshot.metrics == {}


# --- files ---


@pytest.mark.parametrize(
    ("value", "text"),
    [("text", "text"), (3, "3"), (1e-05, "1e-05"), (True, "true"), (None, "null"), ([1, "a"], '[1, "a"]'), ({}, "{}")],
)
def test_param_is_text_that_can_be_compared(value: object, text: str) -> None:
    assert flat_params({"a": {"b": value}}) == {"a.b": text}


@pytest.mark.parametrize(
    ("content", "metrics"),
    [
        ({"f1": 0.5, "n": 3}, {"f1": 0.5, "n": 3.0}),
        ({"train": {"f1": 0.5}, "note": "x", "none": None, "list": [1]}, {"train.f1": 0.5}),
        ({}, {}),
        ([0.5], {}),
        (0.5, {}),
        ("text", {}),
        (None, {}),
    ],
)
def test_numbers_of_a_metrics_file_are_metrics(tmp_path: Path, content: Any, metrics: dict[str, float]) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    assert read_metrics(tmp_path / "metrics.json") == metrics


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"f1: 0.5\n"])
def test_file_that_is_no_json_has_no_metrics(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.json").write_bytes(content)
    assert read_metrics(tmp_path / "metrics.json") == {}


def test_missing_file_has_no_metrics(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.json") == {}
    assert read_metrics(tmp_path) == {}


def test_code_is_not_among_the_files_of_an_entry() -> None:
    entry = StageEntry("cmd", {"src/a.py": "1", "t.parquet": "2", "gone.csv": None}, {}, {"m.joblib": "3"})
    assert data_md5s(entry) == {"t.parquet": "2", "m.joblib": "3"}
