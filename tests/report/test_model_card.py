import copy
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler

from src.config.schema import Config
from src.config.train import SCORINGS
from src.errors import MissingInputError
from src.report.facts import Facts, hash_files, read_cv_metrics
from src.report.limits import list_limits
from src.report.markdown import code, table, text
from src.report.metrics import metric_of
from src.report.model_card import write_card
from src.report.preparation import describe_preparation
from src.report.slices import Slice, SliceSearch
from src.tracking.cache import md5_of
from src.train.fit import fit_model
from tests.config.conftest import VALID
from tests.train.tables import COLUMNS, make_table
from tests.train.tables import make_config as make_train_config

MD5 = "0123456789abcdef0123456789abcdef"
METRICS: dict[str, Any] = {
    "test_accuracy": 0.9,
    "test_baseline_f1_macro": 0.25,
    "test_f1_class": {"yes": 0.8, "no": 1.0},
    "test_f1_macro": 0.9,
    "test_f1_macro_ci95_high": 0.95,
    "test_f1_macro_ci95_low": 0.81234,
    "test_precision_class": {"yes": 0.7, "no": 0.6},
    "test_recall_class": {"yes": 0.5, "no": 0.4},
    "test_support_class": {"yes": 12.0, "no": 28.0},
}


def make_config(**changes: Any) -> Config:
    settings = copy.deepcopy(VALID)
    for dotted, value in changes.items():
        section, key = dotted.split("__")
        settings[section][key] = value
    return Config.model_validate(settings)


def make_model(estimator: Any) -> Pipeline:
    """Give a model that is not fitted: the card reads its settings alone."""
    return Pipeline([("preprocess", FunctionTransformer()), ("estimator", estimator)])


def make_facts(**changes: Any) -> Facts:
    values: dict[str, Any] = {
        "model": make_model(LogisticRegression(C=0.1, random_state=42)),
        "candidates": pd.DataFrame({"estimator": ["logreg"] * 4, "C": [0.1, 1, 10, 100], "mean": 0.9}),
        "features": {"number": ["a", "b"], "category": ["c"], "boolean": []},
        "n_rows": {"train": 160, "test": 40},
        "md5s": {"data/test.parquet": "aa", "models/model.joblib": MD5},
        "metrics": METRICS,
        "cv_metrics": {"cv_f1_macro_mean": 0.88},
        "slices": SliceSearch([], 7, 10, 0.1),
        "findings": [],
        "plots": ["plots/roc.png"],
    }
    return Facts(**values | changes)


def card(facts: Facts | None = None, **changes: Any) -> str:
    return write_card(facts or make_facts(), make_config(**changes))


def row(page: str, start: str) -> list[str]:
    """Give the cells of the row of a table that starts so."""
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {start} ")]
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def test_card_tells_what_the_model_is() -> None:
    page = card()
    assert page.startswith("# Model card: target\n")
    assert row(page, "Task")[1] == "classification"
    assert row(page, "Estimator")[1] == "`LogisticRegression`, the best of 4 candidates by `f1_macro`"
    assert row(page, "Parameter `C`")[1] == "`0.1`"
    assert row(page, "Columns")[1] == "2 number, 1 category"


def test_parameter_that_was_searched_is_told_even_if_it_has_its_default() -> None:
    assert row(card(make_facts(model=make_model(LogisticRegression()))), "Parameter `C`")[1] == "`1.0`"


def test_parameters_of_their_defaults_are_not_listed() -> None:
    page = card(make_facts(model=make_model(RandomForestClassifier(max_depth=3)), candidates=pd.DataFrame()))
    assert [line for line in page.splitlines() if "Parameter" in line] == [
        line for line in page.splitlines() if "`max_depth`" in line
    ]
    assert row(page, "Estimator")[1] == "`RandomForestClassifier`"


def test_class_that_cannot_be_made_without_arguments_has_all_its_parameters() -> None:
    class Strict(LogisticRegression):  # type: ignore[misc] - scikit-learn ships no types
        def __init__(self, C: float) -> None:
            super().__init__(C=C)

        @classmethod
        def _get_param_names(cls) -> list[str]:
            return ["C"]

    assert row(card(make_facts(model=make_model(Strict(3.0)))), "Parameter `C`")[1] == "`3.0`"


