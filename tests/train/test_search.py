import logging
import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from src.config.train import BINARY_SCORINGS
from src.errors import ConfigError, TrainError
from src.train import search
from src.train.fit import fit_model
from src.train.model import Candidate
from src.train.search import (
    Result,
    choose_best,
    choose_within_luck,
    list_candidate_records,
    list_candidates,
    log_fit_warnings,
    make_results_table,
    rank_results,
)
from tests.train.tables import COLUMNS as ALL_COLUMNS
from tests.train.tables import make_config, make_table

# Few columns, so that the fits take little time.
COLUMNS = {name: ALL_COLUMNS[name] for name in ("height", "member")}
GRID = {"knn": {"n_neighbors": [3, 5, 7, 9, 11, 13], "weights": ["uniform", "distance"]}}


class Marking(DummyClassifier):  # type: ignore[misc] - scikit-learn ships no types
    """Warns at each fit, and writes a file named after its process to folder `constant`."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Marking":
        Path(self.constant, str(os.getpid())).touch()
        warnings.warn("two\nlines", UserWarning, stacklevel=1)
        return super().fit(X, y, sample_weight)  # type: ignore[no-any-return] - as above


class Interrupted(DummyClassifier):  # type: ignore[misc] - scikit-learn ships no types
    """Is interrupted by Ctrl-C while it is fitted."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Interrupted":  # noqa: ARG002 - signature of fit
        raise KeyboardInterrupt


