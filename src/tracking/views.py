"""The shared view of MLflow's runs page: what the link to it shows first.

MLflow's UI reads a view from a tag of the experiment that the link names.
"""

import json
import logging
from typing import Any

from src.config.train import Train, is_loss, metric_of
from src.tracking import names
from src.tracking.runs import ui_page
from src.tracking.store import Store, explain

logger = logging.getLogger(__name__)

VIEW_TAG = "mlflow.sharedViewState."


def share_runs(store: Store, train: Train) -> str:
    """Share a view of the parent runs, best first, and return its address relative to the UI.

    Its columns fit 1400 pixels: outcome, headline metric, baseline, estimator, dataset and duration.
    """
    page, key = f"experiments/{store.experiment_id}/runs", "pipeline"
    view = _describe(train)
    # MLflow lists a view with a name in the menu Views. Versions without that menu read the other keys.
    text = json.dumps(view | {"name": "Pipeline", "createdAt": 0, "updatedAt": 0, "state": json.dumps(view)})
    try:
        if store.client.get_experiment(store.experiment_id).tags.get(VIEW_TAG + key) != text:
            store.client.set_experiment_tag(store.experiment_id, VIEW_TAG + key, text)
    # A server may refuse it, for example from read-only users. MLflow's errors share no base class.
    except Exception as error:
        logger.warning("the link opens MLflow's default view of the runs: %s", explain(error, store.uri))
        return ui_page(page)
    return ui_page(page, viewStateShareKey=key)


def _describe(train: Train) -> dict[str, Any]:
    """Describe a view in the format of MLflow's UI (seen in 3.17)."""
    metric = f"test_{metric_of(train.scoring)}"
    headline = f"metrics.`{metric}`"
    widths = {
        "attributes.`Run Name`": 175,
        "runDateAndNestInfo": 135,  # Created
        f"tags.`{names.OUTCOME}`": 160,
        headline: 135,
        f"metrics.`{metric}_baseline`": 160,
        "tags.`best.estimator`": 130,
        "attributes.`Dataset`": 95,
        "duration": 70,
    }
    return {
        "searchFilter": f"tags.{names.KIND} = 'parent'",
        "orderByKey": headline,
        "orderByAsc": is_loss(train.scoring),
        "selectedColumns": [column for column in widths if "`" in column],
        "columnOrder": list(widths),
        "columnWidths": widths,
        "isAccordionReordered": True,  # otherwise MLflow sorts the sections by name
        "compareRunSections": [
            _section("Headline") | {"columns": 1, "cardHeight": 300},
            _section("Model metrics"),
            _section("System metrics"),
        ],
        "compareRunCharts": [
            _chart("BAR", metricKey=metric),
            _chart(
                "DIFFERENCE", chartName="Runs difference view", compareGroups=["Parameters"], showDifferencesOnly=True,
                showChangeFromBaseline=False, baselineColumnUuid="",
            ),
        ],
    }  # fmt: skip


def _section(name: str) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": True, "isReordered": False, "deleted": False}


def _chart(kind: str, **options: object) -> dict[str, Any]:
    """Describe a chart of the section `Headline`."""
    shared = {"metricSectionId": "Headline", "runsCountToCompare": 10, "deleted": False, "isGenerated": False}
    return {"uuid": kind, "type": kind, **shared, **options}
