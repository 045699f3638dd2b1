"""Each page that a user looks at answers its question at a glance."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import ESTIMATORS
from tests.pipeline.clone import Clone

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WIDTH, HEIGHT = 1400, 900
# MLflow's assistant takes a third of the width until the user closes it once.
CLOSED_ASSISTANT = """
    localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
    localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
"""

# Records 1,000 requests as the endpoint does, with one column shifted, and their labels.
RECORD = """
import sys
from pathlib import Path
import numpy as np, pandas as pd
from src.data.models import read_model
from src.report.profile import read_reference

model, reference = read_model(Path("models/model.joblib")), read_reference(Path("reports/reference.json"))
rows = pd.read_parquet("data/raw/dataset.parquet").sample(1000, replace=True, random_state=1, ignore_index=True)
X = rows[model.feature_names_in_].assign(sepal_width=rows["sepal_width"] + float(sys.argv[1]))
records = pd.DataFrame({"id": [f"r{number}" for number in range(1000)], "model": "iris/1"})
records["time"] = pd.date_range("2026-11-01", periods=1000, freq="15min", tz="UTC").astype("datetime64[us, UTC]")
records["model_md5"], records["prediction"] = reference.model_md5, model.predict(X)
for label, values in zip(model.classes_, model.predict_proba(X).T):
    records[f"probability.{label}"] = values
records = pd.concat([records, X.add_prefix("input.")], axis="columns")
for day, part in records.groupby(records["time"].dt.date):
    folder = Path(f"data/requests/{day}")
    folder.mkdir(parents=True, exist_ok=True)
    part.to_parquet(folder / "1.parquet", index=False)
rows[["target"]].assign(id=records["id"]).to_csv("labels.csv", index=False)
"""

# Registers and promotes the models of commits, one after the other.
REGISTER = """
import sys
from pathlib import Path
from src.service.registry.promote import promote
from src.service.registry.register import register

for reference in sys.argv[1:]:
    register(Path.cwd(), reference)
    promote(Path.cwd())