SCALED = (
    "category: one-hot, at most 20 levels; number: missing by median, scaled (StandardScaler); "
    "ordinal: as codes, missing by most frequent, scaled (StandardScaler); "
    "high cardinality: target encoded, scaled (StandardScaler); boolean: as codes, missing by most frequent"
)


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        ("logreg", SCALED),
        ("random_forest", SCALED.replace(", scaled (StandardScaler)", "")),
        (
            "hist_gradient_boosting",
            "category: as codes, at most 255 levels; number: as it is; ordinal: as codes; "
            "high cardinality: target encoded; boolean: as codes",
        ),
    ],
)
def test_preprocessing_is_what_the_model_does_and_not_what_the_settings_ask(estimator: str, said: str) -> None:
    model = fit_model(make_table(), COLUMNS, make_train_config(estimator, search={"kind": "none"})).model
    assert row(card(make_facts(model=model[1:])), "Preprocessing")[1] == said


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (FunctionTransformer(), "as it is"),
        (FunctionTransformer(make_table), "by make_table"),
        (MinMaxScaler(), "MinMaxScaler"),
        (
            make_column_transformer(("drop", [0]), ("passthrough", [1])).fit([[1, 2]]),
            "drop: left out; passthrough: as it is",
        ),
    ],
)
def test_step_of_any_kind_is_named(step: Any, said: str) -> None:
    assert describe_preparation([step]) == said


def test_model_without_preprocessing_has_none() -> None:
    assert describe_preparation([]) == "none"


@pytest.mark.parametrize("estimator", ["svm", "elastic_net", "mlp"])
def test_estimator_within_a_scaled_target_is_told_with_what_was_searched(estimator: str) -> None:
    name, grid = {
        "svm": ("SVR", {"C": [1.0]}),
        "elastic_net": ("ElasticNet", {"alpha": [0.1]}),
        "mlp": ("MLPRegressor", {"hidden_layer_sizes": [[4]], "max_iter": [300]}),
    }[estimator]
    settings = make_train_config(estimator, "regression", search={"kind": "none"}, param_grid={estimator: grid})
    found = fit_model(make_table("regression"), COLUMNS, settings)
    page = card(make_facts(model=found.model[1:], candidates=found.cv_results))
    assert row(page, "Estimator")[1] == f"`{name}`"
    assert row(page, "Target")[1] == "scaled (StandardScaler)"
    for param, (value,) in grid.items():
        assert row(page, f"Parameter `{param}`")[1] == f"`{value}`"


def test_card_tells_the_data_and_how_to_find_the_commit() -> None:
    page = card()
    assert row(page, "Source")[1] == "kind `sklearn`, name `iris`"
    assert row(page, "Split")[1] == "stratified; 160 rows to train, 40 to test"
    assert row(page, "MD5 of `data/test.parquet`")[1] == "`aa`"
    assert f"`make lineage REF={MD5}`" in page


@pytest.mark.parametrize("kind", ["file", "url"])
def test_source_of_the_users_own_is_told_by_its_path(kind: str) -> None:
    source = {"kind": kind} | ({"url": "https://example.org/a.csv"} if kind == "url" else {})
    page = card(data_load__source=source, data_load__external_path="data/external/a.csv")
    assert "`data/external/a.csv`" in row(page, "Source")[1]
    assert ("`https://example.org/a.csv`" in page) == (kind == "url")


def test_headline_has_its_interval_and_its_baseline() -> None:
    page = card()
    assert row(page, "`test_f1_macro` (headline)") == [
        "`test_f1_macro` (headline)", "0.9000", "0.8123 to 0.9500", "0.2500",
    ]  # fmt: skip
    assert row(page, "`cv_f1_macro_mean`")[1] == "0.8800"
    assert "`test_f1_macro_ci95_low`" not in page


def test_each_class_has_its_row() -> None:
    assert row(card(), "`yes`") == ["`yes`", "0.7000", "0.5000", "0.8000", "12"]


def test_weak_slices_are_told_beside_all_rows() -> None:
    search = SliceSearch([Slice("is|land", "= Dream", 12, 0.4)], 7, 10, 0.1)
    page = card(make_facts(slices=search))
    assert "7 slices of at least 10 test rows were looked at" in page
    assert row(page, r"`is\|land` = Dream") == [r"`is\|land` = Dream", "12", "0.6000"]
    assert row(page, "all rows") == ["all rows", "40", "0.9000"]


@pytest.mark.parametrize(
    ("n_looked_at", "said"), [(7, "none is worse than all rows by more than luck"), (0, "There are too few test rows")]
)
def test_no_weak_slice_is_said(n_looked_at: int, said: str) -> None:
    assert said in card(make_facts(slices=SliceSearch([], n_looked_at, 10, 0.1)))


def test_traps_are_listed() -> None:
    assert "\n- 'a|b' alone tells\n".replace("|", r"\|") in card(make_facts(findings=["'a|b' alone tells", "more"]))
    assert "None of those that were looked for was found." in card()


def test_plots_are_shown() -> None:
    assert "\n![roc.png](plots/roc.png)\n" in card()


def test_equal_facts_are_equal_cards() -> None:
    assert card() == card()


