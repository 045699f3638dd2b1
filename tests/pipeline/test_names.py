"""Every metric has one name, in its file, in DVC and in MLflow."""

import json

import pandas as pd
import pytest

from src.tracking.session import numbers
from tests.pipeline.clone import Clone

LABELS = ["a/b", "a.b", "../etc", "<b>x</b>", "é 💥", "a\nb", "100 %", "x" * 300]


def use_odd_labels(clone: Clone) -> None:
    """Set up a table whose classes have names of any characters."""
    rows = [
        {"size": number % 7 + 10 * code, "label": label} for code, label in enumerate(LABELS) for number in range(15)
    ]
    pd.DataFrame(rows).to_csv(clone.path / "data/external/odd.csv", index=False)
    for key, value in {
        "base.target_column": "label",
        "data_load.source": {"kind": "file"},
        "data_load.external_path": "data/external/odd.csv",
        "featurize.features": {},
    }.items():
        clone.set_param(key, value)
    (clone.path / "data/processed/schema.json").unlink()
    clone.launch()


@pytest.mark.parametrize("labels", ["plain", pytest.param("odd", marks=pytest.mark.slow)])
def test_metrics_have_the_same_names_and_values_in_files_dvc_and_mlflow(clone: Clone, labels: str) -> None:
    if labels == "odd":
        use_odd_labels(clone)
    evaluated = numbers(json.loads(clone.read("reports/metrics.json")))
    trained = numbers(json.loads(clone.read("reports/cv_metrics.json")))
    assert len({name for name in evaluated if name.startswith("test_f1_class.")}) == (
        len(LABELS) if labels == "odd" else 3
    )
    shown = json.loads(clone.run("dvc", "metrics", "show", "--json").stdout)[""]["data"].values()
    assert {name: value for file in shown for name, value in numbers(file["data"]).items()} == evaluated | trained
    parent = clone.parent()
    nested = clone.nested(parent)
    assert nested["evaluate"].data.metrics == evaluated
    assert nested["train"].data.metrics == trained
    assert parent.data.metrics == evaluated | trained
