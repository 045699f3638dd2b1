"""Stage `evaluate` by itself, on files that other stages would write."""

import copy
import json
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OutputCodeClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.svm import SVC

from src.config.schema import CURVES, Config
from src.data.parts import new_table, write_part
from src.errors import ConfigError, MissingInputError
from src.stages.evaluate import evaluate
from tests.config.conftest import VALID
from tests.report.conftest import ODD_NAMES

INPUTS = {
    "data/train.parquet": "data_split",
    "data/test.parquet": "data_split",
    "data/schema.json": "data_load",
    "reports/data_checks.json": "data_split",
    "reports/cv_metrics.json": "train",
    "reports/cv_results.csv": "train",
    "models/model.joblib": "train",
}
OUTPUTS = {
    "classification": [
        "calibration",
        "confusion_matrix",
        "permutation_importance",
        "precision_recall",
        "roc",
        "search",
    ],
    "regression": ["permutation_importance", "predicted_against_true", "residuals", "search"],
}
CV_RESULTS = "estimator,C,mean,std,rank\nlogreg,0.1,0.7,0.02,2\nlogreg,1.0,0.8,0.01,1\n"

Prepare = Callable[..., Config]


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Write the inputs of the stage into an empty folder and return its settings."""
    monkeypatch.chdir(tmp_path)

    def write(
        task: str = "classification", names: tuple[str, str, str] = ("a", "b", "c"), estimator: Any = None, **train: Any
    ) -> Config:
        settings = copy.deepcopy(VALID)
        settings["base"]["task"] = task
        settings["featurize"]["features"] = {}
        settings["tracking"]["enabled"] = False
        settings["train"] |= train
        if task == "regression":
            settings["data_split"]["split"] = {"kind": "random"}
            settings["train"] |= {"scoring": "r2", "estimator": "ridge"}
        table = make_table(task, names)
        for folder in ("data", "models", "reports"):
            Path(folder).mkdir()
        table[:200].to_parquet("data/train.parquet")
        table[200:].to_parquet("data/test.parquet")
        kinds = dict(zip(names, ("number", "number", "category"), strict=True))
        columns = {name: {"kind": kinds[name]} for name in names}
        Path("data/schema.json").write_text(json.dumps({"source": {}, "declared": [], "columns": columns}))
        Path("reports/data_checks.json").write_text('[{"kind": "leak", "message": "\'a\' is a copy", "columns": []}]')
        Path("reports/cv_metrics.json").write_text('{"cv_f1_macro_mean": 0.8}')
        Path("reports/cv_results.csv").write_text(CV_RESULTS)
        estimator = estimator or (LogisticRegression() if task == "classification" else Ridge())
        joblib.dump(fit(table[:200], names, estimator), "models/model.joblib")
        return Config.model_validate(settings)

    return write


def make_table(task: str, names: tuple[str, str, str]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({names[0]: rng.normal(size=300), names[1]: rng.normal(size=300)})
    table[names[2]] = rng.choice(["red", "green"], 300)
    target = table[names[0]] + rng.normal(0, 0.5, 300)
    table["target"] = np.where(target > 0, "yes", "no") if task == "classification" else target
    return table


def fit(table: pd.DataFrame, names: tuple[str, str, str], estimator: Any) -> Pipeline:
    preprocess = make_column_transformer((OneHotEncoder(), [names[2]]), remainder="passthrough")
    steps = [("features", FunctionTransformer()), ("preprocess", preprocess), ("estimator", estimator)]
    return Pipeline(steps).fit(table[list(names)], table["target"])


def outputs() -> dict[str, bytes]:
    """Read everything that the stage wrote."""
    files = {path.as_posix(): path for path in Path().rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name not in {*INPUTS, "dvc.lock"}}


def metrics() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("reports/metrics.json").read_text())
    return content


@pytest.mark.parametrize("task", sorted(OUTPUTS))
def test_stage_writes_its_outputs_and_nothing_else(prepare: Prepare, task: str) -> None:
    evaluate(prepare(task))
    plots = [f"reports/plots/{name}.png" for name in OUTPUTS[task]]
    curves = [f"reports/curves/{name}.json" for name in CURVES]
    pages = ["reports/model_card.md", "reports/reference.json", "reports/report.html"]
    assert sorted(outputs()) == sorted(["reports/metrics.json", *pages, *plots, *curves])
    assert all(outputs()[path].startswith(b"\x89PNG") for path in plots)


class CountingRidge(Ridge):
    """Its predictions depend on the number of rows, as the last digits of a matrix product do."""

    def predict(self, X: Any) -> Any:
        return super().predict(X) + len(X)


def divide(path: Path, sizes: Sequence[int]) -> None:
    """Divide a table into parts."""
    table = pd.read_parquet(path)
    with new_table(path) as folder:
        for number, rows in enumerate(np.split(np.arange(len(table)), np.cumsum(sizes))):
            write_part(table.iloc[rows], folder, number)


@pytest.mark.parametrize("task", sorted(OUTPUTS))
def test_tables_in_parts_give_the_bytes_of_whole_tables(
    prepare: Prepare, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare(task, estimator=None if task == "classification" else CountingRidge())
    monkeypatch.setattr("src.report.rows.MAX_VALUES", 45 * 4)
    monkeypatch.setattr("src.report.rows.MIN_ROWS", 1)
    # Labels that the model does not know, in different parts.
    if task == "classification":
        test = pd.read_parquet("data/test.parquet")
        test.loc[test.index[[5, 80]], "target"] = ["maybe", "always"]
        test.to_parquet("data/test.parquet")
    evaluate(config)
    whole = outputs()
    divide(Path("data/train.parquet"), [7, 120])
    divide(Path("data/test.parquet"), [30, 1, 49])
    for path in whole:
        Path(path).unlink()
    evaluate(config)
    parts = ("data/train.parquet/", "data/test.parquet/")
    assert {name: content for name, content in outputs().items() if not name.startswith(parts)} == whole


def test_of_many_test_rows_a_sample_is_shown_and_metrics_are_of_all(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare()
    evaluate(config)
    before = metrics()
    divide(Path("data/test.parquet"), [30, 50])
    monkeypatch.setattr("src.report.rows.MAX_SAMPLE", 40)
    evaluate(config)
    assert metrics() == before
    card = Path("reports/model_card.md").read_text(encoding="utf-8")
    assert "use 40 random test rows. Metrics and the confusion matrix use all 100." in card
    assert "all sampled test rows" in card


@pytest.mark.parametrize(
    ("n_fitted", "expected"),
    [
        (50, "The model was fitted on 50 random rows of 200 training rows."),
        (200, "The model was fitted on all training rows, but its parameters were chosen on 50 random ones."),
    ],
)
def test_card_says_how_many_rows_were_searched_and_fitted(prepare: Prepare, n_fitted: int, expected: str) -> None:
    config = prepare()
    Path("reports/cv_metrics.json").write_text(json.dumps({"n_rows_searched": 50, "n_rows_fitted": n_fitted}))
    evaluate(config)
    card = Path("reports/model_card.md").read_text(encoding="utf-8")
    assert expected in card
    assert re.search(rf"Rows fitted +\| {n_fitted} of 200", card)
    assert re.search(r"Rows searched +\| 50 of 200", card)


@pytest.mark.parametrize("task", sorted(OUTPUTS))
def test_same_inputs_give_the_same_bytes(prepare: Prepare, task: str) -> None:
    config = prepare(task)
    evaluate(config)
    first = outputs()
    evaluate(config)
    assert outputs() == first


def test_metrics_are_of_the_test_rows(prepare: Prepare) -> None:
    evaluate(prepare())
    model, test = joblib.load("models/model.joblib"), pd.read_parquet("data/test.parquet")
    y_pred = model.predict(test[["a", "b", "c"]])
    assert metrics()["test_accuracy"] == pytest.approx((y_pred == test["target"]).mean())
    assert metrics()["test_support_class"] == {
        "no": (test["target"] == "no").sum(),
        "yes": (test["target"] == "yes").sum(),
    }
    assert metrics()["test_f1_macro_ci95_low"] < metrics()["test_f1_macro"] < metrics()["test_f1_macro_ci95_high"]


def test_card_describes_these_files(prepare: Prepare) -> None:
    config = prepare()
    size = Path("models/model.joblib").stat().st_size
    lock = {"stages": {"train": {"outs": [{"path": "models/model.joblib", "md5": "0123456789", "size": size}]}}}
    Path("dvc.lock").write_text(json.dumps(lock))
    evaluate(config)
    card = Path("reports/model_card.md").read_text(encoding="utf-8")
    assert "`make lineage REF=0123456789`" in card
    assert "200 training rows, 100 test rows" in card
    assert "the best of 2 candidates" in card
    assert "- 'a' is a copy" in card
    assert "`cv_f1_macro_mean`" in card
    assert "![ROC curve](plots/roc.png)" in card


def test_only_the_target_of_the_training_rows_is_read(prepare: Prepare) -> None:
    config = prepare()
    evaluate(config)
    expected = metrics()
    pd.read_parquet("data/train.parquet")[["target"]].to_parquet("data/train.parquet")
    evaluate(config)
    assert metrics() == expected


def test_label_unknown_to_the_model_counts_as_wrong(prepare: Prepare) -> None:
    config = prepare(scoring="roc_auc_ovr")
    test = pd.read_parquet("data/test.parquet").astype({"target": object})
    test.loc[test.index[:10], "target"] = "perhaps"
    test.to_parquet("data/test.parquet")
    evaluate(config)
    assert metrics()["test_accuracy"] <= 0.9
    assert metrics()["test_recall_class"]["perhaps"] == 0
    assert "`perhaps`" in Path("reports/model_card.md").read_text(encoding="utf-8")


def test_odd_column_names_are_reported(prepare: Prepare) -> None:
    evaluate(prepare(names=(ODD_NAMES[0], ODD_NAMES[1], "a|b\nc")))
    assert "reports/plots/permutation_importance.png" in outputs()


def test_model_without_probabilities_is_reported_without_them(prepare: Prepare) -> None:
    evaluate(prepare(estimator=SVC()))
    assert "test_brier" not in metrics()
    assert "reports/plots/calibration.png" not in outputs()
    assert "reports/plots/roc.png" in outputs()


@pytest.mark.parametrize("scoring", ["f1_macro", "roc_auc_ovr", "neg_log_loss"])
def test_model_that_predicts_labels_only_is_reported(
    prepare: Prepare, scoring: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    evaluate(prepare(estimator=OutputCodeClassifier(LogisticRegression(), random_state=0), scoring=scoring))
    assert {"test_accuracy", "test_f1_macro"} < set(metrics())
    assert not {"test_brier", "test_log_loss", "test_pr_auc", "test_roc_auc_ovr"} & set(metrics())
    assert "the model predicts labels only" in caplog.text
    drawn = {Path(path).stem for path in outputs() if path.endswith(".png")}
    assert drawn - {"permutation_importance"} == {"confusion_matrix", "search"}
    assert ("permutation_importance" in drawn) == (scoring == "f1_macro")


def test_only_finite_numbers_are_written(prepare: Prepare) -> None:
    config = prepare("regression")
    test = pd.read_parquet("data/test.parquet")
    test.assign(target=0.0).to_parquet("data/test.parquet")
    evaluate(config)
    assert set(metrics()) == {"test_mae", "test_median_absolute_error", "test_rmse"}


@pytest.mark.parametrize(("task", "n_rows"), [("classification", 2), ("regression", 1), ("regression", 2)])
def test_very_few_test_rows_are_reported(prepare: Prepare, task: str, n_rows: int) -> None:
    config = prepare(task)
    test = pd.read_parquet("data/test.parquet")
    firsts = test.drop_duplicates("target") if task == "classification" else test
    firsts.head(n_rows).to_parquet("data/test.parquet")
    evaluate(config)
    card = Path("reports/model_card.md").read_text(encoding="utf-8")
    assert f"The test set is small: each of its {n_rows} rows" in card
    assert all(np.isfinite(value) for value in metrics().values() if isinstance(value, float))


@pytest.mark.parametrize(("path", "maker"), INPUTS.items())
def test_missing_input_names_the_stage_that_makes_it(prepare: Prepare, path: str, maker: str) -> None:
    config = prepare()
    Path(path).unlink()
    with pytest.raises(MissingInputError, match=rf"^{path} is missing.*stage {maker} makes it"):
        evaluate(config)
    assert outputs() == {}


@pytest.mark.parametrize("positive", [None, "no", "yes"])
def test_positive_class_is_visible_everywhere(prepare: Prepare, positive: str | None) -> None:
    config = prepare(scoring="average_precision")
    config = config.model_copy(update={"base": config.base.model_copy(update={"positive": positive})})
    counts = pd.read_parquet("data/train.parquet")["target"].value_counts()
    label = positive or str(counts.idxmin())
    result = evaluate(config)
    assert result is not None
    assert result.tags == {"positive": label}
    assert f"the positive class is <code>{label}</code>" in Path("reports/report.html").read_text()
    assert f"`{label}`, {'chosen' if positive else 'the rarer class'}" in Path("reports/model_card.md").read_text()
    found = metrics()
    assert found["test_average_precision"] == found["test_pr_auc"]
    assert found["test_recall"] == found["test_recall_class"][label]
    share = (pd.read_parquet("data/test.parquet")["target"] == label).mean()
    assert found["test_average_precision_baseline"] == pytest.approx(share)


def test_unknown_positive_class_is_one_line(prepare: Prepare) -> None:
    config = prepare()
    config = config.model_copy(update={"base": config.base.model_copy(update={"positive": "maybe"})})
    with pytest.raises(ConfigError, match=r"^base\.positive = 'maybe' is not a class .* 'no', 'yes', or null"):
        evaluate(config)
