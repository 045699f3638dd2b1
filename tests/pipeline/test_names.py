"""Every metric, setting and picture has one name, in its file, in the terminal, in the report, in DVC and in MLflow."""

import json
import re

import pandas as pd
import pytest

from src.tracking.session import flatten, numbers
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


def test_metrics_have_the_same_names_in_the_summary_and_the_report(clone: Clone) -> None:
    metrics = set(clone.parent().data.metrics)
    summary = clone.launch("-v").stdout
    assert {line.split()[0] for line in summary.splitlines() if line.startswith(("test_", "cv_"))} == metrics
    # The report has the interval and the baseline in the row of the score, and classes in a table of their own.
    in_rows = {name for name in metrics if not re.search(r"_ci95_|_baseline$|_class\.", name)}
    for report in ("reports/report.html", "reports/model_card.md"):
        text = re.sub(r"</?\w+[^>]*>", " ", clone.read(report)).replace("`", " ")
        assert in_rows <= set(text.split())


def test_settings_and_pictures_have_the_same_names_in_files_dvc_and_mlflow(clone: Clone) -> None:
    from mlflow import MlflowClient

    run = clone.parent()
    assert run.data.params == flatten(clone.params())
    clone.set_param("train.cv", 3)
    changed = json.loads(clone.run("dvc", "params", "diff", "--json").stdout)["params.yaml"]
    assert {name: str(change["old"]) for name, change in changed.items()} == {"train.cv": run.data.params["train.cv"]}
    pictures = {f"reports/plots/{path.name}" for path in (clone.path / "reports/plots").iterdir()}
    artifacts = MlflowClient(clone.store).list_artifacts(run.info.run_id, "reports/plots")
    assert {artifact.path for artifact in artifacts} == pictures
    assert set(re.findall(r"\]\((plots/\w+\.png)\)", clone.read("reports/model_card.md"))) == {
        path.removeprefix("reports/") for path in pictures
    }
    assert clone.read("reports/report.html").count("data:image/png;base64,") == len(pictures)
