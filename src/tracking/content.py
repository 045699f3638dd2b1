"""Tables and models in MLflow: described by their metadata, found again by their MD5."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from src.tracking import names
from src.tracking.cache import find_content
from src.tracking.journal import now
from src.tracking.session import Place
from src.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, LoggedModel


def log_datasets(store: Store, place: Place, run_id: str, tables: Mapping[str, str], context: str) -> None:
    """Log tables as MLflow datasets, without reading their rows.

    Args:
        store: The store.
        place: Where the stage ran.
        run_id: The nested run.
        tables: MD5 of each table by path.
        context: What they are to the run, shown beside their name.
    """
    inputs = []
    for path, md5 in tables.items():
        if content := find_content(place.main_root, place.work_root, path, md5):
            inputs.append(_describe_table(content, path, md5, context))
    if inputs:
        store.client.log_inputs(run_id, datasets=inputs)


def attach_metrics(store: Store, run_id: str, model_md5: str, metrics: Mapping[str, float]) -> None:
    """Attach the metrics of a run to the logged model that it scored."""
    from mlflow.entities import LoggedModelInput, Metric

    model = find_logged_model(store, model_md5)
    if model is None:
        return
    store.client.log_inputs(run_id, models=[LoggedModelInput(model.model_id)])
    values = [Metric(key, value, now(), 0, model_id=model.model_id, run_id=run_id) for key, value in metrics.items()]
    store.client.log_batch(run_id, metrics=values)


def find_logged_model(store: Store, md5: str) -> "LoggedModel | None":
    """Find the newest logged model with the content of a model file."""
    found = store.client.search_logged_models(
        [store.experiment_id],
        filter_string=f"tags.`dvc.md5` = '{md5}'",
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],
        max_results=1,
    )
    return found[0] if found else None


def _describe_table(content: Path, path: str, md5: str, context: str) -> "DatasetInput":
    import pyarrow.parquet as pq
    from mlflow.entities import Dataset, DatasetInput, InputTag

    metadata = pq.read_metadata(content)
    columns = [
        {"name": column.name, "type": _mlflow_type(str(column.type)), "required": True}
        for column in metadata.schema.to_arrow_schema()
    ]
    profile = {"num_rows": metadata.num_rows, "num_elements": metadata.num_rows * len(columns)}
    dataset = Dataset(
        name=path,
        digest=md5,
        source_type="local",
        source=json.dumps({"uri": path}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context), InputTag(names.MD5 + path, md5)])


def _mlflow_type(arrow_type: str) -> str:
    """Translate a column type of Arrow into MLflow's word for it."""
    if arrow_type.startswith(("timestamp", "date")):
        return "datetime"
    words = {
        "double": "double",
        "float": "float",
        "bool": "boolean",
        "int64": "long",
        "uint32": "long",
        "binary": "binary",
    }
    if arrow_type in words:
        return words[arrow_type]
    return "integer" if "int" in arrow_type else "string"
