"""A model in MLflow that loads where this repository is not: its types, its code, its requirements, its columns."""

import ast
import importlib.metadata
import re
import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import TrackingError
from src.tracking.cache import find_content
from src.tracking.session import Place

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

# What a model may consist of. Types outside of these modules are refused rather
# than trusted because they were found.
TRUSTED_MODULES = ("numpy.", "scipy.", "sklearn.", "src.featurize.features.")
# Containers, harmless by themselves: skops asks about what they contain too.
TRUSTED_TYPES = ("collections.OrderedDict", "collections.defaultdict", "functools.partial")
# What a model needs to predict, pinned as in requirements.txt.
MODEL_PACKAGES = ("cloudpickle", "mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")
# The module of its row-wise features; what that imports comes along.
FEATURES = "src.featurize.features"
N_EXAMPLE_ROWS = 5
# Rows that are looked at to tell what a column holds.
N_TYPED_ROWS = 10_000


def log_model(place: Place, path: str, md5: str, tables: Mapping[str, str], named: Collection[str] = ()) -> None:
    """Log the model to the active run so that it loads without this repository.

    Args:
        place: Where the stage ran.
        path: The joblib file, relative to the root.
        md5: Its hash; only a file with exactly this content is unpickled.
        tables: MD5 by path of the tables it was fitted on; the first rows become its example.
        named: Packages whose classes the user named as estimators.

    Raises:
        TrackingError: The model holds types that are not known to be harmless.
    """
    content = find_content(place.main_root, place.work_root, path, md5)
    if content is None:
        return
    import joblib
    import mlflow

    # The pipeline's own output, checked by its hash; nothing from elsewhere is unpickled.
    model = joblib.load(content)
    types = trusted_types(model, named)
    root = place.work_root if (place.work_root / "src").is_dir() else place.main_root
    found = [find_content(place.main_root, place.work_root, *table) for table in tables.items()]
    table = next((table for table in found if table), None)
    example = _read_rows(table, list(model.feature_names_in_)) if table else None
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as code:
        for name in model_code(root):
            target = Path(code) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target)
        # Scikit-learn's, of LightGBM's arrays without names: the pipeline before it knows them.
        warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)
        mlflow.sklearn.log_model(
            model,
            name="model",
            signature=None if example is None else describe_columns(model, example),
            input_example=None if example is None else example.head(N_EXAMPLE_ROWS),
            pip_requirements=[*pinned_requirements(root / "requirements.txt"), *_requirements_of(types, named)],
            code_paths=[str(Path(code) / "src")],
            serialization_format="skops",
            skops_trusted_types=types,
            tags={"dvc.md5": md5, "dvc.path": path},
        )


def packages_of(estimators: Collection[str]) -> set[str]:
    """Name the packages of estimators that a user chose: of `xgboost.XGBClassifier`, `xgboost`.

    Whoever writes the path of a class into params.yaml lets it run at every training;
    to load its own state adds nothing to that. What a model happens to hold beside
    it is still refused.
    """
    return {name.partition(".")[0] for name in estimators if "." in name} | ({"lightgbm"} & set(estimators))


def trusted_types(model: Any, named: Collection[str] = ()) -> list[str]:
    """List the types of a model that skops asks about, if all are harmless.

    Args:
        model: The model.
        named: Packages that are trusted beside the known ones.

    Raises:
        TrackingError: Names the others.
    """
    import skops.io

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skops"
        skops.io.dump(model, path)
        types: list[str] = skops.io.get_untrusted_types(file=path)
    known = (*TRUSTED_MODULES, *(f"{package}." for package in sorted(named)))
    strange = [name for name in types if not name.startswith(known) and name not in TRUSTED_TYPES]
    if strange:
        raise TrackingError(
            f"the model holds {', '.join(strange)}, which is not of {', '.join(known)}: add its module to "
            "TRUSTED_MODULES in src/tracking/logged_model.py if you know it"
        )
    return types


def describe_columns(model: Any, rows: "pd.DataFrame") -> "ModelSignature":
    """Describe the raw columns and the prediction, for MLflow's pages and its checks.

    A value of any column may be missing, so all are optional. A type stands where rows can
    come as no other: MLflow refuses integers for `double`, and text for dates. Whole
    numbers, truths, dates and numbers as text are `Any`: the model itself converts and
    checks them.
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


def model_code(root: Path) -> list[str]:
    """List the files that the model's row-wise features consist of."""
    files, waiting = set(), [FEATURES]
    while waiting:
        module = waiting.pop()
        base = Path(*module.split("."))
        path = next((path for path in (base.with_suffix(".py"), base / "__init__.py") if (root / path).is_file()), None)
        if path is not None and path.as_posix() not in files:
            files.add(path.as_posix())
            package, _, _ = module.rpartition(".")
            waiting += [*([package] if package else []), *_imports(root / path)]
    return sorted(files)


def pinned_requirements(lock: Path) -> list[str]:
    """Take the lines of a lock that name what a model needs."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if re.split(r"[=<>!~ ;\[]", line)[0] in MODEL_PACKAGES]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("src."):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _requirements_of(types: Collection[str], named: Collection[str]) -> list[str]:
    """Pin the packages that the user named and the model needs, as they are installed here."""
    used = {name.partition(".")[0] for name in types} & set(named)
    if not used:
        # To ask what is installed takes the half of a second.
        return []
    known = importlib.metadata.packages_distributions()
    found = {distribution for package in used for distribution in known.get(package, [])} - set(MODEL_PACKAGES)
    return [f"{name}=={importlib.metadata.version(name)}" for name in sorted(found)]


def _read_rows(table: Path, columns: list[str]) -> "pd.DataFrame":
    """Read the first rows of a table, and not the rest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(table) as file:
        rows: pd.DataFrame = pa.Table.from_batches([next(file.iter_batches(N_TYPED_ROWS, columns=columns))]).to_pandas()
    return rows[columns]
