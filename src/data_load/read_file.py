"""Read the user's own table, whatever its type."""

import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa

from src.config.data_load import TableFile
from src.data_load.raw_table import RawTable, Types, divide
from src.data_load.segments import read_segments
from src.data_load.text_files import (
    COMPRESSIONS,
    TEXT_SUFFIXES,
    UNREADABLE,
    find_hint,
    open_plain,
    opener_of,
    reason_of,
    wrong_encoding,
)
from src.data_load.typed_files import (
    JSON_SUFFIXES,
    PARQUET_SUFFIXES,
    TYPED_SUFFIXES,
    find_parts,
    read_parquet,
    read_typed,
)
from src.errors import DataError


def read_file(
    path: Path, how: TableFile, as_text: Iterable[str] = (), name: str = "", max_rows: int | None = None
) -> pd.DataFrame:
    """Read a whole table, or its first rows.

    Args:
        path: Text or JSON lines, also compressed, Parquet, a folder of Parquet parts, Arrow or Excel.
        how: Its format.
        as_text: Columns whose texts stay texts even if they look like numbers or dates.
        name: Name of the file in error messages, by default its path.
        max_rows: Maximum number of rows to read; by default all are read.

    Returns:
        Shape (n_rows, n_columns), with unique column names.

    Raises:
        DataError: The file cannot be read, has no rows, or changed during reading.
    """
    with read_parts(path, how, as_text, name, sys.maxsize, max_rows) as table:
        return table.parts[0].read()


def read_parts(
    path: Path,
    how: TableFile,
    as_text: Iterable[str],
    name: str,
    rows_per_part: int,
    max_rows: int | None = None,
) -> RawTable:
    """Read a table in parts; several parts are temporary files. See `read_file`."""
    name = name or str(path)
    before = _state(path)
    try:
        kind = kind_of(path, name)
        read = partial(_read, path, kind, how, set(as_text), name, max_rows or rows_per_part)
        table = divide(read, name, rows_per_part, max_rows)
    except FileNotFoundError:
        raise DataError(f"{name} is missing.") from None
    except (DataError, UnicodeError, *UNREADABLE) as error:
        _check_unchanged(path, before, name)
        if isinstance(error, DataError):
            raise
        if isinstance(error, UnicodeError):
            raise DataError(wrong_encoding(name, how, str(error))) from None
        raise DataError(f"{name} cannot be read as a table: {reason_of(error)}{find_hint(path, how)}.") from None
    try:
        _check_unchanged(path, before, name)
    except DataError:
        table.close()
        raise
    return table


def kind_of(path: Path, name: str) -> str:
    """Return the suffix that determines how to read a table, without that of a compression: `.csv` for `a.CSV.gz`.

    Raises:
        DataError: It is unknown.
    """
    if path.is_dir():
        return PARQUET_SUFFIXES[0]
    opener, kind = opener_of(path)
    compressible = (*TEXT_SUFFIXES, *JSON_SUFFIXES)
    if kind in compressible or (kind in TYPED_SUFFIXES and opener is open_plain):
        return kind
    hint = {".xls": "; save an old Excel workbook as .xlsx", ".json": "; JSON must have one object a line, in .jsonl"}
    raise DataError(
        f"{name}: unknown file type; the name must end in {', '.join((*compressible, *TYPED_SUFFIXES[2:]))}, and "
        f"text and JSON may also end in {', '.join(COMPRESSIONS)}{hint.get(kind, '')}."
    )


def _read(
    path: Path, kind: str, how: TableFile, as_text: set[str], name: str, batch_rows: int, only: Types | None
) -> Iterator[pa.Table]:
    if kind in TEXT_SUFFIXES:
        return read_segments(path, how, as_text, name, only)
    if kind in PARQUET_SUFFIXES:
        return read_parquet(path, how.na_values, name, batch_rows)
    return iter([read_typed(path, kind, how, as_text, name)])


State = list[tuple[int, int, int]]


def _state(path: Path) -> State:
    files = find_parts(path) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.exists()]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def _check_unchanged(path: Path, before: State, name: str) -> None:
    if _state(path) != before:
        raise DataError(f"{name} changed while it was read; run again when it is complete.") from None
