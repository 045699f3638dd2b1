"""What the columns of a table are: inferred once, written down, and held to from then on."""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

from src.atomic import atomic_path
from src.errors import MissingInputError

logger = logging.getLogger(__name__)

# For each column its kind and what else is known of it, as plain values: the fitted
# model carries them to machines without this repository.
Columns = Mapping[str, Mapping[str, Any]]
FEATURE_KINDS = ("number", "category", "ordinal", "high_cardinality", "boolean")


def infer_columns(X: pd.DataFrame, declared: Columns) -> dict[str, dict[str, Any]]:
    """Tell what each column is; what is declared stands."""
    return {str(name): dict(declared.get(str(name)) or {"kind": _infer_kind(X[name])}) for name in X.columns}


def _infer_kind(column: pd.Series) -> str:
    if is_bool_dtype(column):
        return "boolean"
    if is_numeric_dtype(column):
        return "number"
    return "date" if is_datetime64_any_dtype(column) else "category"


def features_by_kind(columns: Columns, features: Iterable[str], excluded: Iterable[str] = ()) -> dict[str, list[str]]:
    """List by kind the columns that the preprocessing takes, computed features among the numbers.

    Args:
        columns: What each raw column is.
        features: Names of the computed features.
        excluded: Raw columns that are no features, as the one that groups rows.
    """
    kinds: dict[str, list[str]] = {kind: [] for kind in FEATURE_KINDS}
    for name, column in columns.items():
        if column["kind"] in kinds and name not in excluded:
            kinds[column["kind"]].append(name)
    kinds["number"] += features
    return kinds


def read_columns(path: Path) -> dict[str, dict[str, Any]]:
    """Read what stage `data_load` wrote of the columns.

    Raises:
        MissingInputError: The file is absent or damaged.
    """
    try:
        content: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["columns"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingInputError(
            f"{path} is missing or damaged ({error!r:.100}); stage data_load makes it: run `dvc repro data_load`."
        ) from None
    return content


def write_columns(columns: Columns, path: Path) -> None:
    """Write what the columns are."""
    with atomic_path(path) as partial:
        text = json.dumps({"columns": columns}, indent=2, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")
    logger.info("wrote the kinds of %d columns to %s", len(columns), path)
