import json

import pandas as pd
import pytest

from src.tracking.cache import md5_of
from src.tracking.content import attach_metrics, log_datasets
from src.tracking.session import Place
from src.tracking.store import Store


@pytest.fixture
def run_id(store: Store) -> str:
    return str(store.client.create_run(store.experiment_id).info.run_id)


def write_table(place: Place, path: str, table: pd.DataFrame) -> str:
    (place.work_root / path).parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(place.work_root / path, index=False)
    md5 = md5_of(place.work_root / path)
    assert md5 is not None
    return md5


def test_table_is_described_by_its_name_hash_size_and_columns(store: Store, place: Place, run_id: str) -> None:
    table = pd.DataFrame(
        {
            "double": [0.5, 1.5],
            "float": pd.array([0.5, 1.5], dtype="float32"),
            "long": [1, 2],
            "integer": pd.array([1, 2], dtype="int8"),
            "boolean": [True, False],
            "string": ["a", "b"],
            "datetime": pd.to_datetime(["2026-01-01", "2026-01-02"]),
            "binary": [b"a", b"b"],
        }
    )
    md5 = write_table(place, "data/t.parquet", table)
    log_datasets(store, place, run_id, {"data/t.parquet": md5}, context="train")
    (logged,) = store.client.get_run(run_id).inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("data/t.parquet", md5)
    assert json.loads(logged.dataset.profile) == {"num_rows": 2, "num_elements": 16}
    columns = json.loads(logged.dataset.schema)["mlflow_colspec"]
    assert {column["name"]: column["type"] for column in columns} == {name: name for name in table.columns}
    assert {tag.key: tag.value for tag in logged.tags} == {
        "mlflow.data.context": "train",
        "dvc.md5.data/t.parquet": md5,
    }


def test_description_of_columns_is_one_that_mlflow_reads(store: Store, place: Place, run_id: str) -> None:
    from mlflow.types import Schema

    md5 = write_table(place, "t.parquet", pd.DataFrame({"a": [1.0], "b": ["x"]}))
    log_datasets(store, place, run_id, {"t.parquet": md5}, context="train")
    (logged,) = store.client.get_run(run_id).inputs.dataset_inputs
    schema = Schema.from_json(json.dumps(json.loads(logged.dataset.schema)["mlflow_colspec"]))
    assert schema.input_names() == ["a", "b"]


def test_table_whose_content_is_gone_is_left_out(store: Store, place: Place, run_id: str) -> None:
    log_datasets(store, place, run_id, {"gone.parquet": "0" * 32}, context="train")
    assert store.client.get_run(run_id).inputs.dataset_inputs == []


def test_metrics_of_a_model_that_was_never_logged_are_attached_to_nothing(store: Store, run_id: str) -> None:
    attach_metrics(store, run_id, "0" * 32, {"f1": 0.5})
    assert store.client.get_run(run_id).inputs.model_inputs == []
