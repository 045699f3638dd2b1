from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler

from src.data.findings import Finding
from src.report.content import Facts, build_report, describe_preprocessing
from src.report.model_card import code, table, text, write_card
from src.report.predictions import NumberPredictions, Predictions
from src.train.fit import fit_model
from tests.report.conftest import make_classes, make_numbers
from tests.report.facts import MD5, REGRESSION, make_config, make_facts, make_model
from tests.train.tables import COLUMNS, make_table
from tests.train.tables import make_config as make_train_config


def card(facts: Facts | None = None, **changes: Any) -> str:
    return write_card(build_report(facts or make_facts(), make_config(**changes)), Path("reports/model_card.md"))


def row(page: str, start: str) -> list[str]:
    """Return the cells of the only table row that starts with this text."""
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {start} ")]
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def test_card_describes_the_model() -> None:
    page = card()
    assert page.startswith("# Model card: iris, predicting target\n")
    assert row(page, "Task")[1] == "classification"
    assert row(page, "Estimator")[1] == "`LogisticRegression`, the best of 4 candidates by `f1_macro`"
    assert row(page, "Parameter `C`")[1] == "`0.1`"
    assert row(page, "Columns")[1] == "2 number, 1 category"


def test_searched_parameter_is_listed_even_with_its_default() -> None:
    assert row(card(make_facts(model=make_model(LogisticRegression()))), "Parameter `C`")[1] == "`1.0`"


def test_parameters_with_default_values_are_not_listed() -> None:
    page = card(make_facts(model=make_model(RandomForestClassifier(max_depth=3)), candidates=pd.DataFrame()))
    assert [line for line in page.splitlines() if "Parameter" in line] == [
        line for line in page.splitlines() if "`max_depth`" in line
    ]
    assert row(page, "Estimator")[1] == "`RandomForestClassifier`"


def test_parameter_without_a_default_is_listed() -> None:
    class Strict(LogisticRegression):  # type: ignore[misc] - scikit-learn ships no types
        def __init__(self, C: float) -> None:
            super().__init__(C=C)

        @classmethod
        def _get_param_names(cls) -> list[str]:
            return ["C"]

    assert row(card(make_facts(model=make_model(Strict(3.0)))), "Parameter `C`")[1] == "`3.0`"


SCALED = (
    "category: one-hot encoding of at most 20 levels; number: median imputation, standard scaling; "
    "ordinal: ordinal encoding, most-frequent imputation, standard scaling; "
    "high cardinality: target encoding, standard scaling; boolean: ordinal encoding, most-frequent imputation; "
    "date: time and parts, median imputation, standard scaling; "
    "text 1: prediction from words, topics, standard scaling"
)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("logreg", SCALED),
        ("random_forest", SCALED.replace(", standard scaling", "")),
        (
            "hist_gradient_boosting",
            "category: ordinal encoding of at most 255 levels; number: unchanged; ordinal: ordinal encoding; "
            "high cardinality: target encoding; boolean: ordinal encoding; date: time and parts; "
            "text 1: prediction from words, topics",
        ),
    ],
)
def test_preprocessing_is_that_of_the_fitted_model(estimator: str, expected: str) -> None:
    model = fit_model(make_table(), COLUMNS, make_train_config(estimator, search={"kind": "none"})).model
    assert row(card(make_facts(model=model[1:])), "Preprocessing")[1] == expected


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (FunctionTransformer(), "unchanged"),
        (FunctionTransformer(make_table), "make_table()"),
        (MinMaxScaler(), "MinMaxScaler"),
        (
            make_column_transformer(("drop", [0]), ("passthrough", [1])).fit([[1, 2]]),
            "drop: dropped; passthrough: unchanged",
        ),
    ],
)
def test_any_step_is_described(step: Any, expected: str) -> None:
    assert describe_preprocessing([step]) == expected


def test_model_without_preprocessing_has_none() -> None:
    assert describe_preprocessing([]) == "none"


