from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from src.config.train import SCORINGS, metric_of
from src.report.content import (
    MAX_CANDIDATES,
    Code,
    Facts,
    Items,
    Picture,
    Report,
    Table,
    build_report,
    list_limits,
    pieces,
)
from tests.report.conftest import make_classes, make_numbers
from tests.report.facts import METRICS, REGRESSION, make_config, make_facts, make_model


def build(facts: Facts | None = None, **changes: Any) -> Report:
    return build_report(facts or make_facts(), make_config(**changes))


def tables(report: Report, section: str) -> list[Table]:
    return [block for block in report.sections.get(section, []) if isinstance(block, Table)]


def plain(text: Any) -> str:
    return "".join(pieces(text))


# --- the headline ---


@pytest.mark.parametrize("scoring", [scoring for scorings in SCORINGS.values() for scoring in scorings])
@pytest.mark.parametrize(
    ("baseline", "side"),
    [(0.4, "above it"), (0.5, "contains it"), (0.6, "contains it"), (0.9, "contains it"), (1.1, "below it")],
)
def test_verdict_compares_the_interval_with_the_baseline(scoring: str, baseline: float, side: str) -> None:
    name = f"test_{metric_of(scoring)}"
    metrics = {name: 0.7, f"{name}_ci95_low": 0.5, f"{name}_ci95_high": 0.9, f"{name}_baseline": baseline}
    is_regression = scoring in SCORINGS["regression"]
    facts = make_facts(metrics=metrics, predictions=make_numbers(40) if is_regression else make_classes(40, 2))
    report = build(facts, **{**(REGRESSION if is_regression else {}), "train__scoring": scoring})
    # Errors should be lower than those of the baseline, other scores higher.
    better = {"above it": not scoring.startswith("neg_"), "below it": scoring.startswith("neg_")}.get(side)
    start = {True: "Better than", False: "Worse than", None: "Not clearly better than"}[better]
    assert plain(report.verdict).startswith(f"{start} the baseline: the ")
    assert plain(report.verdict).endswith(f" 95 % interval {'is ' if better is not None else ''}{side}.")
    assert report.headline
    assert report.headline.beats_baseline is bool(better)


@pytest.mark.parametrize("missing", ["", "_ci95_low", "_baseline"])
def test_headline_without_its_numbers_is_not_called_better(missing: str) -> None:
    metrics = {name: value for name, value in METRICS.items() if name != f"test_f1_macro{missing}"}
    assert plain(build(make_facts(metrics=metrics)).verdict).startswith("Not compared with the baseline")


def test_winner_without_a_search_is_named_alone() -> None:
    facts = make_facts(model=make_model(LogisticRegression()), candidates=pd.DataFrame())
    assert plain(build(facts).winner) == "Chosen: LogisticRegression."


# --- sections ---


def test_search_lists_the_candidates_the_best_first_and_marked() -> None:
    (table,) = tables(build(), "Search")
    assert table.marked == 0
    assert [[plain(cell) for cell in row] for row in table.rows] == [
        ["1", "logreg C=0.1", "0.9000", "0.0100"],
        ["2", "logreg C=1", "0.8000", "0.0100"],
        ["3", "logreg C=10", "0.7000", "0.0100"],
        ["", "logreg C=100", "failed", "0.0100"],
    ]


def test_candidate_without_a_score_may_have_been_pruned_by_optuna() -> None:
    (table,) = tables(build(train__search={"kind": "optuna"}), "Search")
    assert [plain(row[2]) for row in table.rows][-1] == "pruned or failed"


def test_search_lists_the_best_of_many_candidates() -> None:
    n = 500
    many = pd.DataFrame(
        {"estimator": "knn", "n_neighbors": np.arange(n), "mean": 0.5, "std": 0.1, "rank": np.arange(n, 0, -1)}
    )
    report = build(make_facts(candidates=many))
    (table,) = tables(report, "Search")
    assert len(table.rows) == MAX_CANDIDATES
    assert plain(table.rows[0][1]) == "knn n_neighbors=499"
    assert plain(report.sections["Search"][0]).startswith("The best 30 of 500 candidates")


def test_areas_are_listed_where_the_legend_names_only_the_worst_classes() -> None:
    def facts(n_rows: int, n_classes: int) -> Facts:
        X = pd.DataFrame({"a": np.arange(n_rows)})
        return make_facts(predictions=make_classes(n_rows, n_classes), X_shown=X, features={"number": ["a"]})

    few, many = facts(2000, 10), facts(2000, 11)
    assert tables(build(few), "Each class against the rest") == []
    (table,) = tables(build(many), "Each class against the rest")
    areas = [float(plain(row[1])) for row in table.rows]
    assert len(areas) == 11
    assert areas == sorted(areas)
    (table,) = tables(build(facts(20_000, 150)), "Each class against the rest")
    assert len(table.rows) == 100


