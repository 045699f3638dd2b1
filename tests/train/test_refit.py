import logging
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io

from src.config.train import Task
from src.data.parts import list_parts
from src.tracking.logged_model import trusted_types_in
from src.train.fit import FitResult, fit_model
from src.train.model import Candidate, ModelSpec, fit_candidate, select_columns
from src.train.refit import refit_on_parts
from src.train.sample import read_rows
from tests.train.tables import COLUMNS as ALL_COLUMNS
from tests.train.tables import dump, make_config, make_table
from tests.train.test_sample import sample_config, write_parts

COLUMNS = {name: ALL_COLUMNS[name] for name in ("height", "colour", "postcode", "member", "size")}
NO_SEARCH = {"kind": "none"}
SGD = "sklearn.linear_model.SGDClassifier"
BAYES = "sklearn.naive_bayes.GaussianNB"


def fit_sample(
    table: pd.DataFrame, path: Path, estimator: str, task: Task = "classification", n_parts: int = 3, **changes: Any
) -> FitResult:
    """Fit on a sample of 100 rows, and refit on all."""
    changes = {"search": NO_SEARCH} | changes
    config = sample_config(path, estimator=estimator, task=task, **changes)
    parts = write_parts(table, path, n_parts)
    return fit_model(read_rows(parts, config), COLUMNS, config, parts=parts)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_lightgbm_refitted_on_its_own_rows_is_the_same_model(task: Task, balanced: bool, tmp_path: Path) -> None:
    table, config = make_table(task, n_rows=300), make_config("lightgbm", task)
    kinds = {kind: [] for kind in ("ordinal", "date", "text", "high_cardinality", "boolean", "category", "number")}
    for name, column in COLUMNS.items():
        kinds[column["kind"]].append(name)
    spec = ModelSpec(task, kinds, COLUMNS, config.train.preprocess, balanced and task == "classification", 42)
    X, y = select_columns(table.drop(columns="target"), spec), table["target"].to_numpy()
    # On more than 200,000 rows, the bins are computed from a sample.
    params = {"n_estimators": 5, "subsample": 0.5, "subsample_freq": 1, "subsample_for_bin": 150}
    candidate = Candidate("lightgbm", params)
    fitted = fit_candidate(candidate, spec, X, y)
    before = fitted["estimator"].booster_
    refit_on_parts(fitted, candidate, spec, X, y, write_parts(table, tmp_path / "t.parquet", 3), "target")
    refitted = fitted["estimator"].booster_
    assert refitted is not before
    assert refitted.model_to_string() == before.model_to_string()


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("estimator", ["lightgbm", "mlp"])
def test_refitted_model_is_better_than_one_of_the_sample(
    estimator: str, task: Task, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rows, test = make_table(task, 3000, gaps=False), make_table(task, 1000, seed=1, gaps=False)
    grid = {"lightgbm": {"n_estimators": [20]}, "mlp": {"max_iter": [300]}}
    result = fit_sample(rows, tmp_path / "t.parquet", estimator, task, param_grid=grid)
    config = sample_config(tmp_path / "t.parquet", estimator=estimator, task=task, search=NO_SEARCH, param_grid=grid)
    sample = fit_model(read_rows(list_parts(tmp_path / "t.parquet", "data_split"), config), COLUMNS, config)
    losses = [1 - found.model.score(test, test["target"]) for found in (result, sample)]
    assert losses[0] < 0.8 * losses[1]
    assert (result.cv_metrics["n_rows_searched"], result.cv_metrics["n_rows_fitted"]) == (100, 3000)
    assert f"searched 100 of 3000 training rows, and fitted {estimator} on all" in caplog.messages


@pytest.mark.parametrize("estimator", ["lightgbm", "mlp", SGD])
@pytest.mark.parametrize("balanced", ["none", "balanced"])
def test_refitted_model_does_not_depend_on_the_parts(estimator: str, balanced: str, tmp_path: Path) -> None:
    table, files = make_table(n_rows=500), set()
    for n_parts in (1, 4):
        found = fit_sample(table, tmp_path / f"{n_parts}.parquet", estimator, n_parts=n_parts, class_weight=balanced)
        files.add(dump(found.model))
    assert len(files) == 1


def test_sparse_rows_are_refitted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COLUMNS, "clinic", ALL_COLUMNS["clinic"])
    for name in ("height", "postcode", "member", "size"):
        monkeypatch.delitem(COLUMNS, name)
    table, files = make_table(n_rows=500), set()
    for n_parts in (1, 4):
        model = fit_sample(table, tmp_path / f"{n_parts}.parquet", "mlp", n_parts=n_parts).model
        files.add(dump(model))
    assert model["preprocess"].sparse_output_
    assert len(files) == 1