@pytest.mark.parametrize("estimator", ["svm", "elastic_net", "mlp"])
def test_estimator_behind_a_scaled_target_is_described(estimator: str) -> None:
    name, grid = {
        "svm": ("SVR", {"C": [1.0]}),
        "elastic_net": ("ElasticNet", {"alpha": [0.1]}),
        "mlp": ("MLPRegressor", {"hidden_layer_sizes": [[4]], "max_iter": [300]}),
    }[estimator]
    settings = make_train_config(estimator, "regression", search={"kind": "none"}, param_grid={estimator: grid})
    found = fit_model(make_table("regression"), COLUMNS, settings)
    page = card(make_facts(model=found.model[1:], candidates=found.cv_results))
    assert row(page, "Estimator")[1] == f"`{name}`"
    assert row(page, "Target")[1] == "`target`, standard scaling"
    for param, (value,) in grid.items():
        assert row(page, f"Parameter `{param}`")[1] == f"`{value}`"


def test_card_describes_the_data_and_how_to_find_the_commit() -> None:
    page = card()
    assert row(page, "Source")[1] == "kind `sklearn`, name `iris`"
    assert row(page, "Split")[1] == "stratified: 160 training rows, 40 test rows"
    assert row(page, "MD5 of `data/test.parquet`")[1] == "`aa`"
    assert f"`make lineage REF={MD5}`" in page
    assert "lineage" not in card(make_facts(md5s={}))


@pytest.mark.parametrize("kind", ["file", "url"])
def test_own_table_is_named_by_its_path(kind: str) -> None:
    source = {"kind": kind} | ({"url": "https://example.org/a.csv"} if kind == "url" else {})
    page = card(data_load__source=source, data_load__external_path="data/external/a.csv")
    assert page.startswith("# Model card: a, predicting target\n")
    assert "`data/external/a.csv`" in row(page, "Source")[1]
    assert ("`https://example.org/a.csv`" in page) == (kind == "url")


def test_headline_has_its_interval_and_its_baseline() -> None:
    page = card()
    assert row(page, "`test_f1_macro` (headline)") == [
        "`test_f1_macro` (headline)", "0.9000", "0.8123 to 0.9500", "0.2500",
    ]  # fmt: skip
    assert row(page, "`cv_f1_macro_mean`")[1] == "0.8800"
    assert "`test_f1_macro_ci95_low`" not in page
    rules = [[cell[-1] for cell in row_of.strip("| ").split(" | ")] for row_of in page.splitlines() if "--:" in row_of]
    # Numbers are aligned to the right.
    assert rules == [["-", ":", ":", ":", ":"], ["-", ":", ":", ":"], [":", "-", ":", ":"]]


def test_each_class_has_its_row() -> None:
    predictions = replace(
        make_classes(4, 2), labels=["a.b", "a/b"], y_true=np.array([0, 0, 1, 1]), y_pred=np.array([0, 1, 1, 1])
    )
    page = card(make_facts(predictions=predictions, X_shown=pd.DataFrame({"a": np.zeros(4)})))
    assert row(page, "`a.b`") == ["`a.b`", "1.0000", "0.5000", "0.6667", "2"]
    assert row(page, "`a/b`") == ["`a/b`", "0.6667", "1.0000", "0.8000", "2"]


@pytest.mark.parametrize(
    ("metric", "n_rows", "resampled", "constant"),
    [
        ("f1_macro", 40, "the test rows", "most frequent class"),
        ("r2", 30_000, "20000 random test rows, scaled to all test rows", "mean of the target"),
        ("neg_mean_absolute_error", 40, "the test rows", "median of the target"),
    ],
)
def test_interval_and_baseline_are_explained(metric: str, n_rows: int, resampled: str, constant: str) -> None:
    is_class = metric == "f1_macro"
    predictions: Predictions = make_classes(n_rows, 2) if is_class else make_numbers(n_rows)
    changes = {} if is_class else {**REGRESSION, "train__scoring": metric}
    page = card(make_facts(predictions=predictions, X_shown=pd.DataFrame({"a": np.zeros(n_rows)})), **changes)
    assert (
        f"The interval comes from 100 bootstrap resamples of {resampled}. The baseline is a dummy model that always "
        f"predicts the {constant} in the training rows.\n"
    ) in page


def weak_predictions(task: str) -> Predictions:
    """Return predictions that are wrong, or off by 2, on the rows where `c` is x."""
    if task == "regression":
        return NumberPredictions(np.zeros(40), np.array([2.0, 0.5] * 20))
    codes = np.arange(40) % 2
    return replace(make_classes(40, 2), y_true=codes, y_pred=np.ones(40, dtype=int))


