import json
from pathlib import Path

import pytest

from src.tracking.candidate_runs import MAX_CANDIDATE_RUNS, log_candidates
from src.tracking.candidates import CandidateRecord, tabulate_candidates
from src.tracking.journal import Journal, Session
from src.tracking.parent_run import ensure_parent
from src.tracking.session import Place
from src.tracking.stage_run import close_stage_run, open_stage_run
from src.tracking.store import Store, open_store
from src.tracking.sync import sync
from tests.tracking.workspace import artifacts, ended_session, make_session, make_visit, runs

TRIED = [
    CandidateRecord("knn", {"n_neighbors": "3"}, {"cv_f1_mean": 0.9, "cv_f1_std": 0.1, "cv_rank": 1.0}),
    CandidateRecord("sklearn.tree.Tree", {"max_depth": "2"}, {"cv_f1_mean": 0.8, "cv_f1_std": 0.1, "cv_rank": 2.0}),
    CandidateRecord("knn", {"n_neighbors": "999"}),
]


@pytest.fixture
def session(store: Store, root: Path) -> Session:
    return ensure_parent(store, Journal(root), make_session(root))


def test_candidates_are_runs_under_the_run_of_their_stage(store: Store, session: Session, place: Place) -> None:
    visit = make_visit("train", candidates=TRIED)
    open_stage_run(store, session, visit)
    close_stage_run(store, place, visit)
    best, second, failed = sorted(runs(store, "candidate"), key=lambda run: str(run.info.run_name))
    assert [run.info.run_name for run in (best, second, failed)] == ["1 knn", "2 Tree", "3 knn"]
    assert {run.data.tags["mlflow.parentRunId"] for run in (best, second, failed)} == {visit.run_id}
    assert {run.info.status for run in (best, second, failed)} == {"FINISHED"}
    assert best.data.params == {"estimator": "knn", "n_neighbors": "3"}
    assert best.data.metrics == {"cv_f1_mean": 0.9, "cv_f1_std": 0.1, "cv_rank": 1.0}
    assert failed.data.metrics == {}
    assert (best.info.start_time, best.info.end_time) == (2_000, 5_500)
    assert best.data.tags["git.commit"] == "c0ffee"


def test_candidate_is_taken_neither_for_a_stage_nor_for_a_parent(store: Store, session: Session, place: Place) -> None:
    visit = make_visit("train", candidates=TRIED)
    open_stage_run(store, session, visit)
    close_stage_run(store, place, visit)
    assert [run.info.run_id for run in runs(store, "stage")] == [visit.run_id]
    assert [run.info.run_id for run in runs(store, "parent")] == [session.run_id]
    tags = runs(store, "candidate")[0].data.tags
    assert {"dvc.stage", "dvc.entry"} & set(tags) == set()


def test_all_candidates_are_in_a_table_that_mlflow_reads(store: Store, session: Session, place: Place) -> None:
    import mlflow

    visit = make_visit("train", candidates=TRIED)
    open_stage_run(store, session, visit)
    close_stage_run(store, place, visit)
    table = mlflow.load_table("cv_results.json", run_ids=[visit.run_id])
    assert list(table["estimator"]) == ["knn", "sklearn.tree.Tree", "knn"]
    assert table["cv_f1_mean"].fillna(-1).tolist() == [0.9, 0.8, -1]
    assert list(table.columns)[:3] == ["estimator", "max_depth", "n_neighbors"]


def test_only_the_best_of_many_get_runs_and_all_are_in_the_table(store: Store, session: Session, place: Place) -> None:
    many = [CandidateRecord("knn", {"n_neighbors": str(number)}, {"cv_rank": number + 1.0}) for number in range(25)]
    visit = make_visit("train", candidates=many)
    open_stage_run(store, session, visit)
    close_stage_run(store, place, visit)
    found = runs(store, "candidate")
    assert len(found) == MAX_CANDIDATE_RUNS == 20
    assert {run.data.params["n_neighbors"] for run in found} == {str(number) for number in range(20)}
    path = Path(store.client.download_artifacts(visit.run_id, "cv_results.json"))
    assert len(json.loads(path.read_text())["data"]) == 25


def test_logging_again_after_a_failure_half_way_makes_no_second_run(
    store: Store, session: Session, place: Place
) -> None:
    visit = make_visit("train", candidates=TRIED)
    open_stage_run(store, session, visit)
    assert visit.run_id is not None
    log_candidates(store, visit.run_id, TRIED[:2], None)
    close_stage_run(store, place, visit)
    close_stage_run(store, place, visit)
    assert len(runs(store, "candidate")) == 3


def test_candidate_whose_run_a_user_deleted_stays_deleted(store: Store, session: Session, place: Place) -> None:
    visit = make_visit("train", candidates=TRIED)
    open_stage_run(store, session, visit)
    close_stage_run(store, place, visit)
    store.client.delete_run(runs(store, "candidate")[0].info.run_id)
    close_stage_run(store, place, visit)
    assert len(runs(store, "candidate")) == 2


def test_failed_stage_has_no_candidates(store: Store, session: Session, place: Place) -> None:
    visit = make_visit("train", status="FAILED", candidates=TRIED)
    open_stage_run(store, session, visit)
    close_stage_run(store, place, visit)
    assert runs(store, "candidate") == []
    assert artifacts(store, str(visit.run_id)) == set()


def test_sync_makes_the_candidates_that_no_store_knows_of_once(root: Path, store: Store) -> None:
    journal = Journal(root)
    journal.write_session(ended_session(root))
    journal.write_visit("some", make_visit("train", candidates=TRIED))
    assert journal.visits("some")[0].candidates == TRIED
    assert sync(root, "pipeline") == (1, 1)
    before = {run.info.run_id for run in runs(store)}
    assert len(runs(store, "candidate")) == 3
    assert sync(root, "pipeline") == (0, 1)
    assert {run.info.run_id for run in runs(open_store(root, "pipeline"))} == before


def test_journal_of_before_there_were_candidates_is_still_read(root: Path) -> None:
    journal = Journal(root)
    journal.write_visit("some", make_visit("train"))
    (path,) = journal.path.glob("some/visit-*.json")
    content = json.loads(path.read_text())
    del content["candidates"]
    path.write_text(json.dumps(content))
    assert [visit.candidates for visit in journal.visits("some")] == [[]]


def test_table_has_nothing_where_a_candidate_has_no_such_parameter() -> None:
    assert tabulate_candidates(TRIED[:2])["data"] == [
        ["knn", None, "3", 0.9, 0.1, 1.0],
        ["sklearn.tree.Tree", "2", None, 0.8, 0.1, 2.0],
    ]
