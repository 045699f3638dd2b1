"""Read the user's own table: CSV or TSV, also compressed, Parquet, or a folder of Parquet parts."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq

from src.config.data_load import TableFile
from src.data.files import READ_BYTES, open_parquet
from src.data_load.arrow import to_table
from src.errors import DataError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
COMPRESSIONS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": lambda path: pa.input_stream(str(path), compression="zstd"),
}
# Raised for damaged files; the errors of gzip and xz are not OSErrors.
UNREADABLE = (pa.ArrowInvalid, EOFError, OSError, zlib.error, lzma.LZMAError)
# A row cannot be longer than a block.
BLOCK_BYTES = 8 * 2**20


def read_file(path: Path, how: TableFile, as_text: Iterable[str] = (), name: str = "") -> pd.DataFrame:
    """Read a table.

    Args:
        path: CSV or TSV, also compressed, Parquet, or a folder of Parquet parts.
        how: Format of a text file.
        as_text: Columns of a text file to read as text even if they look like numbers.
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
        raise DataError(f"{name} cannot be read as a table: {_first_line(error)}.") from None
    if _state(path) != before:
        raise DataError(f"{name} changed while it was read; run again when it is complete.")
    if not rows.num_rows:
        raise DataError(f"{name} has no rows{' below its header' if rows.num_columns else ''}.")
    return to_table(rows, name)


def csv_options(
    how: TableFile, kind: str, types: Mapping[str, pa.DataType], only: Iterable[str] = (), with_care: bool = False
) -> dict[str, Any]:
    """Return pyarrow's options for a text file.

    Args:
        how: Format of the file.
        kind: Suffix of the file, without that of a compression.
        types: Types of columns that are not inferred.
        only: Columns to read, by default all.
        with_care: Accept quoted line breaks at the border of two blocks; slower, with a single thread.
    """
    default = "\t" if kind == ".tsv" else ","
    return {
        "read_options": pa_csv.ReadOptions(encoding=how.encoding, block_size=BLOCK_BYTES, use_threads=not with_care),
        "parse_options": pa_csv.ParseOptions(
            delimiter=default if how.separator == "auto" else how.separator, newlines_in_values=with_care
        ),
        "convert_options": pa_csv.ConvertOptions(
            column_types=types,
            include_columns=list(only),
            null_values=how.missing,
            strings_can_be_null=True,
            decimal_point=how.decimal,
        ),
    }


def wrong_encoding(name: str, how: TableFile, where: str) -> str:
    """Return the error message for bytes that do not match the encoding."""
    return (
        f"{name} is not valid {how.encoding} ({where}); set data_load.source.encoding to its encoding, such as cp1252 "
        "or latin-1."
    )


def open_plain(path: Path) -> pa.NativeFile:
    """Open an uncompressed file; pyarrow takes twice the time to read a Python file."""
    return pa.OSFile(str(path))


def opener_of(path: Path) -> tuple[Callable[[Path], Any], str]:
    """Return the function that opens a file, and its suffix without that of a compression: `.csv` for `a.csv.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    return COMPRESSIONS.get(compression, open_plain), suffixes[-1] if suffixes else ""


def find_parts(folder: Path) -> list[Path]:
    """List the Parquet files of a folder by name, without hidden ones."""
    inside = ((path, path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(
        path
        for path, relative in inside
        if path.suffix in PARQUET_SUFFIXES and not any(part.startswith((".", "_")) for part in relative.parts)
    )


def _read(path: Path, how: TableFile, as_text: set[str], name: str) -> pa.Table:
    if path.is_dir():
        return _read_parts(path, name)
    opener, kind = opener_of(path)
    if kind in PARQUET_SUFFIXES and opener is open_plain:
        with open_parquet(path) as file:
            return file.read()
    if kind in TEXT_SUFFIXES:
        return _read_csv(path, how, as_text, name)
    known = ", ".join((*TEXT_SUFFIXES, *PARQUET_SUFFIXES))
    raise DataError(
        f"{name}: unknown file type; the name must end in {known}, and a text may also end in "
        f"{', '.join(COMPRESSIONS)}."
    )


def _read_parts(folder: Path, name: str) -> pa.Table:
    parts = find_parts(folder)
    if not parts:
        raise DataError(f"{name} has no Parquet files; name a file, or a folder of Parquet parts.")
    schemas = [pq.read_schema(part) for part in parts]
    for part, schema in zip(parts, schemas, strict=True):
        if different := sorted(set(schema.names) ^ set(schemas[0].names)):
            columns = ", ".join(different[:10])
            raise DataError(f"only one of {part} and {parts[0]} has column {columns}; give all parts the same columns.")
    try:
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowTypeError as error:
        raise DataError(f"{name}: the types of its parts do not match: {_first_line(error)}.") from None
    options = pa_dataset.ParquetFragmentScanOptions(use_buffered_stream=True, buffer_size=READ_BYTES, pre_buffer=False)
    parquet = pa_dataset.ParquetFileFormat(default_fragment_scan_options=options)
    return pa_dataset.dataset([str(part) for part in parts], schema=schema, format=parquet).to_table()


def _read_csv(path: Path, how: TableFile, as_text: set[str], name: str) -> pa.Table:
    types = dict.fromkeys(as_text, pa.string())
    rows = _parse(path, how, types, name)
    # Decodes the header, which may raise UnicodeDecodeError.
    rows.column_names  # noqa: B018
    # "12:30" is neither a number nor a date.
    if times := [field.name for field in rows.schema if pa.types.is_time(field.type)]:
        rows = _parse(path, how, types | dict.fromkeys(times, pa.string()), name)
    if binary := [field.name for field in rows.schema if pa.types.is_binary(field.type)]:
        raise DataError(wrong_encoding(name, how, f"column {binary[0]!r}"))
    return rows


def _parse(path: Path, how: TableFile, types: dict[str, pa.DataType], name: str, with_care: bool = False) -> pa.Table:
    opener, kind = opener_of(path)
    try:
        with opener(path) as file:
            return pa_csv.read_csv(file, **csv_options(how, kind, types, with_care=with_care))
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in str(error):
            raise DataError(f"{name} is empty.") from None
        if with_care:
            raise
    # Either a quoted line break is at the border of two blocks, or a row is wrong. With care, which
    # takes 50 % longer, the error contains the number of the row.
    return _parse(path, how, types, name, with_care=True)


def _first_line(error: Exception) -> str:
    """Return the first line of a message; pyarrow adds the row below."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:300]


def _state(path: Path) -> list[tuple[int, int, int]]:
    files = find_parts(path) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.exists()]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]
