"""Tables in and out, as Parquet."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa

from src.atomic import atomic_path
from src.errors import MissingInputError

logger = logging.getLogger(__name__)


def read_table(path: Path, made_by: str, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file.

    Args:
        path: The file.
        made_by: Stage that writes it, named in the error.
        columns: The only columns to read; all by default.

    Returns:
        The table, shape (n_rows, n_columns).

    Raises:
        MissingInputError: The file is absent or is not Parquet.
    """
    again = f"stage {made_by} makes it: run `dvc repro {made_by}`"
    try:
        return pd.read_parquet(path, columns=columns)
    except FileNotFoundError:
        raise MissingInputError(f"{path} is missing; {again}.") from None
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise MissingInputError(f"{path} cannot be read as Parquet ({reason}); {again}.") from None


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, without its index."""
    with atomic_path(path) as partial:
        table.to_parquet(partial, index=False)
    logger.info("wrote %d rows × %d columns to %s", *table.shape, path)


def write_metrics(metrics: Mapping[str, float | Mapping[str, float]], path: Path) -> None:
    """Write metrics as JSON in alphabetical order, so that equal metrics are equal files."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(metrics, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    logger.info("wrote %d metrics to %s", len(metrics), path)


def write_scores(scores: pd.DataFrame, path: Path) -> None:
    """Write a table of scores as CSV."""
    with atomic_path(path) as partial:
        scores.to_csv(partial, index=False, lineterminator="\n")
    logger.info("wrote %d candidates to %s", len(scores), path)


def write_text(text: str, path: Path) -> None:
    """Write text as UTF-8."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
    logger.info("wrote %d lines to %s", text.count("\n"), path)
