import logging
import math
import sys
from typing import Any

import pytest
from sklearn.dummy import DummyClassifier

from src.config.train import ESTIMATOR_PARAMS, Task
from src.errors import ConfigError, TrainError
from src.train.fit import FitResult, fit_model
from src.train.optuna_search import RANGES
from src.train.search import list_candidates
from tests.train.tables import COLUMNS as ALL_COLUMNS
from tests.train.tables import dump, make_config, make_table

# Few columns, so that the fits take little time.
COLUMNS = {name: ALL_COLUMNS[name] for name in ("height", "colour", "member")}


class Failing(DummyClassifier):  # type: ignore[misc] - scikit-learn ships no types
    """Fails with strategy `uniform`."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Failing":
        if self.strategy == "uniform":
            raise ValueError("cannot\nbe")
        return super().fit(X, y, sample_weight)  # type: ignore[no-any-return] - as above


def fit(estimator: Any, task: Task = "classification", seed: int = 42, **changes: Any) -> FitResult:
    search = {"kind": "optuna", "n_trials": changes.pop("n_trials", 12), "seconds": changes.pop("seconds", None)}
    config = make_config(estimator, task, search=search, **{"param_grid": {}, **changes})
    base = config.base.model_copy(update={"random_state": seed})
    return fit_model(make_table(task), COLUMNS, config.model_copy(update={"base": base}))


@pytest.mark.parametrize(
    ("task", "estimators", "param", "low", "high"),
    [("classification", ["logreg", "knn"], "C", 1e-3, 100), ("regression", ["ridge", "svm"], "alpha", 0.01, 10_000)],
)
def test_search_tries_the_first_candidates_and_then_values_in_ranges(
    task: Task, estimators: list[str], param: str, low: float, high: float
) -> None:
    found = fit(estimators, task, n_trials=15)
    table = found.cv_results
    assert table["estimator"].tolist()[:2] == estimators
    assert float(table[param].iloc[0]) == 1
    values = table[param].dropna().astype(float)
    assert len(set(values)) > 3
    assert values.between(low, high).all()
    assert set(table["estimator"]) == set(estimators)
    assert table["chosen"].sum() == 1
    chosen = table[table["chosen"]].iloc[0]
    assert found.cv_metrics[f"cv_{'r2' if task == 'regression' else 'accuracy'}_mean"] == chosen["mean"]
    assert found.candidates[0]["params"][param if param in found.best_params else "n_neighbors"]


def test_pruned_candidates_have_no_score_and_no_rank(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found = fit("knn", n_trials=25)
    pruned = found.cv_results["mean"].isna()
    assert 0 < pruned.sum() < len(pruned) - 5
    assert found.cv_results.loc[pruned, "rank"].isna().all()
    assert found.cv_results.loc[~pruned, "rank"].min() == 1
    assert [record["metrics"] for record in found.candidates].count({}) == pruned.sum()
    assert f"pruned {pruned.sum()} of {len(pruned)} candidates" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_first_candidate_of_each_estimator_is_never_pruned() -> None:
    names = ["logreg", "knn", "svm", "dummy", "random_forest", "hist_gradient_boosting", "extra_trees"]
    grids = {name: {"n_estimators": [3]} for name in ("random_forest", "extra_trees")}
    table = fit(names, n_trials=7, param_grid=grids | {"hist_gradient_boosting": {"max_iter": [3]}}).cv_results
    assert table["estimator"].tolist() == names
    assert table["mean"].notna().all()


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_candidates() -> None:
    first, second, other = (fit(["logreg", "knn"], seed=seed) for seed in (1, 1, 2))
    assert first.cv_results.to_csv() == second.cv_results.to_csv()
    assert dump(first.model) == dump(second.model)
    assert first.candidates == second.candidates
    assert first.cv_results.to_csv() != other.cv_results.to_csv()


def test_values_of_the_settings_are_categories_and_no_candidate_is_fitted_twice() -> None:
    grid = {"mlp": {"hidden_layer_sizes": [[4], [2, 2], 3], "max_iter": [5]}, "logreg": {"C": [0.5, 2.0]}}
    table = fit(["mlp", "logreg"], param_grid=grid, n_trials=30).cv_results
    assert set(table["hidden_layer_sizes"].dropna()) == {"[4]", "[2, 2]", "3"}
    assert set(table["C"].dropna()) == {"0.5", "2.0"}
    assert len(table) == 5


def test_search_without_time_scores_one_candidate(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found = fit(["logreg", "knn"], seconds=1e-9)
    assert found.cv_results["estimator"].tolist() == ["logreg"]
    assert math.isfinite(found.cv_metrics["cv_accuracy_mean"])
    assert "stopped after 1e-09 s: tried 1 of 12 candidates" in caplog.text
    assert len(fit("logreg", seconds=1e9).cv_results) > 5


def test_simpler_estimator_within_luck_is_chosen() -> None:
    table = make_table(gaps=False)
    table["target"] = table["target"].sample(frac=1, random_state=3).to_numpy()
    grids = {"logreg": {"C": [0.1, 1.0]}, "knn": {"n_neighbors": [3, 5, 7, 9, 11]}}
    config = make_config(["logreg", "knn"], search={"kind": "optuna", "n_trials": 20}, param_grid=grids)
    found = fit_model(table, {name: COLUMNS[name] for name in ("height", "member")}, config)
    chosen = found.cv_results[found.cv_results["chosen"]].iloc[0]
    assert (found.estimator, chosen["estimator"]) == ("logreg", "logreg")
    assert chosen["rank"] > 1


def test_failed_candidate_has_no_score_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    name = f"{__name__}.Failing"
    found = fit(name, param_grid={name: {"strategy": ["prior", "uniform"]}})
    assert found.cv_results.set_index("strategy")["mean"].isna().to_dict() == {"prior": False, "uniform": True}
    assert f"1 of 2 candidates have no score; for {name} with strategy = 'uniform': cannot be" in caplog.text
    with pytest.raises(TrainError, match="cannot be fitted: cannot be"):
        fit(name, param_grid={name: {"strategy": ["uniform"]}})
    with pytest.raises(TrainError, match="logreg with C = -1 cannot be fitted: "):
        fit("logreg", param_grid={"logreg": {"C": [-1]}})


def test_missing_optuna_is_reported_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    expected = r"optuna, the extra `optuna`, is not installed: run `.*pip install 'optuna>=5,<6'`, or choose random"
    with pytest.raises(ConfigError, match=expected):
        fit("logreg")


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_ranges_are_of_known_parameters_and_contain_the_first_candidate(task: Task) -> None:
    names = list(ESTIMATOR_PARAMS[task])
    config = make_config(names, task, search={"kind": "optuna"}, param_grid={})
    for candidate in list_candidates(config.train, task, 0):
        ranges = RANGES.get(candidate.estimator, {})
        assert set(ranges) <= set(ESTIMATOR_PARAMS[task][candidate.estimator])
        for name in set(ranges) & set(candidate.params):
            assert ranges[name][0] <= candidate.params[name] <= ranges[name][1]
            assert isinstance(ranges[name][0], int) == isinstance(candidate.params[name], int)
