from pathlib import Path
from typing import Any

import pytest

from src.config.consistency import KINDS_OF_FEATURES
from src.config.featurize import Feature
from tests.config.conftest import Load, Refusal

REGRESSION: dict[str, Any] = {
    "base.task": "regression",
    "data_split.split": {"kind": "random"},
    "train.estimator": "ridge",
    "train.scoring": "r2",
}
PARTS = {"column": "x", "part": "year"}
FILE = {"data_load.source": {"kind": "file"}, "data_load.external_path": "data/external/t.csv"}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            REGRESSION | {"train.scoring": "f1_macro"},
            "train.scoring = 'f1_macro' is none of regression; choose of neg_",
        ),
        ({"train.scoring": "r2"}, "train.scoring = 'r2' is none of classification; choose of accuracy"),
        (REGRESSION | {"train.estimator": "logreg"}, "train.estimator = 'logreg' does no regression; choose of dummy"),
        ({"train.estimator": ["ridge", "knn"]}, "train.estimator = 'ridge' does no classification"),
        (
            REGRESSION | {"train.class_weight": "balanced"},
            "train.class_weight = 'balanced': a regression has no classes",
        ),
        (
            REGRESSION | {"data_split.split": {"kind": "stratified"}},
            "data_split.split.kind = 'stratified': a regression has no classes; choose random, time or group",
        ),
        (
            {"train.param_grid.logreg.depth": [1]},
            "train.param_grid.logreg.depth is no parameter of logreg for classification; choose of C, fit_intercept",
        ),
        (
            {"train.estimator": ["knn", "logreg"], "train.search": {"kind": "none"}},
            "train.search.kind = 'none' cannot choose between several estimators",
        ),
        ({"train.estimator": "rf"}, "train.estimator = 'rf': rf names no estimator; choose of dummy"),
        ({"train.estimator": ["knn", "knn"]}, "names an estimator twice"),
    ],
)
def test_task_and_training_must_agree(refusal: Refusal, changes: dict[str, Any], fault: str) -> None:
    message = refusal(changes)
    assert message.startswith("params.yaml: ")
    assert fault in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "changes",
    [REGRESSION, {"train.estimator": ["knn", "logreg"]}, {"train.estimator": "my.package.Estimator"}],
)
def test_settings_that_agree_are_accepted(load: Load, changes: dict[str, Any]) -> None:
    assert load(changes).train.estimators


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"data_split.split": {"kind": "time", "column": "target"}},
            "data_split.split.column = 'target' is base.target",
        ),
        (
            {"data_split.split": {"kind": "group", "column": "target"}},
            "data_split.split.column = 'target' is base.target",
        ),
        (
            {
                "data_split.split": {"kind": "time", "column": "day"},
                "data_load.columns": {"day": {"kind": "category"}},
            },
            "data_split.split.column = 'day' is declared as category, not as date",
        ),
        (
            {"data_load.columns": {"a": {"kind": "category"}}},
            "featurize.features.a_to_b: ratio of 'a', which data_load.columns declares as category; it takes",
        ),
        (
            {"data_load.columns": {"a_to_b": {"kind": "number"}}},
            "featurize.features.a_to_b has the name of a column that data_load.columns declares",
        ),
        (
            {"featurize.features": {"x": {"log": "a"}, "y": {"log": "x"}}},
            "featurize.features.y uses 'x', which is a feature; features are computed from columns of the table",
        ),
        (
            {"data_load.columns": {"target": {"kind": "date"}}},
            "data_load.columns.target.kind = 'date': the target of a classification is one of boolean, category",
        ),
        (
            REGRESSION | {"data_load.columns": {"target": {"kind": "category"}}},
            "data_load.columns.target.kind = 'category': the target of a regression is one of number",
        ),
        (
            FILE
            | {"data_load.source": {"kind": "file", "dates": ["b"]}, "data_load.columns": {"b": {"kind": "number"}}},
            "data_load.columns.b.kind = 'number', and data_load.source.dates has it",
        ),
    ],
)
def test_columns_must_agree(refusal: Refusal, changes: dict[str, Any], fault: str) -> None:
    message = refusal(changes)
    assert message.startswith(f"params.yaml: {fault}")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("feature", "accepted"),
    [
        ({"ratio": ["x", "z"]}, "number"),
        ({"difference": ["x", "z"]}, "date"),
        ({"product": ["x", "z"]}, "boolean"),
        ({"log": "x"}, "number"),
        ({"date_part": PARTS}, "date"),
        ({"text_length": "x"}, "high_cardinality"),
        ({"bins": {"column": "x", "edges": [1.0]}}, "number"),
    ],
)
def test_each_calculation_takes_columns_of_its_kinds(
    load: Load, refusal: Refusal, feature: dict[str, Any], accepted: str
) -> None:
    changes = {"featurize.features": {"f": feature}}
    assert load(changes | {"data_load.columns": {"x": {"kind": accepted}}}).features == {"f": feature}
    assert "it takes " in refusal(changes | {"data_load.columns": {"x": {"kind": "ignore"}}})


def test_every_calculation_says_what_it_takes() -> None:
    assert set(KINDS_OF_FEATURES) == set(Feature.model_fields)


@pytest.mark.parametrize("source", [{"kind": "file"}, {"kind": "url", "url": "https://example.org/t.csv"}])
@pytest.mark.parametrize("path", ["data/external", "data/t.csv", "t.csv"])
def test_own_table_must_be_in_its_folder(refusal: Refusal, source: dict[str, str], path: str) -> None:
    assert refusal({"data_load.source": source, "data_load.external_path": path}) == (
        f"params.yaml: data_load.external_path = '{path}': must name a file or folder in data/external/, "
        f"since data_load.source.kind is {source['kind']}."
    )


@pytest.mark.parametrize("path", ["../t.csv", "/elsewhere/t.csv", "data/external/../../../t.csv"])
def test_own_table_outside_the_repository_is_refused(refusal: Refusal, path: str) -> None:
    message = refusal({"data_load.source": {"kind": "file"}, "data_load.external_path": path})
    assert message == f"params.yaml: data_load.external_path = {path!r}: must be a relative path inside the repository."


def test_group_column_is_no_feature(load: Load) -> None:
    assert load({"data_split.split": {"kind": "group", "column": "patient"}}).no_features == ["patient"]
    assert load({"data_split.split": {"kind": "time", "column": "day"}}).no_features == []


def test_path_of_an_own_table_is_a_path(load: Load) -> None:
    assert load(FILE).data_load.external_path == Path("data/external/t.csv")