def test_names_of_users_break_no_table() -> None:
    odd = "a|b\nc`d` <b>$x$</b> 🐍"
    facts = make_facts(
        metrics=METRICS | {f"test_{name}_class": {odd: 1.0} for name in ("f1", "precision", "recall", "support")},
        slices=SliceSearch([Slice(odd, f"= {odd}", 12, 0.4)], 7, 10, 0.1),
        md5s={odd: "aa", "models/model.joblib": MD5},
    )
    lines = [line for line in card(facts, base__target_column=odd).splitlines() if line.startswith("|")]
    tables: list[list[str]] = [[]]
    for line in lines:
        tables[-1].append(line)
    # Each row has as many bars that are not escaped as its neighbours of one table: 3 or 5 or 4 or 6.
    assert {line.replace(r"\|", "").count("|") for line in lines} <= {3, 4, 5, 6}
    assert all(line.endswith("|") for line in lines)


# --- limits ---


def limits(metrics: dict[str, Any] | None = None, n_rows: int = 1000, **changes: Any) -> str:
    return "\n".join(list_limits(METRICS if metrics is None else metrics, n_rows, make_config(**changes)))


def test_few_test_rows_are_a_limit() -> None:
    assert "40 test rows are few: one of them is 2.5% of every score." in limits(n_rows=40)
    assert "are few" not in limits()


@pytest.mark.parametrize("scoring", [scoring for scorings in SCORINGS.values() for scoring in scorings])
def test_model_that_does_not_beat_the_dummy_is_told_so(scoring: str) -> None:
    name = metric_of(scoring)
    ends = {f"test_{name}_ci95_low": 0.5, f"test_{name}_ci95_high": 0.9}
    # Of errors the dummy should have more, of scores less.
    beaten, others = (1.1, [0.4, 0.6]) if scoring.startswith("neg_") else (0.4, [0.6, 1.1])
    task = next(task for task, scorings in SCORINGS.items() if scoring in scorings)
    changes: dict[str, Any] = {"base__task": task, "train__scoring": scoring}
    if task == "regression":
        changes |= {"train__estimator": "ridge", "data_split__split": {"kind": "random"}}
    for baseline in (beaten, *others):
        told = limits(ends | {f"test_baseline_{name}": baseline}, **changes)
        assert (f"The interval of `test_{name}` reaches the baseline" in told) is (baseline != beaten)


@pytest.mark.parametrize(
    ("accuracy", "low", "told"),
    [
        (
            1.0,
            1.0,
            "- Every resample gives the same `test_f1_macro`: its interval has no width, which shows no certainty.\n"
            "- A model that errs in 9.5% of all rows has 1 chance in 20 to show no error in 30.\n",
        ),
        (0.0, 1.0, "Every resample gives the same `test_f1_macro`"),
        (1.0, 0.99, None),
    ],
)
def test_interval_that_cannot_vary_is_told_to_say_little(accuracy: float, low: float, told: str | None) -> None:
    ends = {"test_f1_macro_ci95_high": 1.0, "test_f1_macro_ci95_low": low, "test_accuracy": accuracy}
    page = card(make_facts(metrics=METRICS | ends, n_rows={"train": 120, "test": 30}))
    assert (told or "\n") in page
    assert ("Every resample" in page) is (told is not None)
    assert ("errs in" in page) is (accuracy == low == 1)


def test_split_and_search_have_their_limits() -> None:
    assert "same time and the same groups" in limits()
    assert "the newest" in limits(data_split__split={"kind": "time", "column": "day"})
    assert "Nothing was searched" in limits(train__search={"kind": "none"})


# --- Markdown and files ---


def test_table_is_aligned_also_with_wide_letters() -> None:
    assert table(["name", "n"], [["猫", "1"], ["long name", "200"]], numbers=(1,)).splitlines() == [
        "| name      |   n |",
        "| --------- | --: |",
        "| 猫        |   1 |",
        "| long name | 200 |",
    ]


@pytest.mark.parametrize(("name", "shown"), [("a b", "`a b`"), ("a`b", "`` a`b ``"), ("a\nb", "`a b`"), ("", "` `")])
def test_name_is_shown_as_it_is(name: str, shown: str) -> None:
    assert code(name) == shown


def test_words_are_no_markup() -> None:
    assert text("_a_ b_c [x](y)") == r"\_a\_ b_c \[x\](y)"


def test_files_are_hashed_as_dvc_does(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100_000)
    assert hash_files([path]) == {path.as_posix(): md5_of(path)}


@pytest.mark.parametrize("content", [None, "{"])
def test_scores_of_the_search_that_are_gone_name_the_stage_that_makes_them(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "cv_metrics.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(MissingInputError, match="stage train makes it"):
        read_cv_metrics(path)
    path.write_text(json.dumps({"cv_r2_mean": 0.5}))
    assert read_cv_metrics(path) == {"cv_r2_mean": 0.5}
