"""Read and write tables as Parquet, and write metrics, scores and text."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from src.atomic import atomic_path
from src.config.yaml_file import check_no_conflict
from src.errors import MissingInputError
from src.text import one_line

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Row groups of a quarter of the size take twice the time: each column of each group starts with a dictionary.
ROWS_PER_GROUP = 1_048_576
# Columns of many different values are written faster without a dictionary; pyarrow tries up to 1 MB.
DICTIONARY_BYTES = 64 * 2**10
READ_BYTES = 2**20


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file with little memory: by default, pyarrow buffers a whole row group."""
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES)


def read_table(path: Path, made_by: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a whole table that the stage `made_by` wrote; names in `columns` that it does not have are skipped.

    Args:
        path: A Parquet file, or a folder of parts.

    Raises:
        MissingInputError: The table is missing or is not Parquet.
    """
    return to_frame(read_files(find_files(path, made_by), path, made_by, columns))


def find_files(path: Path, made_by: str) -> list[Path]:
    """List the files of a table: itself, or its parts in the order of their names.

    Raises:
        MissingInputError: The table is missing, or a folder without parts.
    """
    files = sort_parts(path.glob("part-*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise MissingInputError(f"{path} {'has no parts' if path.is_dir() else 'is missing'}; {_hint(made_by)}.")
    return files


def sort_parts(files: Iterable[Path]) -> list[Path]:
    """Sort parts by number, even if some numbers have more digits than others."""
    return sorted(files, key=lambda file: (len(file.name), file.name))


def read_files(files: Sequence[Path], path: Path, made_by: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read Parquet files with equal columns as one table; `path` names it in errors.

    Raises:
        MissingInputError: A file is missing or is not Parquet.
    """
    tables = []
    with unreadable(path, made_by):
        for each in files:
            with open_parquet(each) as file:
                known = None if columns is None else [name for name in file.schema_arrow.names if name in set(columns)]
                tables.append(file.read(columns=known, use_pandas_metadata=False, use_threads=False))
        return pa.concat_tables(tables)


def to_frame(rows: pa.Table) -> pd.DataFrame:
    """Convert rows to pandas; they are freed unless another table has the same columns."""
    # Each column is freed once it is converted.
    frame: pd.DataFrame = rows.to_pandas(split_blocks=True, self_destruct=True, use_threads=False)
    # Otherwise the pool keeps as much as the largest part so far needed.
    pa.default_memory_pool().release_unused()
    return frame


@contextmanager
def unreadable(path: Path, made_by: str) -> Iterator[None]:
    """Turn errors from reading Parquet into one that says which stage writes the file.

    Raises:
        MissingInputError: The file is missing or is not Parquet.
    """
    try:
        yield
    except FileNotFoundError:
        raise MissingInputError(f"{name_path(path)} is missing; {_hint(made_by)}.") from None
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise MissingInputError(f"{name_path(path)} cannot be read as Parquet ({reason}); {_hint(made_by)}.") from None


def name_path(path: Path) -> str:
    """Return a path as messages show it: relative to the root of the clone."""
    root = Path.cwd()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _hint(made_by: str) -> str:
    return f"stage {made_by} makes it: run `dvc repro {made_by}`"


def read_json(path: Path, kind: "TypeAdapter[T]", made_by: str) -> T:
    """Read a JSON file that the stage `made_by` wrote, and that a user or a merge may have changed.

    Raises:
        MissingInputError: The file is missing, or its content is not what the stage writes.
        ConfigError: It has a merge conflict.
    """
    try:
        content = path.read_bytes()
        check_no_conflict(content.decode("utf-8", errors="replace"), path)
        return kind.validate_json(content)
    except FileNotFoundError:
        reason = "is missing"
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = "".join(f"{part}: " for part in problem["loc"])
        reason = f"is damaged ({one_line(where + problem['msg'], 200)})"
    raise MissingInputError(f"{path} {reason}; {_hint(made_by)}.")


def to_arrow(table: pd.DataFrame, types: Mapping[str, pa.DataType] = MappingProxyType({})) -> pa.Table:
    """Convert rows to Arrow, without their index; `types` are the types of columns of objects."""
    schema = None
    if types:
        others = pa.Schema.from_pandas(table.drop(columns=list(types)), preserve_index=False)
        schema = pa.schema([(name, types.get(name) or others.field(name).type) for name in table.columns])
    return pa.Table.from_pandas(table, schema=schema, preserve_index=False)


def write_rows(rows: pa.Table, path: Path) -> None:
    """Write rows as Parquet."""
    with atomic_path(path) as partial:
        pq.write_table(rows, partial, row_group_size=ROWS_PER_GROUP, dictionary_pagesize_limit=DICTIONARY_BYTES)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as a Parquet file, without its index."""
    write_rows(to_arrow(table), path)
    logger.info("wrote %d rows × %d columns to %s", *table.shape, path)


def write_metrics(metrics: Mapping[str, float | Mapping[str, float]], path: Path) -> None:
    """Write metrics as JSON, sorted by name."""
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
