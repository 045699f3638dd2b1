"""Shared views of MLflow's runs page: what a link to it shows first.

MLflow's UI reads a view from a tag of the experiment that the link names.
"""

import json
import logging
from collections.abc import Sequence
from typing import Any

from src.config.train import Train, is_loss, metric_of
from src.tracking import names
from src.tracking.runs import ui_page
from src.tracking.store import Store, explain

logger = logging.getLogger(__name__)

VIEW_TAG = "mlflow.sharedViewState."
RUNS_VIEW = "pipeline"


def share_runs(store: Store, train: Train) -> str:
    """Share a view of the parent runs, best first, and return its address relative to the UI.

    Its columns fit 1400 pixels: outcome, headline metric, baseline, estimator, dataset and duration.
    """
    view = _describe(train, f"tags.{names.KIND} = 'parent'")
    # Under a name, MLflow lists it in the menu Views. Versions without that menu read the other keys.
    named = view | {"name": "Pipeline", "createdAt": 0, "updatedAt": 0, "state": json.dumps(view)}
    return _share(store, RUNS_VIEW, named)


def share_comparison(store: Store, train: Train, run_ids: Sequence[str]) -> str:
    """Share a view of some runs as charts, the headline metric first, and return its address relative to the UI.

    MLflow's own page for comparisons opens on the alphabetically first metric, whatever the link says.
    """
    chosen = ", ".join(f"'{run_id}'" for run_id in run_ids)
    view = _describe(train, f"attributes.run_id IN ({chosen})")
    key = "-".join(["compare", *(run_id[:8] for run_id in run_ids)])
    return _share(store, key, view, compareRunsMode="CHART")


def _share(store: Store, key: str, view: dict[str, Any], **query: str) -> str:
    page = f"experiments/{store.experiment_id}/runs"
    text = json.dumps(view)
    try:
        if store.client.get_experiment(store.experiment_id).tags.get(VIEW_TAG + key) != text:
            store.client.set_experiment_tag(store.experiment_id, VIEW_TAG + key, text)
    # A server may refuse it, for example to users who may only read. MLflow's errors share no base class.
    except Exception as error:
        logger.warning("the link opens MLflow's own view of the runs: %s", explain(error, store.uri))
        return ui_page(page)
    return ui_page(page, viewStateShareKey=key, **query)


def _describe(train: Train, search_filter: str) -> dict[str, Any]:
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
        "searchFilter": search_filter,
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
