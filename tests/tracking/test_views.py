import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from src.config.train import SCORINGS, Train
from src.tracking.store import Store
from src.tracking.views import VIEW_TAG, share_runs

SETTINGS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["train"]


def settings(scoring: str = "f1_macro") -> Train:
    return Train.model_validate(SETTINGS | {"scoring": scoring})


def view_of(store: Store, key: str = "pipeline") -> dict[str, Any]:
    value: dict[str, Any] = json.loads(store.client.get_experiment(store.experiment_id).tags[VIEW_TAG + key])
    return value


def add_run(store: Store, kind: str, metrics: dict[str, float]) -> str:
    run_id: str = store.client.create_run(store.experiment_id, tags={"pipeline.kind": kind}).info.run_id
    for name, value in metrics.items():
        store.client.log_metric(run_id, name, value)
    return run_id


def found_by(store: Store, view: dict[str, Any]) -> list[str]:
    """Return the runs that MLflow shows in a view, in their order."""
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    runs = store.client.search_runs([store.experiment_id], view["searchFilter"], order_by=[order])
    return [run.info.run_id for run in runs]


@pytest.mark.parametrize(
    ("scoring", "metric", "best"), [("f1_macro", "test_f1_macro", 0.9), ("neg_log_loss", "test_log_loss", 0.1)]
)
def test_view_shows_parents_by_the_headline_metric_best_first_and_failed_last(
    store: Store, scoring: str, metric: str, best: float
) -> None:
    failed, *runs = [add_run(store, "parent", {metric: value} if value else {}) for value in (0, 0.1, 0.9, 0.5)]
    add_run(store, "stage", {metric: 0.95})
    page = share_runs(store, settings(scoring))
    assert page == f"#/experiments/{store.experiment_id}/runs?viewStateShareKey=pipeline&workflowType=machine_learning"
    view = view_of(store)
    ranked = [runs[1], runs[2], runs[0]] if best == 0.9 else [runs[0], runs[2], runs[1]]
    assert found_by(store, view) == [*ranked, failed]
    names = [column.partition("`")[2].rstrip("`") or column for column in view["columnOrder"]]
    expected = ["pipeline.outcome", metric, f"{metric}_baseline", "best.estimator", "Dataset", "duration"]
    assert names == ["Run Name", "runDateAndNestInfo", *expected]
    # What is left of 1400 pixels beside the menu and the checkboxes.
    assert sum(view["columnWidths"].values()) <= 1073
    assert view["compareRunCharts"][0]["metricKey"] == metric
    # Of versions of MLflow that list views by name.
    assert json.loads(view.pop("state")).items() <= view.items()


def test_view_is_written_only_if_it_changed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    page = share_runs(store, settings())
    with monkeypatch.context() as patch:
        patch.setattr(type(store.client), "set_experiment_tag", pytest.fail)
        assert share_runs(store, settings()) == page
    share_runs(store, settings("accuracy"))
    assert view_of(store)["orderByKey"] == "metrics.`test_accuracy`"


@pytest.mark.parametrize("scoring", sorted({name for names in SCORINGS.values() for name in names}))
def test_view_fits_a_tag_of_an_experiment(store: Store, scoring: str) -> None:
    share_runs(store, settings(scoring))
    assert len(store.client.get_experiment(store.experiment_id).tags[f"{VIEW_TAG}pipeline"]) < 5000


@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "ENDPOINT_NOT_FOUND"])
def test_default_view_is_opened_with_a_warning_if_a_server_refuses_this_one(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    def refuse(*_: object) -> None:
        raise MlflowException("you may only read", ErrorCode.Value(code))

    monkeypatch.setattr(type(store.client), "set_experiment_tag", refuse)
    with caplog.at_level(logging.WARNING, logger="src"):
        page = share_runs(replace(store, uri="http://ann:s3cr3t@server.example"), settings())
    assert page == f"#/experiments/{store.experiment_id}/runs?workflowType=machine_learning"
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "the link opens MLflow's default view of the runs: MLflow store http://***@server"
    )
    assert "you may only read" in record.getMessage()
