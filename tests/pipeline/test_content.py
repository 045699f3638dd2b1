"""Tables and the logged model in MLflow."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from src.tracking.session import numbers
from tests.pipeline.clone import Clone

INPUTS = {
    "data_load": ["data/raw/dataset.parquet"],  # its output; it has no input
    "featurize": ["data/raw/dataset.parquet"],
    "data_split": ["data/processed/features.parquet"],
    "train": ["data/processed/train.parquet"],
    "evaluate": ["data/processed/test.parquet", "data/processed/train.parquet"],
}
PREDICT = """
import sys
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
assert "src" not in sys.path and not any(path.endswith("/repo") for path in sys.path), sys.path
print(",".join(map(str, model.predict(pd.read_parquet(sys.argv[2])))))
"""


@pytest.mark.parametrize("stage", INPUTS)
def test_nested_run_describes_the_tables_that_it_read(clone: Clone, stage: str) -> None:
    import pandas as pd

    run = clone.nested(clone.parent())[stage]
    inputs = {item.dataset.name: item for item in run.inputs.dataset_inputs}
    assert sorted(inputs) == INPUTS[stage]
    for path, item in inputs.items():
        content = (clone.path / path).read_bytes()
        table, md5 = pd.read_parquet(clone.path / path), hashlib.md5(content, usedforsecurity=False).hexdigest()
        assert item.dataset.digest == md5
        assert json.loads(item.dataset.profile)["num_rows"] == len(table)
        columns = json.loads(item.dataset.schema)["mlflow_colspec"]
        assert [column["name"] for column in columns] == list(table.columns)
        tags = {tag.key: tag.value for tag in item.tags}
        assert tags == {"mlflow.data.context": stage}


def test_runs_are_found_by_the_hash_of_their_data(clone: Clone) -> None:
    md5 = clone.parent().data.tags["dvc.md5.data/raw/dataset.parquet"]
    assert len(clone.runs(f"tags.`dvc.md5.data/raw/dataset.parquet` = '{md5}'")) == 1
    found = clone.runs(f"dataset.digest = '{md5}' and tags.`pipeline.kind` = 'stage'")
    assert {run.info.run_name for run in found} == {"data_load", "featurize"}
    commit = clone.git("rev-parse", "HEAD~1")
    of_commit = clone.runs(f"tags.`git.commit` = '{commit}'")
    kinds = Counter(run.data.tags["pipeline.kind"] for run in of_commit)
    assert kinds == {"parent": 1, "stage": 5, "candidate": 4}


def test_logged_model_has_its_requirements_and_the_test_metrics(clone: Clone) -> None:
    from mlflow import MlflowClient
    from packaging.requirements import Requirement

    parent = clone.parent()
    nested = clone.nested(parent)
    (model,) = MlflowClient(clone.store).search_logged_models([parent.info.experiment_id])
    assert model.source_run_id == nested["train"].info.run_id
    metrics = {metric.key: (metric.value, metric.run_id) for metric in model.metrics}
    expected = numbers(json.loads(clone.read("reports/metrics.json")))
    evaluated = nested["evaluate"].info.run_id
    assert expected
    assert metrics.items() >= {key: (value, evaluated) for key, value in expected.items()}.items()
    folder = Path(model.artifact_location.removeprefix("file://"))
    files = {path.name for path in folder.iterdir()}
    assert files >= {"MLmodel", "requirements.txt", "input_example.json", "code"}
    lines = [line for line in clone.read("requirements.txt").splitlines() if line and not line.strip().startswith("#")]
    needed = (folder / "requirements.txt").read_text().splitlines()
    assert {str(Requirement(line)) for line in needed} <= {str(Requirement(line)) for line in lines}
    assert "signature" in (folder / "MLmodel").read_text()


def test_logged_model_predicts_raw_rows_without_this_repository(clone: Clone, tmp_path: Path) -> None:
    import joblib
    import pandas as pd

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(clone.logged_model(), elsewhere / "model")
    raw = pd.read_parquet(clone.path / "data/raw/dataset.parquet").drop(columns="target")
    raw.to_parquet(elsewhere / "raw.parquet")
    expected = joblib.load(clone.path / "models/model.joblib").predict(raw)
    result = subprocess.run(
        [sys.executable, "-I", "-c", PREDICT, "model", "raw.parquet"],
        cwd=elsewhere, env={"HOME": str(elsewhere)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().split(",") == list(expected)


def test_equal_model_gets_the_scores_of_a_skipped_evaluation(clone: Clone) -> None:
    from mlflow import MlflowClient

    # The model does not change, so DVC skips `evaluate`.
    clone.edit("src/train/fit.py", r"\Z", "\n# another line\n")
    clone.launch()
    parent = clone.parent()
    assert clone.outcomes(parent) == ["unchanged", "unchanged", "unchanged", "ran", "unchanged"]
    client = MlflowClient(clone.store)
    models = client.search_logged_models([parent.info.experiment_id])
    assert len(models) == 2
    for model in models:
        assert {"test_accuracy", "test_f1_macro"} <= {metric.key for metric in model.metrics or []}