@pytest.mark.parametrize(
    ("task", "metric", "weak", "overall"),
    [("classification", "Accuracy", "0.0000", "0.5000"), ("regression", "Mean absolute error", "2", "1.2500")],
)
def test_weak_slices_are_listed_beside_all_rows(task: str, metric: str, weak: str, overall: str) -> None:
    facts = make_facts(
        predictions=weak_predictions(task),
        X_shown=pd.DataFrame({"is|land": ["Dream", "Biscoe"] * 20}),
        features={"category": ["is|land"]},
    )
    page = card(facts, **(REGRESSION if task == "regression" else {}))
    assert "2 slices of at least 10 rows were checked; these are worse" in page
    assert row(page, "Slice")[2] == metric
    (rule,) = [line for line in page.splitlines() if "--:" in line and line.count("|") == 4]
    assert [cell[-1] for cell in rule.strip("| ").split(" | ")] == ["-", ":", ":"]
    assert row(page, r"`is\|land` = Dream") == [r"`is\|land` = Dream", "20", weak]
    assert row(page, "all test rows") == ["all test rows", "40", overall]


def test_card_says_when_no_slice_is_weak() -> None:
    assert "6 slices of at least 10 rows were checked; none is worse than all test rows" in card()
    facts = make_facts(X_shown=pd.DataFrame({"a": np.arange(5.0)}), predictions=make_classes(5, 2))
    assert "There are too few test rows to check slices." in card(facts)


def test_data_checks_are_listed() -> None:
    findings = [Finding("leak", "'a|b' is a copy"), Finding("duplicates", "more")]
    assert "## Data checks\n\n- 'a\\|b' is a copy\n- more\n" in card(make_facts(findings=findings))
    assert "## Data checks\n\nNo problems found.\n" in card()


def test_plots_and_the_page_of_the_data_are_linked_relative_to_the_card() -> None:
    assert "\n![ROC curve](plots/roc.png)\n" in card()
    assert "\n[The training rows, column by column](data.html)\n" in card()


def test_card_begins_with_the_verdict_and_what_won() -> None:
    _, verdict, winner, *_ = card().split("\n\n")
    assert verdict == "Better than the baseline: the whole 95 % interval is above it."
    assert winner == "Chosen: `LogisticRegression` with `C=0.1`, the best of 4 candidates by `f1_macro`."


def test_odd_names_break_no_table() -> None:
    odd = "a|b\nc`d` <b>$x$</b> 🐍"
    facts = make_facts(
        X_shown=pd.DataFrame({odd: [odd, "x"] * 20}),
        features={"category": [odd]},
        predictions=replace(weak_predictions("classification"), labels=[odd, "x"]),
        md5s={odd: "aa", "models/model.joblib": MD5},
    )
    blocks = card(facts, base__target_column=odd).split("\n\n")
    tables = [block.splitlines() for block in blocks if block.startswith("|")]
    assert len(tables) == 6
    assert all(len({line.replace(r"\|", "").count("|") for line in lines}) == 1 for lines in tables)


# --- Markdown ---


def test_table_is_aligned() -> None:
    assert table(["name", "n"], [["a", "1"], ["long name", "200"]], numbers=(1,)).splitlines() == [
        "| name      |   n |",
        "| --------- | --: |",
        "| a         |   1 |",
        "| long name | 200 |",
    ]


@pytest.mark.parametrize(("name", "shown"), [("a b", "`a b`"), ("a`b", "`` a`b ``"), ("a\nb", "`a b`"), ("", "` `")])
def test_name_is_formatted_as_code(name: str, shown: str) -> None:
    assert code(name) == shown


def test_words_are_no_markup() -> None:
    assert text("_a_ b_c [x](y)") == r"\_a\_ b_c \[x\](y)"


@pytest.mark.parametrize(
    ("value", "shown"), [(0.12345, "0.1235"), (1.0, "1.0000"), (12.0, "12"), (1234.5678, "1234.57"), (-2.5, "-2.5000")]
)
def test_numbers_are_rounded_to_four_digits(value: float, shown: str) -> None:
    assert row(card(make_facts(cv_metrics={"cv_r2_mean": value})), "`cv_r2_mean`")[1] == shown
