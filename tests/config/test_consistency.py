from pathlib import Path
from typing import Any

import pytest

from src.config.consistency import FEATURE_INPUT_KINDS
from src.config.featurize import Feature
from tests.config.conftest import Load, Refusal

REGRESSION: dict[str, Any] = {
    "base.task": "regression",
    "data_split.split": {"kind": "random"},
    "train.estimator": "ridge",
    "train.scoring": "r2",
}
FILE = {"data_load.source": {"kind": "file"}, "data_load.external_path": "data/external/t.csv"}


def column(name: str, kind: str) -> dict[str, Any]:
    return {"data_load.columns": {name: {"kind": kind}}}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (REGRESSION | {"train.scoring": "f1_macro"},
         "train.scoring = 'f1_macro' is unknown for regression; choose one of neg_mean_absolute_error, "),
        ({"train.scoring": "r2"}, "train.scoring = 'r2' is unknown for classification; choose one of accuracy, "),
        (REGRESSION | {"train.estimator": "logreg"},
         "train.estimator = 'logreg' does not support regression; choose one of dummy, elastic_net, "),
        ({"train.estimator": ["ridge", "knn"]}, "train.estimator = 'ridge' does not support classification; choose"),
        (REGRESSION | {"base.positive": 1}, "base.positive = 1: a regression has no classes; set it to null"),
        (REGRESSION | {"train.threshold": 0.3},
         "train.threshold = 0.3: a regression has no classes; set it to 0.5"),
        (REGRESSION | {"train.calibrate": "sigmoid"},
         "train.calibrate = 'sigmoid': a regression has no probabilities; set it to none"),
        ({"train.calibrate": "sigmoid", "data_split.split": {"kind": "time", "column": "day"}},
         "train.calibrate = 'sigmoid' needs folds that score every row, which a split by time has not; set it to none"),
        ({"train.threshold": "best", "train.scoring": "roc_auc_ovr"},
         "train.threshold = 'best': train.scoring = 'roc_auc_ovr' does not depend on the threshold; choose one of "
         "accuracy, balanced_accuracy, f1, f1_macro, f1_weighted, precision, recall"),
        (REGRESSION | {"train.class_weight": "balanced"},
         "train.class_weight = 'balanced': a regression has no classes; set it to none"),
        (REGRESSION | {"data_split.split": {"kind": "stratified"}},
         "data_split.split.kind = 'stratified': a regression has no classes; choose random, hash, time or group"),
        ({"train.param_grid.logreg.depth": [1]},
         "train.param_grid.logreg.depth is not a parameter of logreg for classification; choose one of C, fit_inter"),
        ({"train.estimator": ["knn", "logreg"], "train.search": {"kind": "none"}},
         "train.search.kind = 'none' cannot compare several estimators; choose grid, halving, random or optuna"),
        ({"train.estimator": ["knn", "logreg"], "train.search": {"kind": "optuna", "n_trials": 1}},
         "train.search.n_trials = 1 is fewer than the 2 estimators of train.estimator; raise it, or list fewer"),
        ({"data_split.split": {"kind": "time", "column": "target"}},
         "data_split.split.column = 'target' is also base.target_column; choose another column"),
        *[({"data_split.split": {"kind": kind, "column": "target"}},
           "data_split.split.column = 'target' is also base.target_column; choose another column")
          for kind in ("group", "hash", "random", "stratified")],
        ({"data_split.split": {"kind": "time", "column": "day"}} | column("day", "category"),
         "data_split.split.column = 'day' is declared as category in data_load.columns; a split by time needs a date"),
        (column("a", "category"),
         "featurize.features.a_to_b: ratio does not accept 'a', which data_load.columns declares as category; it acc"),
        (column("a_to_b", "number"),
         "featurize.features.a_to_b has the name of a column in data_load.columns; choose another name"),
        ({"featurize.features": {"x": {"log": "a"}, "y": {"log": "x"}}},
         "featurize.features.y uses the feature 'x'; features can use columns of the table only"),
        *[({"featurize.features": {name: {"ratio": pair}}},
           f"featurize.features.{name} uses base.target_column = 'target'; a feature must not use the target")
          for name, pair in (("x", ["target", "a"]), ("x", ["a", "target"]), ("target", ["a", "b"]))],
        (column("target", "date"),
         "data_load.columns.target.kind = 'date' cannot be the target of a classification; choose one of boolean, "),
        (REGRESSION | column("target", "category"),
         "data_load.columns.target.kind = 'category' cannot be the target of a regression; choose one of number"),
        (FILE | {"data_load.source": {"kind": "file", "dates": ["b"]}} | column("b", "number"),
         "data_load.columns.b.kind = 'number' contradicts data_load.source.dates, which lists the column; remove one"),
        ({"evaluate.metrics_path": "data//raw/dataset.parquet"},
         "'data/raw/dataset.parquet' is the path of 2 outputs; each output needs its own"),
        ({"evaluate.plots_dir": "./reports/metrics.json"},
         "'reports/metrics.json' is the path of 2 outputs; each output needs its own"),
        ({"evaluate.model_card_path": "reports/plots/model_card.md"},
         "'reports/plots/model_card.md' is inside 'reports/plots', the path of another setting; put it elsewhere"),
        ({"train.model_path": "reports/metrics.json/model"},
         "'reports/metrics.json/model' is inside 'reports/metrics.json', the path of another setting; put it elsewh"),
        *[({"data_load.source": source, "data_load.external_path": path},
           f"data_load.external_path = '{path}': must be a file or folder in data/external/, because "
           f"data_load.source.kind is {source['kind']}")
          for source in ({"kind": "file"}, {"kind": "url", "url": "https://example.org/t.csv"})
          for path in ("data/external", "data/t.csv")],
    ],
)  # fmt: skip
def test_contradiction_is_one_line(refusal: Refusal, changes: dict[str, Any], problem: str) -> None:
    message = refusal(changes)
    assert message.startswith(f"params.yaml: {problem}")
    assert "\n" not in message