class FitsFewRows(DummyClassifier):  # type: ignore[misc] - scikit-learn ships no types
    """Fails on more than 50 rows if it predicts the most frequent class."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "FitsFewRows":
        if len(y) > 50 and self.strategy == "most_frequent":
            raise ValueError("too many rows")
        return super().fit(X, y, sample_weight)  # type: ignore[no-any-return] - as above


def candidates(estimator: Any, kind: str, **settings: Any) -> list[Candidate]:
    config = make_config(estimator, search={"kind": kind, **settings}, param_grid=GRID)
    return list_candidates(config.train, "classification", random_state=42)


def result(*scores: float, estimator: str = "knn", n_rows: int = 60, **params: Any) -> Result:
    return Result(Candidate(estimator, params), scores, n_rows)


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_grid_search_tries_every_combination_of_every_estimator_in_order() -> None:
    found = candidates(["knn", "logreg"], "grid")
    assert [candidate.estimator for candidate in found] == ["knn"] * 12 + ["logreg"] * 4
    assert [dict(candidate.params) for candidate in found[:3]] == [
        {"n_neighbors": 3, "weights": "uniform"},
        {"n_neighbors": 3, "weights": "distance"},
        {"n_neighbors": 5, "weights": "uniform"},
    ]
    assert len({str(candidate) for candidate in found}) == 16


def test_random_search_draws_without_replacement_and_depends_on_the_seed_only() -> None:
    first, second = (candidates(["knn", "logreg"], "random", n_candidates=7) for _ in range(2))
    assert first == second
    assert len({str(candidate) for candidate in first}) == 7
    assert {candidate.estimator for candidate in first} == {"knn", "logreg"}
    assert all(list(candidate.params) == sorted(candidate.params) for candidate in first)


def test_random_search_of_more_candidates_than_exist_tries_all() -> None:
    found = candidates("knn", "random", n_candidates=99)
    assert {str(candidate) for candidate in found} == {str(candidate) for candidate in candidates("knn", "grid")}


def test_search_without_time_scores_one_candidate_on_every_fold(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    settings = {"kind": "random", "n_candidates": 12, "seconds": 1e-9}
    found = fit_model(make_table(), COLUMNS, make_config("knn", search=settings, param_grid=GRID))
    assert len(found.cv_results) == 1
    assert math.isfinite(found.cv_metrics["cv_accuracy_mean"])
    assert "the search stopped after 1e-09 s with 1 of 12 candidates" in "\n".join(messages(caplog, logging.WARNING))


def test_search_with_enough_time_scores_all_candidates(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    settings = {"kind": "random", "n_candidates": 3, "seconds": 1e9}
    assert len(fit_model(make_table(), COLUMNS, make_config("knn", search=settings, param_grid=GRID)).cv_results) == 3
    assert not any("stopped" in line for line in messages(caplog, logging.INFO))


def test_halving_scores_the_best_candidates_on_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    # Rounds of 14, 40 and 120 rows.
    monkeypatch.setattr(search, "MIN_HALVING_ROWS", 13)
    config = make_config("knn", search={"kind": "halving", "factor": 3}, param_grid=GRID)
    halving = fit_model(make_table(n_rows=180), COLUMNS, config)
    table = halving.cv_results
    assert table["n_rows"].value_counts().to_dict() == {13: 8, 40: 2, 120: 2}
    # Those that reached a later round rank before the others, whatever their scores.
    assert set(table.loc[table["n_rows"] == 120, "rank"]) <= {1, 2}
    grid = fit_model(make_table(n_rows=180), COLUMNS, make_config("knn", param_grid=GRID)).cv_results
    best = table["rank"] == 1
    pd.testing.assert_frame_equal(
        table.loc[best, ["n_neighbors", "weights", "mean", "std"]],
        grid.loc[best, ["n_neighbors", "weights", "mean", "std"]],
    )
    assert halving.best_params["n_neighbors"] == int(table.loc[best, "n_neighbors"].iloc[0])


@pytest.mark.parametrize(("min_rows", "n_rounds"), [(20, 2), (21, 1), (1, 3)])
def test_halving_has_as_many_rounds_as_the_rows_allow(
    min_rows: int, n_rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 60 rows to fit on and 12 candidates.
    monkeypatch.setattr(search, "MIN_HALVING_ROWS", min_rows)
    config = make_config("knn", search={"kind": "halving", "factor": 3}, param_grid=GRID)
    assert fit_model(make_table(), COLUMNS, config).cv_results["n_rows"].nunique() == n_rounds


def test_halving_whose_best_candidates_fail_on_more_rows_chooses_one_with_a_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "MIN_HALVING_ROWS", 10)
    name = "tests.train.test_search.FitsFewRows"
    grid = {name: {"strategy": ["most_frequent", "prior", "stratified"]}}
    table = make_table().assign(target=["common"] * 80 + ["rare"] * 10)
    config = make_config(name, search={"kind": "halving", "factor": 3}, param_grid=grid)
    found = fit_model(table, COLUMNS, config)
    assert found.cv_results["n_rows"].tolist() == [60, 20, 20]
    assert found.cv_results["mean"].isna().tolist() == [True, False, False]
    assert found.best_params == {"strategy": "prior"}
    assert all(math.isfinite(value) for value in found.cv_metrics.values())


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_warnings_of_all_processes_are_counted(n_jobs: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = "tests.train.test_search.Marking"
    fit_model(make_table(), COLUMNS, make_config(name, n_jobs=n_jobs, param_grid={name: {"constant": [str(tmp_path)]}}))
    # With more than one process, only the refit runs in this one.
    processes = {path.name for path in tmp_path.iterdir()}
    assert (processes == {str(os.getpid())}) == (n_jobs == 1)
    assert messages(caplog, logging.WARNING) == [
        "3 of 3 fits warned: UserWarning: two lines",
        "1 of 1 fits warned: UserWarning: two lines",
    ]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_interrupt_ends_the_search(n_jobs: int) -> None:
    config = make_config("tests.train.test_search.Interrupted", n_jobs=n_jobs, param_grid={})
    with pytest.raises(KeyboardInterrupt):
        fit_model(make_table(), COLUMNS, config)


def test_candidate_that_cannot_be_fitted_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    found = fit_model(make_table(), COLUMNS, make_config("knn", param_grid={"knn": {"n_neighbors": [1000, 5]}}))
    assert found.best_params == {"n_neighbors": 5}
    assert found.cv_results["rank"].tolist() == [pd.NA, 1]
    (line,) = messages(caplog, logging.WARNING)
    assert line.startswith("1 of 2 candidates have no score; for knn with n_neighbors = 1000: Expected n_neighbors <=")


def test_score_that_the_estimator_does_not_support_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    config = make_config(["svm", "logreg"], scoring="neg_log_loss", param_grid={"svm": {}, "logreg": {}})
    assert fit_model(make_table(), COLUMNS, config).estimator == "logreg"
    (line,) = messages(caplog, logging.WARNING)
    assert "for svm with its default parameters: " in line
    assert "predict_proba" in line


def test_score_that_is_not_a_number_is_reported() -> None:
    # Each fold is scored on one class only, for which the area under the curve is undefined.
    table = make_table(gaps=False).assign(clinic=["a", "b", "c"] * 30)
    table["target"] = table["clinic"].map({"a": "x", "b": "y", "c": "z"})
    config = make_config(
        "logreg", scoring="roc_auc_ovr", split={"kind": "group", "column": "clinic"}, param_grid={"logreg": {}}
    )
    with pytest.raises(TrainError, match="logreg with its default parameters cannot be fitted: "):
        fit_model(table, COLUMNS, config)


def test_fits_that_do_not_converge_are_counted_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    fit_model(make_table(), COLUMNS, make_config("logreg", param_grid={"logreg": {"max_iter": [1], "C": [1.0, 10.0]}}))
    assert messages(caplog, logging.WARNING) == [
        "6 of 6 fits did not converge (logreg 6): raise max_iter, or scale the numbers",
        "1 of 1 fits did not converge (logreg 1): raise max_iter, or scale the numbers",
    ]


def test_equal_warnings_are_one_line_and_the_rest_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    others = [("UserWarning", f"text {number}") for number in range(7)]
    not_converged = (ConvergenceWarning.__name__, "x")
    log_fit_warnings([("a", [*others, not_converged, not_converged]), ("b", [others[0]])])
    lines = messages(caplog, logging.WARNING)
    assert lines[:2] == [
        "1 of 2 fits did not converge (a 1): raise max_iter, or scale the numbers",
        "2 of 2 fits warned: UserWarning: text 0",
    ]
    assert lines[-1] == "2 further warnings are not shown"
    assert len(lines) == 7


def test_few_warnings_are_all_shown(caplog: pytest.LogCaptureFixture) -> None:
    log_fit_warnings([("a", [("UserWarning", f"text {number}") for number in range(5)])])
    assert len(messages(caplog, logging.WARNING)) == 5


def test_equal_results_share_a_rank_and_the_first_is_chosen() -> None:
    found = [result(0.5), result(0.9, 0.7), result(math.nan, 0.9), result(0.8), result(0.1)]
    assert rank_results(found) == [3, 1, None, 1, 4]
    assert choose_best(found) is found[1]


def test_result_on_more_rows_ranks_before_a_better_one_on_fewer() -> None:
    assert rank_results([result(0.9, n_rows=20), result(0.5, n_rows=60)]) == [2, 1]


def test_result_without_a_score_never_ranks_before_one_with_a_score() -> None:
    found = [result(-0.5, n_rows=20), result(math.nan, n_rows=60), result(-0.7, n_rows=20)]
    assert choose_best(found) is found[0]
    assert rank_results(found) == [1, None, 2]


@pytest.mark.parametrize(
    ("simple", "complex_", "is_luck"),
    [
        ((0.80, 0.81, 0.79, 0.80), (0.86, 0.87, 0.84, 0.85), False),
        ((0.80, 0.81, 0.79, 0.80), (0.90, 0.75, 0.85, 0.76), True),
        ((0.80, 0.80, 0.80, 0.80), (0.80, 0.80, 0.80, 0.80), True),
        # The difference is 0.00375, one plain standard error 0.0031, a corrected one 0.0047.
        ((0.80, 0.80, 0.80, 0.80), (0.809, 0.797, 0.809, 0.80), True),
        ((0.80, 0.80, 0.80, 0.80), (0.81, 0.805, 0.81, 0.805), False),
    ],
)
def test_simpler_estimator_is_chosen_if_the_other_is_better_by_luck_only(
    simple: tuple[float, ...], complex_: tuple[float, ...], is_luck: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found = [result(*complex_, estimator="mlp"), result(*simple), result(0.1, 0.1, 0.1, 0.1), result(math.nan)]
    assert choose_within_luck(found, ["knn", "mlp"], 1 / 3) is found[1 if is_luck else 0]
    lines = messages(caplog, logging.INFO)
    assert [line.partition(" better")[0].rpartition(" ")[0] for line in lines] == ["chose knn: mlp is"] * is_luck
    # Never a more complex one.
    assert choose_within_luck(found, ["mlp", "knn"], 1 / 3) is found[0]


def test_simpler_estimator_that_halving_dropped_is_not_chosen() -> None:
    found = [result(0.9, 0.9, n_rows=20), result(0.5, 0.7, estimator="mlp")]
    assert choose_within_luck(found, ["knn", "mlp"], 0.5) is found[1]
    failed = [result(0.9, math.nan), found[1]]
    assert choose_within_luck(failed, ["knn", "mlp"], 0.5) is found[1]


def test_chosen_candidate_is_the_one_that_is_fitted_and_marked() -> None:
    # Both find nothing in noise.
    table = make_table(gaps=False)
    table["target"] = table["target"].sample(frac=1, random_state=3).to_numpy()
    grids = {"logreg": {"C": [0.1, 1.0]}, "knn": {"n_neighbors": [3, 5, 7, 9, 11]}}
    found = fit_model(table, COLUMNS, make_config(["logreg", "knn"], param_grid=grids))
    chosen = found.cv_results[found.cv_results["chosen"]]
    assert chosen["estimator"].tolist() == [found.estimator] == ["logreg"]
    assert chosen["rank"].iloc[0] > 1
    assert found.candidates[0]["params"] == {"C": str(found.best_params["C"])}
    assert chosen["mean"].iloc[0] == found.cv_metrics["cv_accuracy_mean"]


def test_auto_tries_a_linear_model_and_boosting() -> None:
    for task, linear in (("classification", "logreg"), ("regression", "ridge")):
        config = make_config("auto", task, param_grid={})
        found = list_candidates(config.train, task, random_state=0)
        assert list(dict.fromkeys(candidate.estimator for candidate in found)) == [linear, "hist_gradient_boosting"]


def test_grid_search_with_a_time_budget_takes_turns_and_stops(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found = candidates(["knn", "logreg"], "grid", seconds=60)
    assert [candidate.estimator for candidate in found] == ["knn", "logreg"] * 4 + ["knn"] * 8
    config = make_config("knn", search={"kind": "grid", "seconds": 1e-9}, param_grid=GRID)
    assert len(fit_model(make_table(), COLUMNS, config).cv_results) == 1
    assert "the search stopped after 1e-09 s with 1 of 12 candidates" in "\n".join(messages(caplog, logging.WARNING))


def test_results_table_has_one_column_per_parameter() -> None:
    found = [result(0.5, 0.7, n_neighbors=3), result(0.9, 0.9, estimator="mlp", hidden_layer_sizes=[8, 4], p=None)]
    table = make_results_table(found, found[1], halving=False)
    assert list(table.columns) == [
        "estimator",
        "n_neighbors",
        "hidden_layer_sizes",
        "p",
        "mean",
        "std",
        "rank",
        "chosen",
    ]
    assert table.to_csv(index=False).splitlines()[1:] == [
        "knn,3,,,0.6,0.09999999999999998,2,False",
        'mlp,,"[8, 4]",null,0.9,0.0,1,True',
    ]


def test_results_table_without_a_search_has_no_scores() -> None:
    only = result(C=1.0)
    assert make_results_table([only], only, halving=False).to_csv(index=False) == (
        "estimator,C,mean,std,rank,chosen\nknn,1.0,,,,True\n"
    )


def test_results_table_of_halving_has_the_number_of_rows() -> None:
    # A parameter of the same name is renamed.
    only = result(0.5, n_rows=40)
    table = make_results_table([only], only, halving=True).assign(x=1)
    assert list(table.columns) == ["estimator", "n_rows", "mean", "std", "rank", "chosen", "x"]
    renamed = make_results_table([Result(Candidate("knn", {"n_rows": 3}), (0.5,), 40)], only, halving=True)
    assert renamed.to_csv(index=False) == "estimator,n_rows_,n_rows,mean,std,rank,chosen\nknn,3,40,0.5,0.0,1,False\n"


def test_candidate_records_start_with_the_chosen_one() -> None:
    found = [result(0.5, C=1), result(math.nan, C=2), result(0.9, C=3), result(0.4, C=4)]
    assert [record["params"]["C"] for record in list_candidate_records(found, found[3], "r2")] == ["4", "3", "1", "2"]
    assert list_candidate_records(found[:3], found[2], "r2") == [
        {"estimator": "knn", "params": {"C": "3"}, "metrics": {"cv_r2_mean": 0.9, "cv_r2_std": 0.0, "cv_rank": 1.0}},
        {"estimator": "knn", "params": {"C": "1"}, "metrics": {"cv_r2_mean": 0.5, "cv_r2_std": 0.0, "cv_rank": 2.0}},
        {"estimator": "knn", "params": {"C": "2"}, "metrics": {}},
    ]


@pytest.mark.parametrize("scoring", BINARY_SCORINGS)
@pytest.mark.parametrize("positive", [None, "low"])
def test_search_scores_the_positive_class(scoring: str, positive: str | None) -> None:
    table = make_table().assign(target=lambda rows: rows["target"].replace({"mid": "low"}))
    config = make_config("logreg", scoring=scoring, param_grid={"logreg": {"C": [1.0]}})
    config = config.model_copy(update={"base": config.base.model_copy(update={"positive": positive})})
    metrics = fit_model(table, COLUMNS, config).cv_metrics
    assert metrics[f"cv_{scoring}_mean"] > (0.7 if positive else 0.4)
    # The baseline never predicts the rarer class.
    if scoring == "recall":
        assert metrics["cv_recall_mean_baseline"] == (1 if positive else 0)


@pytest.mark.parametrize("scoring", BINARY_SCORINGS)
def test_scoring_of_two_classes_is_refused_for_three(scoring: str) -> None:
    with pytest.raises(ConfigError, match=f"^train.scoring = '{scoring}' needs two classes, .* 'high', 'low', 'mid'; "):
        fit_model(make_table(), COLUMNS, make_config("logreg", scoring=scoring))


def test_number_of_threads_changes_no_score() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({f"x{number}": rng.normal(size=25_000) for number in range(20)})
    table["target"] = table.sum(axis="columns") + rng.normal(size=len(table))
    columns = {name: {"kind": "number"} for name in table.columns[:-1]}
    config = make_config("ridge", "regression", param_grid={"ridge": {}})
    scores = set()
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            found = fit_model(table, columns, config)
        scores.add((*found.cv_metrics.values(), *found.model["estimator"].coef_))
    assert len(scores) == 1
