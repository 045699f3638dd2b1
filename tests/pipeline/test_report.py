import json
import re
import sys
from typing import Any

import pytest
import yaml

from tests.pipeline.clone import Clone

OF_CLASSES = {"calibration", "confusion_matrix", "permutation_importance", "precision_recall", "roc"}
OF_NUMBERS = {"permutation_importance", "predicted_against_true"}
FIGURES_OF_NUMBERS = {"permutation_importance", "predicted_against_true", "residuals", "search"}


def plots(clone: Clone, *command: str) -> dict[str, Any]:
    """Create a page of plots, and return the specification of each plot that is drawn, by the name of its file."""
    result = clone.run("dvc", "plots", *command, "--out", "page")
    assert result.stderr == ""
    page = clone.read("page/index.html")
    assert "<img" not in page
    names = re.findall(r'<div id ?= ?"reports_curves_(\w+)_json">', page)
    decoder = json.JSONDecoder()
    specs = [decoder.raw_decode(page, match.end())[0] for match in re.finditer(r"var spec = ", page)]
    return {name: spec for name, spec in zip(names, specs, strict=True) if spec}


def revisions(spec: dict[str, Any]) -> set[str]:
    return {row["rev"] for row in spec["data"]["values"]}


@pytest.mark.slow
def test_plots_overlay_two_versions_for_either_task(clone: Clone) -> None:
    shown = plots(clone, "show")
    assert set(shown) == OF_CLASSES
    assert shown["roc"]["title"]["text"] == "ROC curve"

    # Another version of the same table.
    clone.set_param("train.param_grid", {"logreg": {"C": [0.001], "max_iter": [1000]}})
    clone.launch()
    clone.commit()
    both = plots(clone, "diff", "HEAD~1")
    assert set(both) == OF_CLASSES
    assert {name: revisions(spec) for name, spec in both.items()} == {
        key: {"HEAD~1", "workspace"} for key in OF_CLASSES
    }

    # A regression on another table: a change of settings is enough, once the schema of the old table is deleted.
    params = yaml.safe_load(clone.read("params.yaml"))
    params["base"]["task"] = "regression"
    params["data_load"]["source"]["name"] = "diabetes"
    params["featurize"]["features"] = {}
    params["data_split"]["split"] = {"kind": "random"}
    params["train"] |= {"estimator": "ridge", "scoring": "r2", "param_grid": {"ridge": {"alpha": [0.1, 1.0, 10.0]}}}
    (clone.path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (clone.path / "data/processed/schema.json").unlink()
    clone.launch()
    assert set(plots(clone, "show")) == OF_NUMBERS
    assert {name: revisions(spec) for name, spec in plots(clone, "diff", "HEAD").items()} == {
        **{key: {"HEAD"} for key in OF_CLASSES},
        **{key: {"workspace"} for key in OF_NUMBERS},
        "permutation_importance": {"HEAD", "workspace"},
    }
    assert set(json.loads(clone.read("reports/metrics.json"))) >= {"test_r2", "test_r2_ci95_low", "test_r2_baseline"}

    # Figures and pages are also artifacts of the run of the stage and of the parent run.
    parent = clone.parent()
    nested = clone.nested(parent)
    for run, names in (
        (parent, {"data.html", "model_card.md", "report.html"}),
        (nested["evaluate"], {"model_card.md", "report.html"}),
        (nested["data_split"], {"data.html"}),
    ):
        folder = clone.path / "mlruns" / run.info.run_id / "artifacts" / "reports"
        assert {path.name for path in folder.iterdir() if path.is_file()} == names
        assert all((folder / name).read_text(encoding="utf-8") == clone.read(f"reports/{name}") for name in names)
        if run is not nested["data_split"]:
            assert {path.stem for path in (folder / "plots").iterdir()} == FIGURES_OF_NUMBERS


def test_report_is_opened_where_there_is_one(clone: Clone) -> None:
    # A browser that writes down what it is asked to open.
    browser = clone.path / "browser"
    browser.write_text('#!/bin/sh\necho "$1" >opened\n')
    browser.chmod(0o755)
    command = ("python", "-m", "src.utils.open_report")
    result = clone.run(*command, BROWSER=f"{browser} %s")
    assert (result.stdout, result.stderr) == ("reports/report.html\n", "")
    assert clone.read("opened") == f"file://{clone.path}/reports/report.html\n"
    # The interpreter by its path, since no program is in PATH.
    without = clone.run(sys.executable, *command[1:], BROWSER="", DISPLAY="", WAYLAND_DISPLAY="", PATH="/nonexistent")
    assert without.stdout == "reports/report.html\n"
    (clone.path / "reports/report.html").unlink()
    result = clone.run(*command, code=2)
    missing, _, advice = result.stderr.partition("; ")
    assert missing == "MissingInputError: reports/report.html is missing"
    assert advice == "run `make pipeline`, or `dvc pull` if it ran elsewhere.\n"
