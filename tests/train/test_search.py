import logging
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning

from src.train import progress, search
from src.train.candidates import Candidate, list_candidates
from src.train.fit import fit_model
from src.train.results import record_candidates, tabulate
from src.train.search import Result, choose, rank
from src.train.warned import tell_notes
from tests.train.tables import COLUMNS, make_config, make_table

GRID = {"knn": {"n_neighbors": [3, 5, 7, 9, 11, 13], "weights": ["uniform", "distance"]}}


class Marking(DummyClassifier):  # type: ignore[misc] - scikit-learn ships no types
    """Leaves a file named after its process at each fit."""

    folder = ""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Marking":
        Path(os.environ["MARKS"], str(os.getpid())).touch()
        return super().fit(X, y, sample_weight)  # type: ignore[no-any-return] - as above


class Interrupted(DummyClassifier):  # type: ignore[misc] - scikit-learn ships no types
    """Ctrl-C is pressed while it is fitted."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Interrupted":  # noqa: ARG002 - as every fit
        raise KeyboardInterrupt


class FitsFewRows(DummyClassifier):  # type: ignore[misc] - scikit-learn ships no types
    """Fails on more than 50 rows if it predicts the most frequent class."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "FitsFewRows":
        if len(y) > 50 and self.strategy == "most_frequent":
            raise ValueError("too many rows")
        return super().fit(X, y, sample_weight)  # type: ignore[no-any-return] - as above


def candidates(estimator: Any, kind: str, **changes: Any) -> list[Candidate]:
    search_settings = {"kind": kind, **changes.pop("search", {})}
    config = make_config(estimator, search=search_settings, **{"param_grid": GRID, **changes})
    return list_candidates(config.train, "classification", config.base.random_state)


def result(*values: float, estimator: str = "knn", number: int = 0, **params: Any) -> Result:
    return Result(Candidate(estimator, params), values, number, 60)


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_grid_is_every_combination_of_every_estimator() -> None:
    found = candidates(["knn", "logreg"], "grid")
    assert len(found) == 12 + 4
    assert [candidate.estimator for candidate in found] == ["knn"] * 12 + ["logreg"] * 4
    assert len({str(candidate) for candidate in found}) == 16


def test_random_search_draws_without_repetition_and_by_its_seed() -> None:
    first, second = (candidates(["knn", "logreg"], "random", search={"n_candidates": 7}) for _ in range(2))
    assert first == second
    assert len({str(candidate) for candidate in first}) == 7
    assert {candidate.estimator for candidate in first} == {"knn", "logreg"}


def test_random_search_of_more_than_there_is_tries_everything() -> None:
    assert {str(found) for found in candidates("knn", "random", search={"n_candidates": 99})} == {
        str(found) for found in candidates("knn", "grid")
    }


