import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from benchmarks import quality
from benchmarks.quality import main, split_rows, to_frames
from benchmarks.quality_report import BEGIN, END, make_row, write_page
from benchmarks.quality_scores import Predictions, bootstrap, score


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n_rows = 240
    table = pd.DataFrame(
        {
            "age": rng.normal(40, 10, n_rows).round(1),
            "city": rng.choice(["Rome", "Paris"], n_rows),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90, n_rows), unit="D"),
        }
    )
    bought = table["age"] + 10 * (table["city"] == "Rome") + rng.normal(0, 5, n_rows) > 45
    table["bought"] = bought.map({True: "yes", False: "no"}).where(rng.random(n_rows) > 0.05)
    monkeypatch.setattr(quality, "TABLES", {"shop": (lambda: table, "bought")})
    return table


def a_result(difference: float, std: float, **scores: float) -> dict[str, Any]:
    names = ("proposal", "lightgbm", "hist_gradient_boosting")
    return {
        "table": "<b>", "seed": 0, "task": "regression", "rows": 10, "columns": 2,
        "fits": {name: {"r2": scores[name], "seconds": 1.0} if name in scores else {"error": "no"} for name in names},
        "differences": {name: [difference, std] for name in names[1:] if name in scores},
    }  # fmt: skip


def test_all_contenders_are_measured_once_and_shown_on_the_page(
    shop: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, page = tmp_path / "quality.json", tmp_path / "quality.md"
    page.write_text(f"# Quality\n\n{BEGIN}\n{END}\n\nThe end.\n")
    arguments = ["--tables", "shop", "--seeds", "1", "--results", str(results), "--page", str(page)]
    main(arguments)
    (result,) = json.loads(results.read_text())["results"]
    assert set(result["fits"]) == {"proposal", "lightgbm", "hist_gradient_boosting"}
    assert all(fit["roc_auc_ovr"] > 0.7 for fit in result["fits"].values())
    assert result["test_rows"] == math.ceil(0.2 * shop["bought"].notna().sum())
    text = page.read_text()
    assert text.startswith("# Quality")
    assert text.endswith("The end.\n")
    assert "| shop | 240 × 4 | ROC AUC |" in text
    capsys.readouterr()
    main(arguments)
    assert capsys.readouterr().err == ""


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels = ["a", "b", "c"]
    y_true = rng.choice(labels, 200).astype(object)
    proba = rng.dirichlet([1, 1, 1], 200).round(1) + 1e-3
    proba /= proba.sum(axis=1, keepdims=True)
    found = score(y_true, Predictions(np.array(labels, object)[proba.argmax(axis=1)], proba), labels)
    assert found["roc_auc_ovr"] == pytest.approx(roc_auc_score(y_true, proba, multi_class="ovr"))
    y, y_pred = rng.normal(size=(2, 50))
    assert score(y, Predictions(y_pred), [])["r2"] == pytest.approx(r2_score(y, y_pred))


def test_equal_predictions_differ_by_nothing_and_better_ones_by_more_than_luck() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=300)
    good, bad = Predictions(y + rng.normal(0, 0.1, 300)), Predictions(y + rng.normal(0, 1.0, 300))
    assert bootstrap(y, good, good, []) == (0.0, 0.0)
    mean, std = bootstrap(y, good, bad, [])
    assert mean > 5 * std > 0


def test_rows_are_split_by_the_rule_that_is_proposed() -> None:
    table = pd.DataFrame({"id": np.repeat(np.arange(20), 5), "day": np.arange(100)[::-1], "y": [0, 1] * 50})
    train, test = split_rows(table, "y", {"kind": "group", "column": "id"}, 0)
    assert not set(table["id"].iloc[train]) & set(table["id"].iloc[test])
    train, test = split_rows(table, "y", {"kind": "time", "column": "day"}, 0)
    assert table["day"].iloc[train].max() < table["day"].iloc[test].min()
    train, test = split_rows(table, "y", {"kind": "stratified"}, 0)
    assert table["y"].iloc[test].mean() == 0.5
    assert len(train) + len(test) == 100


def test_defaults_get_numbers_dates_and_known_levels() -> None:
    train = pd.DataFrame({"{n}": [1.0, None], "day": ["2024-01-01", None], "text": ["a", "b"]})
    test = pd.DataFrame({"{n}": [2.0], "day": ["2024-01-02"], "text": ["new"]})
    X_train, X_test = to_frames(train, test, max_levels=None)
    assert X_test["x1"].iloc[0] - X_train["x1"].iloc[0] == 24 * 60 * 60
    assert list(X_train["x2"].cat.categories) == ["a", "b"]
    assert X_test["x2"].isna().all()
    assert to_frames(train, test, max_levels=1)[0]["x2"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("difference", "std", "verdict"), [(0.1, 0.01, "better"), (-0.1, 0.01, "worse"), (-0.1, 0.1, "luck")]
)
def test_verdict_follows_from_the_interval(difference: float, std: float, verdict: str) -> None:
    result = a_result(difference, std, proposal=0.5, lightgbm=0.5 - difference, hist_gradient_boosting=0.1)
    assert make_row([result]).verdict == verdict


def test_a_failure_is_last_and_a_failed_proposal_is_no_luck(tmp_path: Path) -> None:
    row = make_row([a_result(0.0, 0.0, lightgbm=0.5, hist_gradient_boosting=0.5)])
    assert row.verdict == "failed"
    assert row.ranks == {"proposal": 3.0, "lightgbm": 1.5, "hist_gradient_boosting": 1.5}
    assert make_row([a_result(0.1, 0.01, proposal=0.5, lightgbm=0.4)]).verdict == "better"
    write_page([a_result(0.0, 0.0, lightgbm=0.5, hist_gradient_boosting=0.5)], "<i>", tmp_path / "quality.md")
    assert "0 of 1 tables" in (tmp_path / "quality.md").read_text()
