"""Read the user's own table, whatever its type."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa

from src.config.data_load import TableFile
from src.data_load.arrow import to_table
from src.data_load.text_files import (
    COMPRESSIONS,
    TEXT_SUFFIXES,
    UNREADABLE,
    find_hint,
    open_plain,
    opener_of,
    read_text,
    reason_of,
    wrong_encoding,
)
from src.data_load.typed_files import JSON_SUFFIXES, PARQUET_SUFFIXES, TYPED_SUFFIXES, find_parts, read_typed
from src.errors import DataError


def read_file(path: Path, how: TableFile, as_text: Iterable[str] = (), name: str = "") -> pd.DataFrame:
    """Read a table.

    Args:
        path: Text or JSON lines, also compressed, Parquet, a folder of Parquet parts, Arrow or Excel.
        how: Its format.
        as_text: Columns whose texts stay texts even if they look like numbers or dates.
        name: Name of the file in error messages, by default its path.

    Returns:
        Shape (n_rows, n_columns), with unique column names.

    Raises:
        DataError: The file cannot be read, has no rows, or changed during reading.
    """
    name = name or str(path)
    before = _state(path)
    try:
        rows = _read(path, how, set(as_text), name)
    except FileNotFoundError:
        raise DataError(f"{name} is missing.") from None
    except UnicodeError as error:
        raise DataError(wrong_encoding(name, how, str(error))) from None
    except UNREADABLE as error:
        raise DataError(f"{name} cannot be read as a table: {reason_of(error)}{find_hint(path, how)}.") from None
    if _state(path) != before:
        raise DataError(f"{name} changed while it was read; run again when it is complete.")
    if not rows.num_rows:
        raise DataError(f"{name} has no rows{' below its header' if rows.num_columns else ''}.")
    return to_table(rows, name)


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


def _read(path: Path, how: TableFile, as_text: set[str], name: str) -> pa.Table:
    kind = kind_of(path, name)
    if kind in TEXT_SUFFIXES:
        return read_text(path, how, as_text, name)
    return read_typed(path, kind, how, as_text, name)


def _state(path: Path) -> list[tuple[int, int, int]]:
    files = find_parts(path) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.exists()]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]