def test_search_that_has_no_time_tries_one_candidate_on_every_fold(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    settings = {"kind": "random", "n_candidates": 12, "seconds": 1e-9}
    found = fit_model(make_table(), COLUMNS, make_config("knn", search=settings, param_grid=GRID))
    (only,) = found.results
    assert len(only.values) == 3
    assert "stopped after 1e-09 s: tried 1 of 12 candidates" in messages(caplog, logging.INFO)


def test_halving_scores_the_best_on_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MIN_HALVING_ROWS", 10)
    config = make_config("knn", search={"kind": "halving", "factor": 3}, param_grid=GRID)
    found = fit_model(make_table(n_rows=180), COLUMNS, config)
    rounds = [candidate.round for candidate in found.results]
    assert [rounds.count(number) for number in range(3)] == [8, 2, 2]
    best = choose(found.results)
    assert (best.round, best.n_rows) == (2, 120)
    assert found.best_params == best.candidate.params
    grid = fit_model(make_table(n_rows=180), COLUMNS, make_config("knn", param_grid=GRID))
    assert best in [Result(same.candidate, same.values, 2, 120) for same in grid.results]


def test_halving_of_few_rows_is_a_grid() -> None:
    config = make_config("knn", search={"kind": "halving", "factor": 3}, param_grid=GRID)
    assert {found.round for found in fit_model(make_table(), COLUMNS, config).results} == {0}


def test_search_runs_in_processes_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKS", str(tmp_path))
    name = "tests.train.test_search.Marking"
    for n_jobs in (1, 2):
        fit_model(make_table(), COLUMNS, make_config(name, n_jobs=n_jobs, param_grid={}))
        pids = {path.name for path in tmp_path.iterdir()}
        assert (pids == {str(os.getpid())}) == (n_jobs == 1)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_interrupt_ends_the_search(n_jobs: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_model(
            make_table(),
            COLUMNS,
            make_config("tests.train.test_search.Interrupted", n_jobs=n_jobs, param_grid={}),
        )


def test_candidate_that_cannot_be_fitted_is_told_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    grid = {"knn": {"n_neighbors": [5, 1000]}}
    found = fit_model(make_table(), COLUMNS, make_config("knn", param_grid=grid))
    assert found.best_params == {"n_neighbors": 5}
    assert rank(found.results) == [1, None]
    (line,) = messages(caplog, logging.WARNING)
    assert line.startswith("1 of 2 candidates have no score, as knn with n_neighbors = 1000: Expected n_neighbors <=")


def test_score_that_the_estimator_cannot_give_is_told(caplog: pytest.LogCaptureFixture) -> None:
    config = make_config(["svm", "logreg"], scoring="neg_log_loss", param_grid={"svm": {}, "logreg": {}})
    found = fit_model(make_table(), COLUMNS, config)
    assert found.estimator == "logreg"
    (line,) = messages(caplog, logging.WARNING)
    assert "as svm with its defaults" in line
    assert "predict_proba" in line


def test_fits_that_do_not_converge_are_counted_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    grid = {"logreg": {"max_iter": [1], "C": [1.0, 10.0]}}
    fit_model(make_table(), COLUMNS, make_config("logreg", param_grid=grid))
    assert messages(caplog, logging.WARNING) == [
        "6 of 6 fits did not converge (logreg 6): raise max_iter, or scale the numbers",
        "1 of 1 fits did not converge (logreg 1): raise max_iter, or scale the numbers",
    ]


def test_equal_warnings_are_one_line_and_none_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    notes = [("UserWarning", f"text {number}") for number in range(7)]
    tell_notes([("a", [*notes, (ConvergenceWarning.__name__, "x")]), ("b", [notes[0]])])
    lines = messages(caplog, logging.WARNING)
    assert lines[:2] == [
        "1 of 2 fits did not converge (a 1): raise max_iter, or scale the numbers",
        "2 of 2 fits warned: UserWarning: text 0",
    ]
    assert lines[-1] == "and of 2 further things"
    assert len(lines) == 7


def test_ranks_begin_with_the_best_and_equals_share_one() -> None:
    found = [result(0.5), result(0.9, 0.7), result(math.nan, 0.9), result(0.8), result(0.1)]
    assert rank(found) == [3, 1, None, 1, 4]
    assert choose(found) is found[1]


def test_candidate_of_a_later_round_ranks_before_one_that_was_left_behind() -> None:
    assert rank([result(0.9, number=0), result(0.5, number=1)]) == [2, 1]


def test_candidate_without_a_score_is_never_before_one_that_has_one() -> None:
    found = [result(0.5, number=0), result(math.nan, number=1), result(0.4, number=0)]
    assert choose(found) is found[0]
    assert rank(found) == [1, None, 2]


def test_halving_whose_best_fail_on_more_rows_keeps_one_that_has_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MIN_HALVING_ROWS", 10)
    name = "tests.train.test_search.FitsFewRows"
    settings = {"kind": "halving", "factor": 3}
    grid = {name: {"strategy": ["most_frequent", "prior", "stratified"]}}
    table = make_table().assign(target=["common"] * 80 + ["rare"] * 10)
    found = fit_model(table, COLUMNS, make_config(name, search=settings, param_grid=grid))
    assert [math.isnan(each.mean) for each in found.results] == [True, False, False]
    assert found.best_params == choose(found.results).candidate.params == {"strategy": "prior"}
    assert all(math.isfinite(value) for value in found.cv_metrics.values())


def test_table_of_scores_has_a_column_for_each_parameter() -> None:
    found = [result(0.5, 0.7, n_neighbors=3), result(0.9, 0.9, estimator="mlp", hidden_layer_sizes=[8, 4], p=None)]
    table = tabulate(found, halved=False)
    assert list(table.columns) == ["estimator", "n_neighbors", "hidden_layer_sizes", "p", "mean", "std", "rank"]
    assert table.to_csv(index=False).splitlines()[1:] == [
        "knn,3,,,0.6,0.09999999999999998,2",
        'mlp,,"[8, 4]",null,0.9,0.0,1',
    ]


def test_table_without_a_search_has_one_candidate_and_no_scores() -> None:
    assert tabulate([result(C=1.0)], halved=False).to_csv(index=False) == "estimator,C,mean,std,rank\nknn,1.0,,,\n"


def test_table_of_halving_tells_on_how_many_rows() -> None:
    table = tabulate([result(0.5, n_rows=3)], halved=True)
    # A parameter of that name gets another one.
    assert list(table.columns) == ["estimator", "n_rows_", "n_rows", "mean", "std", "rank"]


def test_mlflow_is_told_the_best_first() -> None:
    told = record_candidates([result(0.5, C=1), result(math.nan, C=2), result(0.9, C=3)], "r2")
    assert [record.params["C"] for record in told] == ["3", "1", "2"]
    assert told[0].metrics == {"cv_r2_mean": 0.9, "cv_r2_std": 0.0, "cv_rank": 1.0}
    assert told[2].metrics == {}


def test_progress_tells_the_time_left_in_a_line_every_so_often(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    clock = iter(np.arange(0.0, 1000.0, 10.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.Progress(4, "search") as counted:
        for _ in range(4):
            counted.advance()
    assert messages(caplog, logging.INFO) == [
        "search: 2 of 4 fits, about 20 s left",
        "search: 4 of 4 fits, about 0 s left",
    ]