def test_each_figure_has_its_place() -> None:
    names = ["confusion_matrix", "roc", "precision_recall", "calibration", "permutation_importance", "search"]
    for of_task in (names, ["predicted_against_true", "residuals", "permutation_importance", "search"]):
        report = build(make_facts(plots=[Path(f"reports/plots/{name}.png") for name in reversed(of_task)]))
        shown = [
            block.path.stem for blocks in report.sections.values() for block in blocks if isinstance(block, Picture)
        ]
        assert shown == of_task


def test_section_without_content_is_left_out() -> None:
    sections = build(make_facts(plots=[], candidates=pd.DataFrame())).sections
    assert not {"Calibration", "Importance", "Search"} & set(sections)


def test_names_of_the_table_are_code() -> None:
    facts = make_facts(md5s={"a b": "aa"})
    (table,) = tables(build(facts), "Data")
    assert table.rows[-1] == [("MD5 of ", Code("a b")), (Code("aa"),)]
    assert isinstance(pieces(table.rows[-1][0])[1], Code)
    assert isinstance(build().sections["Limits"][0], Items)


# --- limits ---


def limits(metrics: dict[str, Any] | None = None, n_rows: int = 1000, **changes: Any) -> str:
    facts = make_facts(
        metrics=METRICS if metrics is None else metrics,
        predictions=make_classes(n_rows, 2),
        X_shown=pd.DataFrame(index=range(n_rows)),
    )
    texts = list_limits(facts, make_config(**changes))
    return "\n".join("".join(pieces(each)) for each in texts)


def test_few_test_rows_are_a_limit() -> None:
    assert "The test set is small: each of its 40 rows counts 2.5%." in limits(n_rows=40)
    assert "small: each of its 199 rows" in limits(n_rows=199)
    assert "small" not in limits(n_rows=200)


@pytest.mark.parametrize(
    ("accuracy", "low", "expected"),
    [
        (
            1.0,
            1.0,
            "All resamples have the same test_f1_macro. Its interval has no width, but the score is still uncertain.\n"
            "A model that is wrong on 9.5% of all rows makes no error on 30 rows 1 time in 20.\n",
        ),
        (0.0, 1.0, "All resamples have the same test_f1_macro."),
        (1.0, 0.99, ""),
    ],
)
def test_interval_without_width_is_explained(accuracy: float, low: float, expected: str) -> None:
    ends = {"test_f1_macro_ci95_high": 1.0, "test_f1_macro_ci95_low": low, "test_accuracy": accuracy}
    found = limits(METRICS | ends, n_rows=30)
    assert expected in found
    assert ("All resamples" in found) is bool(expected)
    assert ("is wrong on" in found) is (accuracy == low == 1)


def test_split_and_search_have_their_limits() -> None:
    assert "same period and groups" in limits()
    by_time = limits(data_split__split={"kind": "time", "column": "day"})
    assert "the newest" in by_time
    assert "same period" not in by_time
    assert "No parameters were searched" not in limits()
    assert "No parameters were searched" in limits(train__search={"kind": "none"})
    assert limits().endswith("associations, not causes.")


# --- the positive class ---


@pytest.mark.parametrize("positive", ["a<b>", "$x$", 1, True])
def test_positive_class_is_named(positive: Any) -> None:
    labels = [False if positive is True else 0 if positive == 1 else "no", positive]
    two = replace(make_classes(40, 2), labels=labels)
    report = build(make_facts(predictions=two, metrics={**METRICS, "test_f1": 0.5, "test_roc_auc": 0.9}))
    assert plain(report.subtitle).endswith(f"; the positive class is {positive}")
    assert (str(positive), ", the rarer class of the training rows") in [
        row[1] for row in tables(report, "Model")[0].rows
    ]
    assert f"About the positive class {positive}: test_f1, test_roc_auc." in map(plain, report.sections["Metrics"][1:])
    assert "Curves of the positive class" in report.sections


def test_setting_of_the_positive_class_is_named() -> None:
    (table,) = tables(build(make_facts(predictions=make_classes(40, 2)), base__positive="class 01"), "Model")
    assert ["Positive class", ("class 01", ", chosen by base.positive")] in table.rows


@pytest.mark.parametrize("n_classes", [3, 40])
def test_more_than_two_classes_have_no_positive_class(n_classes: int) -> None:
    report = build(make_facts(predictions=make_classes(40, n_classes)))
    assert "positive class" not in str(report)
    assert "Each class against the rest" in report.sections


def test_headline_hides_no_metric_whose_name_it_begins() -> None:
    names = (
        "test_f1",
        "test_f1_ci95_low",
        "test_f1_ci95_high",
        "test_f1_baseline",
        "test_f1_macro",
        "test_f1_weighted",
    )
    report = build(make_facts(metrics=dict.fromkeys(names, 0.5)), train__scoring="f1")
    assert [plain(row[0]) for row in tables(report, "Metrics")[0].rows][:3] == [
        "test_f1 (headline)", "test_f1_macro", "test_f1_weighted",
    ]  # fmt: skip