"""


def look(
    browser: "Browser", url: str, picture: Path, texts: Sequence[str], *, width: int = WIDTH, height: int = HEIGHT,
    whole: bool = False, act: "Callable[[Page], object] | None" = None,
) -> None:  # fmt: skip
    """Open a page, check it, and take a picture of it.

    Args:
        url: Address of the page.
        picture: PNG file for the picture.
        texts: What must be visible without scrolling sideways.
        whole: Whether the picture shows the whole page, or what is visible without scrolling.
        act: What a user does first.
    """
    page = browser.new_page(viewport={"width": width, "height": height})
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.add_init_script(CLOSED_ASSISTANT)
    page.goto(url)
    if act:
        act(page)
    for text in texts:
        found = page.get_by_text(text).filter(visible=True).first
        found.wait_for(timeout=30_000)
        box = found.bounding_box()
        assert box, f"{text} is not visible"
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        if not whole:
            assert box["y"] + box["height"] <= height
    before, now = b"", page.screenshot(full_page=whole)
    while before != now:
        # Something still moves or loads.
        page.wait_for_timeout(500)
        before, now = now, page.screenshot(full_page=whole)
    picture.write_bytes(now)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    foreign = [
        address for address in requests if not address.startswith(("file:", "data:", "blob:", "http://127.0.0.1"))
    ]
    assert foreign == []
    page.close()


def test_documentation_begins_with_what_to_do(browser: "Browser", site: Path, pictures: Path) -> None:
    texts = ["Getting started", "make pipeline", "First run"]
    look(browser, (site / "index.html").as_uri(), pictures / "docs.png", texts)


def test_runs_table_shows_which_is_best(browser: "Browser", ui: str, pictures: Path) -> None:
    columns = ["pipeline.outcome", "test_f1_macro", "test_f1_macro_baseline", "best.estimator", "Dataset", "Duration"]
    look(browser, ui, pictures / "mlflow_runs.png", [*ESTIMATORS, *columns])


def test_parent_run_expands_to_its_stages(browser: "Browser", ui: str, clone: Clone, pictures: Path) -> None:
    # The first run, because stages without a change have no run.
    def expand(page: "Page") -> None:
        name = page.get_by_text(ESTIMATORS[0], exact=True)
        page.get_by_role("gridcell").filter(has=name).get_by_role("button").click()

    stages = ["data_load", "featurize", "data_split", "train", "evaluate"]
    # The view of `make ui` leaves stages out.
    url = f"{ui.partition('/#/')[0]}/#/experiments/{clone.parent().info.experiment_id}?workflowType=machine_learning"
    look(browser, url, pictures / "mlflow_nested.png", stages, act=expand)


def test_registry_shows_which_version_is_served_and_why(
    browser: "Browser", ui: str, clone: Clone, pictures: Path
) -> None:
    clone.run("python", "-c", REGISTER, "HEAD~2", "HEAD")
    url = f"{ui.partition('/#/')[0]}/#/models/iris"
    tags = ["git.commit", "dvc.md5", "data.md5", "gate.champion", "Gate: passed"]
    look(browser, url, pictures / "mlflow_registry.png", ["Version 2", "champion", "previous", *tags])
    texts = ["champion", "better than the baseline", "against the champion", "data checks"]
    look(browser, f"{url}/versions/2", pictures / "mlflow_version.png", texts)


def test_endpoint_answers_on_its_own_page(browser: "Browser", endpoint: str, pictures: Path, tmp_path: Path) -> None:
    def predict(page: "Page") -> None:
        page.get_by_role("button", name="Predict").click()

    texts = ["workspace", "petal_width", "number", "OpenAPI", "predictions", "probabilities"]
    look(browser, f"{endpoint}/docs", pictures / "endpoint.png", texts, width=1280, whole=True, act=predict)
    look(browser, f"{endpoint}/docs", tmp_path / "phone.png", texts, width=400, whole=True, act=predict)


def test_parent_run_shows_what_happened(browser: "Browser", ui: str, clone: Clone, pictures: Path) -> None:
    base, run = ui.partition("/#/")[0], clone.parent()
    url = f"{base}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}?workflowType=machine_learning"
    look(browser, url, pictures / "mlflow_parent.png", ["test_f1_macro is", "data_load", "unchanged", "iris"])


def test_compare_view_opens_on_the_cross_validated_headline(
    browser: "Browser", ui: str, clone: Clone, pictures: Path
) -> None:
    base, runs = ui.partition("/#/")[0], clone.parents()[:3]
    ids, experiments = json.dumps([run.info.run_id for run in runs]), json.dumps([runs[0].info.experiment_id])
    url = f"{base}/#/compare-runs?runs={ids}&experiments={experiments}&workflowType=machine_learning"
    look(browser, url, pictures / "mlflow_compare.png", ["cv_f1_macro_mean"])


def test_report_begins_with_the_score_beside_the_baseline(
    browser: "Browser", clone: Clone, pictures: Path, tmp_path: Path
) -> None:
    url = (clone.path / "reports/report.html").as_uri()
    texts = ["iris", "test_f1_macro", "95 % interval", "always predicting", "Better than the baseline", "Chosen:"]
    look(browser, url, pictures / "report.png", texts, width=1280)
    look(browser, url, tmp_path / "phone.png", texts, width=400)
    look(browser, url, tmp_path / "whole.png", ["Limits", "column by column"], width=1280, whole=True)


def test_report_shows_in_mlflow(browser: "Browser", ui: str, clone: Clone) -> None:
    base, run = ui.partition("/#/")[0], clone.parent()
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.goto(f"{base}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/reports/report.html")
    page.frame_locator("iframe").get_by_text("Better than the baseline").wait_for(timeout=30_000)
    page.close()


def test_page_of_the_data_shows_the_training_rows(browser: "Browser", clone: Clone, pictures: Path) -> None:
    url = (clone.path / "reports/data.html").as_uri()
    look(browser, url, pictures / "data.png", ["iris: training rows", "sepal_length", "Distributions"], width=1280)


def test_comparison_shows_both_versions_side_by_side(browser: "Browser", clone: Clone, pictures: Path) -> None:
    clone.run("python", "-m", "src.versions.compare", "HEAD~2", "HEAD")
    url = (clone.path / "reports/compare/index.html").as_uri()
    look(browser, url, pictures / "compare.png", ["train.estimator", "svm", "logreg"], width=1280)


@pytest.mark.parametrize(("shift", "code", "verdict"), [(0.0, 0, "No drift"), (0.3, 1, "Drift: 1 of 4 columns")])
def test_drift_page_begins_with_the_verdict(
    browser: "Browser", clone: Clone, pictures: Path, tmp_path: Path, shift: float, code: int, verdict: str
) -> None:
    clone.run("python", "-c", RECORD, str(shift))
    clone.run("python", "-m", "src.service.monitoring.monitor", "--labels", "labels.csv", code=code)
    url = (clone.path / "reports/drift.html").as_uri()
    texts = ["Drift of target", verdict, "What moved"]
    look(browser, url, (pictures if code else tmp_path) / "drift.png", texts, width=1280)
    look(browser, url, tmp_path / "phone.png", texts, width=400)
    look(browser, url, tmp_path / "whole.png", ["Distributions", "Labels: f1_macro", "PSI"], width=1280, whole=True)
