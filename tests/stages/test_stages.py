import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from src.compute.engine import SCRATCH_DIR
from src.config.schema import CURVES, Config
from src.data.columns import write_columns
from src.data.parts import new_table, write_part
from src.errors import DataError, MissingInputError
from src.stages.data_load import data_load
from src.stages.data_split import data_split
from src.stages.evaluate import evaluate
from src.stages.featurize import featurize
from src.stages.train import train
from src.utils.mlflow_run_decorator import StageResult
from tests.config.conftest import VALID

Stage = Callable[[Config], StageResult | None]
OUTPUTS = {
    data_load: ["data/raw/dataset.parquet", "data/schema.json"],
    featurize: ["data/features.parquet"],
    data_split: ["data/train.parquet", "data/test.parquet", "reports/data_checks.json", "reports/data.html"],
    train: ["models/model.joblib", "reports/cv_metrics.json", "reports/cv_results.csv"],
    evaluate: [
        "reports/metrics.json",
        "reports/model_card.md",
        "reports/reference.json",
        "reports/report.html",
        *(f"reports/curves/{name}.json" for name in CURVES),
        *(
            f"reports/plots/{name}.png"
            for name in (
                "calibration",
                "confusion_matrix",
                "permutation_importance",
                "precision_recall",
                "roc",
                "search",
            )
        ),
    ],
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Work in an empty folder, without tracking, on a table of two numbers a row."""
    monkeypatch.chdir(tmp_path)
    settings: dict[str, Any] = copy.deepcopy(VALID)
    settings["tracking"]["enabled"] = False
    settings["train"]["cv"] = 2
    return Config.model_validate(settings)


@pytest.fixture
def raw(config: Config) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.uniform(1, 2, 40), "b": rng.uniform(1, 2, 40)})
    table["target"] = np.where(table["a"] > table["b"], "more", "less")
    config.data_load.dataset_path.parent.mkdir(parents=True)
    table.to_parquet(config.data_load.dataset_path)
    write_columns({"a": {"kind": "number"}, "b": {"kind": "number"}}, config)
    return table


def run_until(last: Stage, config: Config) -> StageResult | None:
    record = None
    for stage in (featurize, data_split, train, evaluate):
        record = stage(config)
        if stage is last:
            break
    return record


def files() -> set[str]:
    return {path.as_posix() for path in Path().rglob("*") if path.is_file()}


def test_data_load_writes_the_source_and_tells_its_size_and_origin(config: Config) -> None:
    record = data_load(config)
    table = pd.read_parquet("data/raw/dataset.parquet")
    assert table.shape == (150, 5)
    assert table.columns[-1] == "target"
    assert record == StageResult(
        metrics={"n_rows": 150, "n_columns": 5, "n_rows_without_target": 0},
        tags={"source.name": "sklearn.datasets.load_iris"},
    )


def test_featurize_adds_the_declared_columns(config: Config, raw: pd.DataFrame) -> None:
    record = run_until(featurize, config)
    table = pd.read_parquet("data/features.parquet")
    assert list(table.columns) == ["a", "b", "a_to_b", "target"]
    assert np.allclose(table["a_to_b"], raw["a"] / raw["b"])
    assert list(table["target"]) == list(raw["target"])
    assert record == StageResult(metrics={"n_features": 3})


def test_data_split_shares_out_every_row_once(config: Config, raw: pd.DataFrame) -> None:
    record = run_until(data_split, config)
    parts = [pd.read_parquet(f"data/{name}.parquet") for name in ("train", "test")]
    assert [len(part) for part in parts] == [32, 8]
    assert sorted(pd.concat(parts)["a"]) == sorted(raw["a"])
    assert record is not None
    # One column alone tells nothing here; their ratio tells all.
    assert record.metrics == {"n_train_rows": 32, "n_test_rows": 8, "n_failed_checks": 1}
    assert list(record.tags) == ["check.leak"]


@pytest.mark.usefixtures("raw")
def test_data_split_of_parts_writes_nothing_after_a_fatal_finding(config: Config) -> None:
    run_until(featurize, config)
    path = config.featurize.features_path
    rows = pd.read_parquet(path)
    with new_table(path) as folder:
        for number, start in enumerate(range(0, 40, 10)):
            write_part(rows[start : start + 10], folder, number)
    before = files()
    checks = config.data_split.checks.model_copy(update={"leak": "error"})
    with pytest.raises(DataError, match=r"^leak: 'a_to_b'"):
        data_split(config.model_copy(update={"data_split": config.data_split.model_copy(update={"checks": checks})}))
    assert files() == before


def test_train_writes_a_model_of_raw_rows_and_tells_what_it_chose(config: Config, raw: pd.DataFrame) -> None:
    record = run_until(train, config)
    model = joblib.load("models/model.joblib")
    assert (model.predict(raw[["a", "b"]]) == raw["target"]).mean() > 0.8
    names = {"cv_f1_macro_mean_baseline", "cv_f1_macro_mean", "cv_f1_macro_std"}
    assert set(json.loads(Path("reports/cv_metrics.json").read_text())) == names
    assert record is not None
    assert set(record.metrics) == names
    tried = [candidate["params"]["C"] for candidate in record.candidates]
    assert sorted(tried) == ["0.1", "1.0"]
    assert record.tags == {"best.estimator": "logreg", "best.C": tried[0]}


def test_train_searches_a_sample_of_a_large_table_and_fits_all_rows(config: Config, raw: pd.DataFrame) -> None:
    run_until(data_split, config)
    rows = pd.concat([pd.read_parquet("data/train.parquet")] * 10, ignore_index=True)
    Path("data/train.parquet").unlink()
    with new_table(config.data_split.train_path) as folder:
        write_part(rows[:150], folder, 0)
        write_part(rows[150:], folder, 1)
    changed = {"max_rows": 100, "estimator": ["lightgbm"], "param_grid": {"lightgbm": {"n_estimators": [5]}}}
    config = config.model_copy(update={"train": config.train.model_copy(update=changed)})
    first = [train(config), Path("models/model.joblib").read_bytes()]
    metrics = json.loads(Path("reports/cv_metrics.json").read_text())
    assert (metrics["n_rows_searched"], metrics["n_rows_fitted"]) == (100, 320)
    assert [train(config), Path("models/model.joblib").read_bytes()] == first
    assert (joblib.load("models/model.joblib").predict(raw[["a", "b"]]) == raw["target"]).mean() > 0.8
    assert list(SCRATCH_DIR.iterdir()) == []


@pytest.mark.usefixtures("raw")
@pytest.mark.parametrize("last", [featurize, data_split, train, evaluate])
def test_stage_writes_its_outputs_and_nothing_else(config: Config, last: Stage) -> None:
    run_until(last, config)
    order = list(OUTPUTS)
    assert files() == {path for stage in order[: order.index(last) + 1] for path in OUTPUTS[stage]}


@pytest.mark.usefixtures("raw")
def test_same_inputs_give_the_same_bytes(config: Config) -> None:
    run_until(evaluate, config)
    first = {path: Path(path).read_bytes() for path in files()}
    run_until(evaluate, config)
    assert {path: Path(path).read_bytes() for path in files()} == first


@pytest.mark.parametrize(
    ("stage", "path", "maker"),
    [
        (featurize, "data/raw/dataset.parquet", "data_load"),
        (data_split, "data/features.parquet", "featurize"),
        (train, "data/train.parquet", "data_split"),
        (evaluate, "data/test.parquet", "data_split"),
    ],
)
def test_missing_input_names_the_stage_that_makes_it(config: Config, stage: Stage, path: str, maker: str) -> None:
    with pytest.raises(MissingInputError, match=f"^{path} is missing; stage {maker} makes it"):
        stage(config)
    assert files() == set()


@pytest.mark.usefixtures("raw")
def test_missing_model_names_the_stage_that_makes_it(config: Config) -> None:
    run_until(train, config)
    config.train.model_path.unlink()
    with pytest.raises(MissingInputError, match=r"^models/model\.joblib is missing; stage train makes it"):
        evaluate(config)
    assert not config.evaluate.metrics_path.exists()


def test_table_without_the_target_stops_before_anything_is_written(config: Config, raw: pd.DataFrame) -> None:
    raw.rename(columns={"target": "label"}).to_parquet(config.data_load.dataset_path)
    with pytest.raises(
        DataError, match=r"base\.target_column = 'target' is not in the table; its columns are a, b, label"
    ):
        featurize(config)
    assert not config.featurize.features_path.exists()
