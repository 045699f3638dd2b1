"""Tables and models in MLflow: described by their metadata, found again by their MD5."""

import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import TrackingError
from src.tracking import names
from src.tracking.cache import find_content
from src.tracking.journal import now
from src.tracking.session import Place
from src.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, LoggedModel

# What a model may consist of. Types outside of these modules are refused rather
# than trusted because they were found.
TRUSTED_MODULES = ("numpy.", "scipy.", "sklearn.", "src.data.features.")
# What a model needs to predict, pinned as in requirements.txt.
MODEL_PACKAGES = ("cloudpickle", "mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")
# Code that the model calls: its row-wise features.
MODEL_CODE = (
    "src/__init__.py",
    "src/errors.py",
    *(f"src/data/{name}.py" for name in ("__init__", "conform", "features", "kinds")),
)
N_EXAMPLE_ROWS = 5


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


def log_model(place: Place, path: str, md5: str, tables: Mapping[str, str]) -> None:
    """Log the model to the active run so that it loads without this repository.

    Args:
        place: Where the stage ran.
        path: The joblib file, relative to the root.
        md5: Its hash; only a file with exactly this content is unpickled.
        tables: MD5 by path of the tables it was fitted on; the first rows become its example.

    Raises:
        TrackingError: The model holds types that are not known to be harmless.
    """
    content = find_content(place.main_root, place.work_root, path, md5)
    if content is None:
        return
    import joblib
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature

    # The pipeline's own output, checked by its hash; nothing from elsewhere is unpickled.
    model = joblib.load(content)
    root = place.work_root if (place.work_root / "src").is_dir() else place.main_root
    examples = [find_content(place.main_root, place.work_root, *table) for table in tables.items()]
    example = next((pd.read_parquet(table).head(N_EXAMPLE_ROWS) for table in examples if table), None)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as code:
        for name in MODEL_CODE:
            target = Path(code) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target)
        # Integer columns cannot hold missing values; those of this table do not.
        warnings.filterwarnings("ignore", message="(?s).*integer column", category=UserWarning)
        if example is not None:
            example = example[list(model.feature_names_in_)]
            prediction = pd.Series(model.predict(example), name="prediction").infer_objects()
        mlflow.sklearn.log_model(
            model,
            name="model",
            signature=None if example is None else infer_signature(example, prediction),
            input_example=example,
            pip_requirements=pinned_requirements(root / "requirements.txt"),
            code_paths=[str(Path(code) / "src")],
            serialization_format="skops",
            skops_trusted_types=trusted_types(model),
            tags={"dvc.md5": md5, "dvc.path": path},
        )


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


def trusted_types(model: Any) -> list[str]:
    """List the types of a model that skops asks about, if all are harmless.

    Raises:
        TrackingError: Names the others.
    """
    import skops.io

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skops"
        skops.io.dump(model, path)
        types: list[str] = skops.io.get_untrusted_types(file=path)
    strange = [name for name in types if not name.startswith(TRUSTED_MODULES)]
    if strange:
        raise TrackingError(
            f"the model holds {', '.join(strange)}, which is not of {', '.join(TRUSTED_MODULES)}: add its module to "
            "TRUSTED_MODULES in src/tracking/content.py if you know it"
        )
    return types


def pinned_requirements(lock: Path) -> list[str]:
    """Take the lines of a lock that name what a model needs."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if re.split(r"[=<>!~ ;\[]", line)[0] in MODEL_PACKAGES]


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
