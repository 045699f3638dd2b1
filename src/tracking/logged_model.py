"""Log a model to MLflow with its code, requirements and signature, so that it loads without this repository."""

import importlib.metadata
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import TrackingError
from src.tracking.session import Place
from src.tracking.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

# Types from these modules are trusted; any other type is refused by name.
TRUSTED_MODULES = ("numpy.", "scipy.", "sklearn.", "src.featurize.")
# Containers; skops also checks their content.
TRUSTED_TYPES = ("collections.OrderedDict", "collections.defaultdict", "functools.partial")
# What a model needs to predict; pinned as in requirements.txt.
MODEL_PACKAGES = ("cloudpickle", "mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")
# Folders with the code that computes features.
CODE = ("config", "data", "featurize")
N_EXAMPLE_ROWS = 5
MAX_NAME = 100
# Servers before MLflow 3 have none.
LOGGED_MODELS = "logged models"
# Rows from which the type of a column is inferred.
N_TYPED_ROWS = 10_000


def log_model(
    place: Place,
    content: Path,
    path: str,
    table: Path | None,
    estimators: Collection[str] = (),
    name: str = "model",
) -> str:
    """Log a model to the active run, and return the id of the logged model.

    Args:
        place: Where the stage ran.
        content: A joblib file that the pipeline wrote; it is unpickled.
        path: Its path in the repository, which becomes a tag.
        table: The training rows. The first ones become the input example; None for no example.
        estimators: Names and dotted paths of the estimators in the settings. Their packages are trusted.
        name: Name of the logged model, see `name_model`.

    Raises:
        TrackingError: The model contains types that are not trusted.
    """
    import joblib
    import mlflow

    model = joblib.load(content)
    packages = packages_of(estimators)
    types = trusted_types(model, packages)
    root = place.work_root if (place.work_root / "src").is_dir() else place.main_root
    example = _read_rows(table, list(model.feature_names_in_)) if table else None
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        code = Path(folder, "src")
        for part in CODE:
            shutil.copytree(root / "src" / part, code / part, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("__init__.py", "errors.py", "atomic.py", "text.py"):
            shutil.copyfile(root / "src" / file, code / file)
        # scikit-learn warns because LightGBM gets arrays; the steps before it have checked the names.
        warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)
        logged = mlflow.sklearn.log_model(
            model,
            name=name,
            signature=None if example is None else describe_columns(model, example),
            input_example=None if example is None else example.head(N_EXAMPLE_ROWS),
            pip_requirements=[*pinned_requirements(root / "requirements.txt"), *_requirements_of(types, packages)],
            code_paths=[str(code)],
            serialization_format="skops",
            skops_trusted_types=types,
            tags={"dvc.path": path},
        )
    return str(logged.model_id)


def name_model(table: str, estimator: str) -> str:
    """Name a logged model, with characters that MLflow allows there.

    >>> name_model("iris", "logreg"), name_model("sales: 2026/27", "xgboost.XGBClassifier")
    ('iris-logreg', 'sales_ 2026_27-XGBClassifier')
    """
    words = [name[:MAX_NAME] for name in (table, estimator.rpartition(".")[2]) if name]
    return "".join(letter if letter.isalnum() or letter in "_- " else "_" for letter in "-".join(words)) or "model"


def find_logged_model(store: Store, md5: str) -> "LoggedModel | None":
    """Find the newest logged model that was made from a model file with this MD5."""
    with store.optional(LOGGED_MODELS, quiet=True):
        found = store.client.search_logged_models(
            [store.experiment_id],
            filter_string=f"tags.`dvc.md5` = '{md5}'",
            order_by=[{"field_name": "creation_timestamp", "ascending": False}],
            max_results=1,
        )
        return found[0] if found else None
    return None