@pytest.mark.parametrize("labels", [[0, 1], [False, True]], ids=str)
@pytest.mark.parametrize("estimator", ["lightgbm", "mlp"])
def test_labels_may_be_integers_or_booleans(estimator: str, labels: list[Any], tmp_path: Path) -> None:
    table = make_table(n_rows=500, gaps=False)
    table["target"] = np.where(table["target"] == "high", labels[1], labels[0])
    grid = {"lightgbm": {"n_estimators": [5]}, "mlp": {"max_iter": [200]}}
    model = fit_sample(table, tmp_path / "t.parquet", estimator, param_grid=grid, class_weight="balanced").model
    assert list(model.classes_) == labels
    assert (model.predict(table) == table["target"]).mean() > 0.7


def test_partial_fit_of_bayes_counts_every_row_once(tmp_path: Path) -> None:
    table = make_table(n_rows=500).sort_values("target", ignore_index=True)
    model = fit_sample(table, tmp_path / "t.parquet", BAYES).model
    assert model["estimator"].class_count_.tolist() == table["target"].value_counts(sort=False).sort_index().tolist()


@pytest.mark.parametrize("estimator", ["mlp", SGD])
def test_order_of_the_table_does_not_matter_to_partial_fit(estimator: str, tmp_path: Path) -> None:
    table = make_table(n_rows=1000, gaps=False).sort_values("target", ignore_index=True)
    grid = {"mlp": {"max_iter": [200]}}
    model = fit_sample(table, tmp_path / "t.parquet", estimator, n_parts=8, param_grid=grid).model
    assert model.score(table, table["target"]) > 0.7


@pytest.mark.parametrize(
    ("estimator", "changes", "reason"),
    [
        ("logreg", {}, "logreg"),
        ("lightgbm", {"calibrate": "sigmoid"}, "train.calibrate"),
        ("mlp", {"param_grid": {"mlp": {"early_stopping": [True], "max_iter": [5]}}}, "mlp"),
    ],
)
def test_model_that_needs_all_rows_in_memory_is_fitted_on_the_sample(
    estimator: str, changes: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found = fit_sample(make_table(n_rows=300), tmp_path / "t.parquet", estimator, **changes)
    assert found.cv_metrics == {"n_rows_searched": 100, "n_rows_fitted": 100}
    assert f"searched and fitted 100 of 300 training rows: {reason} needs all rows in memory" in caplog.messages


def test_threshold_is_set_on_the_refitted_model(tmp_path: Path) -> None:
    table = make_table(n_rows=500)
    table["target"] = np.where(table["target"] == "high", "yes", "no")
    path = tmp_path / "t.parquet"
    plain, moved = (fit_sample(table, path, "lightgbm", threshold=threshold).model for threshold in (0.5, 0.2))
    np.testing.assert_array_equal(plain.predict_proba(table), moved.predict_proba(table))
    assert (moved.predict(table) == "yes").sum() > (plain.predict(table) == "yes").sum()


def test_rows_in_order_of_time_are_refitted_too(tmp_path: Path) -> None:
    split = {"kind": "time", "column": "day"}
    found = fit_sample(make_table(n_rows=500), tmp_path / "t.parquet", "lightgbm", split=split)
    assert found.cv_metrics["n_rows_fitted"] == 500


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("estimator", ["lightgbm", "mlp"])
def test_refitted_model_loads_from_a_file_and_as_mlflow_logs_it(estimator: str, task: Task, tmp_path: Path) -> None:
    rows = make_table(task, 300)
    grid = {"lightgbm": {"n_estimators": [5]}, "mlp": {"max_iter": [30]}}
    model = fit_sample(rows, tmp_path / "t.parquet", estimator, task, param_grid=grid).model
    joblib.dump(model, tmp_path / "model.joblib")
    skops.io.dump(model, tmp_path / "model.skops")
    types = trusted_types_in(tmp_path / "model.skops", ["lightgbm"])
    loaded = [joblib.load(tmp_path / "model.joblib"), skops.io.load(tmp_path / "model.skops", trusted=types)]
    for other in loaded:
        np.testing.assert_array_equal(other.predict(rows), model.predict(rows))
