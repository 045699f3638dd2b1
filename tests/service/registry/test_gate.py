"""Checks of the gate on small tables; those that need MLflow are in test_registry."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from src.config.service import Gate
from src.errors import ConfigError, TrackingError, VersionError
from src.service.registry import gate as gate_module
from src.service.registry.gate import Check, Verdict, check_baseline, check_champion, check_copy, check_minimum
from src.service.registry.registered import Registered
from src.versions.load import LoadedRun

GATE = Gate(minimum={}, margin=0.02, confidence=0.95)
N_ROWS = 400


def make_rows(seed: int, n_classes: int = 2, n_rows: int = N_ROWS) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_rows)
    return pd.DataFrame({"x": y + rng.normal(size=n_rows) / 4, "noise": rng.normal(size=n_rows), "y": y})


def fit(rows: pd.DataFrame, columns: list[str], estimator: Any) -> Pipeline:
    return make_pipeline(StandardScaler().set_output(transform="pandas"), estimator).fit(rows[columns], rows["y"])


def registered(model: Pipeline, number: int) -> Registered:
    version = SimpleNamespace(name="m", version=number, tags={"git.commit": f"commit{number}"})
    return Registered(version, model, None)  # type: ignore[arg-type]  # what the gate reads of a version


def compare(
    monkeypatch: pytest.MonkeyPatch,
    candidate: Pipeline,
    champion: Pipeline | Exception,
    test: pd.DataFrame,
    train: pd.DataFrame | None = None,
    task: str = "classification",
    scoring: str = "f1_macro",
    **gate: float,
) -> Check:
    """Judge a candidate against a champion whose training rows are `train`."""
    former = None if isinstance(champion, Exception) else registered(champion, 1)

    def open_champion(*_: object) -> Registered:
        if former is None:
            raise champion  # type: ignore[misc]  # an exception then
        return former

    def load(_: Path, reference: str, table: str) -> pd.DataFrame:
        if table == "test":
            return test
        if reference == "commit1" and train is None:
            raise VersionError("it is gone")
        return train if train is not None else test

    monkeypatch.setattr(gate_module, "open_registered", open_champion)
    monkeypatch.setattr(gate_module, "load_table", load)
    params = {
        "base": {"task": task, "target_column": "y", "positive": None, "random_state": 1},
        "train": {"scoring": scoring},
        "evaluate": {"n_bootstrap": 500},
    }
    run = LoadedRun("commit2", "commit2", False, params, {}, {})
    version = SimpleNamespace(name="m", version=1, tags={})
    settings = GATE.model_copy(update=gate)
    return check_champion(Path(), None, registered(candidate, 2), version, run, settings)  # type: ignore[arg-type]  # not asked


@pytest.mark.parametrize("scoring", ["f1_macro", "f1", "roc_auc", "neg_log_loss", "average_precision"])
def test_clearly_worse_model_is_refused_and_a_better_one_is_not(monkeypatch: pytest.MonkeyPatch, scoring: str) -> None:
    train, test = make_rows(1), make_rows(2)
    good, bad = fit(train, ["x", "noise"], LogisticRegression()), fit(train, ["noise"], LogisticRegression())
    assert compare(monkeypatch, bad, good, test, train, scoring=scoring).result == "refused"
    assert compare(monkeypatch, good, bad, test, train, scoring=scoring).result == "passed"
    same = compare(monkeypatch, good, good, test, train, scoring=scoring)
    assert (same.result, same.value) == ("passed", "+0.0000")
    # The same inputs give the same verdict.
    assert compare(monkeypatch, bad, good, test, train, scoring=scoring) == compare(
        monkeypatch, bad, good, test, train, scoring=scoring
    )


def test_regression_is_compared_by_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = (make_rows(seed).assign(y=lambda rows: rows["x"] * 3) for seed in (1, 2))
    good, bad = fit(train, ["x"], LinearRegression()), fit(train, ["noise"], LinearRegression())
    options: dict[str, Any] = {"task": "regression", "scoring": "neg_root_mean_squared_error"}
    assert compare(monkeypatch, bad, good, test, train, **options).result == "refused"
    assert compare(monkeypatch, good, bad, test, train, **options).result == "passed"
    # The margin is in units of the score.
    assert compare(monkeypatch, bad, good, test, train, **options, margin=10).result == "passed"


def test_many_classes_and_models_without_probabilities_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.svm import LinearSVC

    train, test = make_rows(1, n_classes=40), make_rows(2, n_classes=40)
    good, bad = fit(train, ["x"], LogisticRegression()), fit(train, ["x"], DummyClassifier())
    assert compare(monkeypatch, bad, good, test, train).result == "refused"
    svc = fit(make_rows(1), ["x"], LinearSVC())
    check = compare(monkeypatch, svc, fit(make_rows(1), ["x"], LogisticRegression()), make_rows(2), train,
                    scoring="neg_log_loss")  # fmt: skip
    assert (check.result, "log_loss is not defined for both models" in check.note) == ("skipped", True)


def test_noise_does_not_refuse_an_equally_good_model(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = 0
    for seed in range(20):
        first, second = (fit(make_rows(10 + seed + part, n_rows=60), ["x"], LogisticRegression()) for part in (0, 50))
        check = compare(monkeypatch, first, second, make_rows(100 + seed, n_rows=40), make_rows(1), margin=0)
        refused += check.result == "refused"
    assert refused <= 1


def test_champion_gets_no_credit_for_rows_that_it_was_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = make_rows(1), make_rows(2)
    model = fit(train, ["x"], LogisticRegression())
    seen = pd.concat([train, test.head(300).astype({"y": float})])
    check = compare(monkeypatch, model, model, test, seen)
    assert (check.result, "left out 300 of 400 test rows on which m/1 was trained" in check.note) == ("passed", True)
    assert "on 100 test rows" in check.note
    check = compare(monkeypatch, model, model, test, test.tail(395))
    assert (check.result, check.value) == ("skipped", "5 rows")
    # Its training rows cannot be found.
    assert "the training rows of m/1 are unknown" in compare(monkeypatch, model, model, test).note


def test_champion_that_cannot_be_scored_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = make_rows(1), make_rows(2)
    model = fit(train, ["x"], LogisticRegression())
    for champion, reason in (
        (fit(train.rename(columns={"noise": "<old>"}), ["<old>"], LogisticRegression()), "needs the columns <old>"),
        (fit(make_rows(1, n_classes=3), ["x"], LogisticRegression()), "it knows other classes; they differ in 2"),
        (fit(train, ["x"], LinearRegression()), "it predicts numbers"),
        (VersionError("m/1 is damaged"), "cannot be loaded: m/1 is damaged"),
    ):
        check = compare(monkeypatch, model, champion, test, train)
        assert (check.result, reason in check.note) == ("skipped", True), check.note
    # A store that is down says nothing about the champion.
    with pytest.raises(TrackingError):
        compare(monkeypatch, model, TrackingError("down"), test, train)


def test_model_that_cannot_predict_its_own_example_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows(1)
    model = fit(rows, ["x"], LogisticRegression())
    monkeypatch.setattr(gate_module, "load_model", lambda *_: model)
    run = LoadedRun("commit2", "commit2", False, {}, {}, {})
    for candidate, example, reason in (
        (model, rows[["noise"]], "cannot be predicted: ValueError: The feature names should match"),
        (fit(rows, ["x"], LinearRegression()), rows[["x"]], "AttributeError: .* has no attribute 'predict_proba'"),
    ):
        check = check_copy(Path(), replace(registered(candidate, 2), example=example), run)
        assert check.result == "refused"
        assert re.search(reason, check.note)
    assert check_copy(Path(), replace(registered(model, 2), example=rows[["x"]]), run).result == "passed"


def test_minimum_is_a_lower_bound_of_scores_and_an_upper_bound_of_errors() -> None:
    metrics = {"test_r2": 0.5, "test_rmse": 3.0, "test_r2_ci95_low": 0.1}
    settings = GATE.model_copy(update={"minimum": {"test_r2": 0.5, "test_rmse": 2.9}})
    assert [(check.limit, check.result) for check in check_minimum(settings, metrics)] == [
        (">= 0.5000", "passed"),
        ("<= 2.9000", "refused"),
    ]
    for name, message in (("rmse", "'rmse' is not a metric .* test_r2, test_rmse"), ("test_r2_ci95_low", "neither")):
        with pytest.raises(ConfigError, match=message):
            list(check_minimum(GATE.model_copy(update={"minimum": {name: 1.0}}), metrics))


def test_whole_interval_must_be_better_than_the_baseline() -> None:
    metrics = {"test_f1": 0.6, "test_f1_ci95_low": 0.4, "test_f1_ci95_high": 0.8, "test_f1_baseline": 0.5}
    assert check_baseline(metrics, "f1").result == "refused"
    assert check_baseline(metrics | {"test_f1_baseline": 0.3}, "f1").result == "passed"
    assert check_baseline({"test_f1": 0.6}, "f1").result == "skipped"
    assert check_baseline(metrics, "roc_auc").result == "refused"


def test_odd_texts_break_no_table() -> None:
    check = Check("<b>a|b</b>\n`c`", "1", "2", "refused", "| [x](javascript:1) *y*\n")
    verdict = Verdict("m/1", "", [check])
    assert verdict.table.count("\n") == 4
    first, *_, row, _, _ = verdict.markdown.splitlines()
    assert first == "Gate: refused"
    assert row.count("|") == 5
    assert not {"<", "`", "[", "*"} & set(verdict.markdown)
