"""Tables in and out, as Parquet."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from src.atomic import atomic_path
from src.errors import MissingInputError

logger = logging.getLogger(__name__)

# A part is encoded in memory before it is written; a quarter of it would take twice the time,
# as each column of each part is first tried with a dictionary.
ROWS_OF_A_PART = 1_048_576
READ_BYTES = 2**20


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file so that a part of it is decoded as it is read: pyarrow would first read all of the part.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
        pa.ArrowInvalid: It is not Parquet.
    """
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES)


def read_table(path: Path, made_by: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file, in memory once: each column of pyarrow is freed as pandas has it.

    Args:
        path: The file.
        made_by: Stage that writes it, named in the error.
        columns: Those to read, by default all; what the file does not have is left out.

    Returns:
        The table, shape (n_rows, n_columns).

    Raises:
        MissingInputError: The file is absent or is not Parquet.
    """
    again = f"stage {made_by} makes it: run `dvc repro {made_by}`"
    try:
        with open_parquet(path) as file:
            known = None if columns is None else [name for name in file.schema_arrow.names if name in set(columns)]
            table = file.read(columns=known, use_pandas_metadata=False)
        frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
        return frame
    except FileNotFoundError:
        raise MissingInputError(f"{path} is missing; {again}.") from None
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise MissingInputError(f"{path} cannot be read as Parquet ({reason}); {again}.") from None


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, without its index."""
    rows = pa.Table.from_pandas(table, preserve_index=False)
    with atomic_path(path) as partial:
        pq.write_table(rows, partial, row_group_size=ROWS_OF_A_PART)
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