def read_estimators(setting: str) -> list[str]:
    """Return the estimators of the setting `train.estimator` as MLflow records it: a list is JSON.

    >>> read_estimators("logreg"), read_estimators('["knn", "svm"]')
    (['logreg'], ['knn', 'svm'])
    """
    return [str(name) for name in json.loads(setting)] if setting.startswith("[") else [setting]


def packages_of(estimators: Collection[str]) -> set[str]:
    """Return the packages of estimators: `xgboost` for `xgboost.XGBClassifier`.

    Code of a class in params.yaml runs at every training, so trusting its package adds no risk.
    """
    return {name.partition(".")[0] for name in estimators if "." in name} | ({"lightgbm"} & set(estimators))


def trusted_types(model: Any, named: Collection[str] = ()) -> list[str]:
    """List the types of a model that skops does not trust by itself.

    Args:
        named: Packages that are trusted in addition to `TRUSTED_MODULES`.

    Raises:
        TrackingError: The model contains types from other modules.
    """
    import skops.io

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skops"
        skops.io.dump(model, path)
        return trusted_types_in(path, named)


def trusted_types_in(path: Path, named: Collection[str] = ()) -> list[str]:
    """List the types in a skops file that skops does not trust by itself, as `trusted_types` does."""
    import skops.io

    types: list[str] = skops.io.get_untrusted_types(file=path)
    known = (*TRUSTED_MODULES, *(f"{package}." for package in sorted(named)))
    strange = [name for name in types if not name.startswith(known) and name not in TRUSTED_TYPES]
    if strange:
        raise TrackingError(
            f"the model contains {', '.join(strange)}, which is not from {', '.join(known)}: add its module to "
            "TRUSTED_MODULES in src/tracking/logged_model.py if you trust it"
        )
    return types


def describe_columns(model: Any, rows: "pd.DataFrame") -> "ModelSignature":
    """Describe the raw columns and the prediction as an MLflow signature.

    All columns are optional, since any value may be missing. MLflow refuses integers for `double`
    and text for dates, so whole numbers, booleans, dates and numbers as text have the type `Any`:
    the model converts and checks them.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType
    from pandas import to_numeric
    from pandas.api.types import is_float_dtype, is_string_dtype

    def type_of(column: "pd.Series") -> Any:
        values = column.dropna()
        if is_float_dtype(column) and (values % 1 != 0).any():
            return DataType.double
        if is_string_dtype(column) and to_numeric(values.astype(object), errors="coerce").isna().any():
            return DataType.string
        return AnyType()  # type: ignore[no-untyped-call]  # MLflow ships no types

    kind = model.predict(rows.head(1)).dtype.kind
    predicted = {"f": DataType.double, "i": DataType.long, "u": DataType.long, "b": DataType.boolean}
    return ModelSignature(
        Schema([ColSpec(type_of(rows[name]), name=name, required=False) for name in rows.columns]),
        Schema([ColSpec(predicted.get(kind, DataType.string), name="prediction")]),
    )


def pinned_requirements(lock: Path) -> list[str]:
    """Return the lines of a requirements file that pin what a model needs."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if re.split(r"[=<>!~ ;\[]", line)[0] in MODEL_PACKAGES]


def _requirements_of(types: Collection[str], named: Collection[str]) -> list[str]:
    """Pin the packages of the user's estimators to the installed versions."""
    used = {name.partition(".")[0] for name in types} & set(named)
    if not used:
        # Listing the installed packages takes half a second.
        return []
    known = importlib.metadata.packages_distributions()
    found = {distribution for package in used for distribution in known.get(package, [])} - set(MODEL_PACKAGES)
    return [f"{name}=={importlib.metadata.version(name)}" for name in sorted(found)]


def _read_rows(table: Path, columns: list[str]) -> "pd.DataFrame":
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(table) as file:
        rows: pd.DataFrame = pa.Table.from_batches([next(file.iter_batches(N_TYPED_ROWS, columns=columns))]).to_pandas()
    return rows[columns]