@pytest.mark.parametrize(
    "changes",
    [
        REGRESSION,
        REGRESSION | column("target", "number"),
        {"train.estimator": ["knn", "logreg"]},
        {"train.estimator": "logreg", "train.search": {"kind": "none"}},
        {"train.estimator": "my.package.Estimator"},
        {"train.param_grid": {"ridge": {"alpha": [1.0]}}},
        {"train.class_weight": "balanced"},
        {"data_split.split": {"kind": "time", "column": "day"}},
        {"data_split.split": {"kind": "time", "column": "day"}} | column("day", "date"),
        {"data_split.split": {"kind": "group", "column": "day"}} | column("day", "category"),
        {"featurize.features": {"x": {"log": "a"}, "y": {"log": "a"}}} | column("a", "boolean"),
        FILE | {"data_load.source": {"kind": "file", "dates": ["day"]}} | column("day", "date"),
    ],
)
def test_settings_that_agree_are_accepted(load: Load, changes: dict[str, Any]) -> None:
    load(changes)


@pytest.mark.parametrize(
    ("feature", "accepted", "refused"),
    [
        ({"ratio": ["x", "z"]}, "number", "date"),
        ({"difference": ["x", "z"]}, "date", "category"),
        ({"product": ["x", "z"]}, "boolean", "date"),
        ({"log": "x"}, "number", "category"),
        ({"date_part": {"column": "x", "part": "year"}}, "date", "number"),
        ({"text_length": "x"}, "high_cardinality", "number"),
        ({"bins": {"column": "x", "edges": [1.0]}}, "number", "ignore"),
    ],
)
def test_calculation_accepts_columns_of_some_kinds(
    load: Load, refusal: Refusal, feature: dict[str, Any], accepted: str, refused: str
) -> None:
    changes = {"featurize.features": {"f": feature}}
    load(changes | column("x", accepted))
    assert "it accepts " in refusal(changes | column("x", refused))


def test_every_calculation_has_input_kinds() -> None:
    assert set(FEATURE_INPUT_KINDS) == set(Feature.model_fields)


def test_own_table_in_its_folder_is_accepted(load: Load) -> None:
    assert load(FILE).data_load.external_path == Path("data/external/t.csv")
