import json
import re

import pytest
import yaml

from tests.pipeline.clone import Clone

OF_CLASSES = {"calibration", "confusion_matrix", "permutation_importance", "precision_recall", "roc", "search"}
OF_NUMBERS = {"permutation_importance", "predicted_against_true", "residuals", "search"}


def images(clone: Clone, *command: str) -> list[str]:
    """Create a page of plots, and return its images without `reports_plots_` and `.png`."""
    result = clone.run("dvc", "plots", *command, "--out", "page")
    assert "failed" not in result.stderr
    page = clone.read("page/index.html")
    found = re.findall(r'<img src="static/([^"]+)\.png"', page)
    assert all((clone.path / "page/static" / f"{name}.png").stat().st_size for name in found)
    return [name.replace("reports_plots_", "") for name in found]


@pytest.mark.slow
def test_one_page_shows_all_plots_of_either_task_and_of_two_revisions(clone: Clone) -> None:
    assert sorted(images(clone, "show")) == sorted(f"workspace_{name}" for name in OF_CLASSES)
    params = yaml.safe_load(clone.read("params.yaml"))
    params["base"]["task"] = "regression"
    params["data_load"]["source"]["name"] = "diabetes"
    params["featurize"]["features"] = {}
    params["data_split"]["split"] = {"kind": "random"}
    params["train"] |= {"estimator": "ridge", "scoring": "r2", "param_grid": {"ridge": {"alpha": [0.1, 1.0, 10.0]}}}
    (clone.path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    # A change of settings is enough, once the schema of the old table is deleted.
    (clone.path / "data/processed/schema.json").unlink()
    clone.launch()
    assert sorted(images(clone, "show")) == sorted(f"workspace_{name}" for name in OF_NUMBERS)
    both = {f"workspace_{name}" for name in OF_NUMBERS} | {f"HEAD_{name}" for name in OF_CLASSES}
    assert set(images(clone, "diff", "HEAD")) == both
    assert set(json.loads(clone.read("reports/metrics.json"))) >= {"test_r2", "test_r2_ci95_low", "test_r2_baseline"}
    # They are also artifacts of the run of the stage and of the parent run.
    parent = clone.parent()
    for run in (parent, clone.nested(parent)["evaluate"]):
        folder = clone.path / "mlruns" / run.info.run_id / "artifacts" / "reports"
        assert {path.stem for path in (folder / "plots").iterdir()} == OF_NUMBERS
        card = (folder / "model_card.md").read_text(encoding="utf-8")
        assert card == clone.read("reports/model_card.md")
