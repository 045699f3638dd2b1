"""A user's own file as a table: CSV, compressed or not, Parquet, or a folder of Parquet parts."""

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterable
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
from src.data_load.csv_options import UNREADABLE, csv_options, first_line, wrong_encoding
from src.errors import DataError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
COMPRESSIONS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": lambda path: pa.input_stream(str(path), compression="zstd"),
}


def read_file(path: Path, how: TableFile, as_text: Iterable[str] = (), name: str = "") -> pd.DataFrame:
    """Read a table.

    Args:
        path: CSV, TSV, either compressed, Parquet, or a folder of Parquet parts.
        how: How a CSV is written.
        as_text: Columns that a CSV gives as text even if they look like numbers.
        name: What the errors call the file, by default its path.

    Returns:
        Shape (n_rows, n_columns), columns named once each, in the types that the file tells.

    Raises:
        DataError: It cannot be read as what it is named, or changed meanwhile.
    """
    name = name or str(path)
    before = _state(path)
    try:
        rows = _read(path, how, set(as_text), name)
    except FileNotFoundError:
        raise DataError(f"{name} is missing.") from None
    except (UnicodeError, *UNREADABLE) as error:
        if isinstance(error, UnicodeError):
            raise DataError(wrong_encoding(name, how, str(error))) from None
        raise DataError(f"{name} cannot be read as a table: {first_line(error)}.") from None
    if _state(path) != before:
        raise DataError(f"{name} changed while it was read; run again when it is complete.")
    if not rows.num_rows:
        raise DataError(f"{name} holds no rows{' below its header' if rows.num_columns else ''}.")
    return to_table(rows, name)


def _read(path: Path, how: TableFile, as_text: set[str], name: str) -> pa.Table:
    if path.is_dir():
        return _read_parts(path, name)
    opener, kind = opener_of(path)
    if kind in PARQUET_SUFFIXES and opener is open_plain:
        with open_parquet(path) as file:
            return file.read()
    if kind not in TEXT_SUFFIXES:
        known = ", ".join((*TEXT_SUFFIXES, *PARQUET_SUFFIXES))
        raise DataError(
            f"{name}: what kind of table is it? Its name must end in {known}, a text also in {', '.join(COMPRESSIONS)}."
        )
    return _Text(path, how, kind, opener).read(as_text, name)


def open_plain(path: Path) -> pa.NativeFile:
    """Open a file that is not compressed; a Python file takes twice the time in the threads of pyarrow."""
    return pa.OSFile(str(path))


def opener_of(path: Path) -> tuple[Callable[[Path], Any], str]:
    """Tell by its name how a file is opened, and what kind of table is in it: `.csv` of `a.csv.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    return COMPRESSIONS.get(compression, open_plain), suffixes[-1] if suffixes else ""


def _read_parts(folder: Path, name: str) -> pa.Table:
    parts = find_parts(folder)
    if not parts:
        raise DataError(f"{name} holds no Parquet files; name a file, or a folder of Parquet parts.")
    schemas = [pq.read_schema(part) for part in parts]
    for part, schema in zip(parts, schemas, strict=True):
        if odd := sorted(set(schema.names) ^ set(schemas[0].names)):
            raise DataError(f"{part} and {parts[0]} do not both have column {', '.join(odd[:10])}; mend the parts.")
    try:
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowTypeError as error:
        raise DataError(f"{name}: its parts hold different types: {first_line(error)}.") from None
    # As `open_parquet` does.
    bit_by_bit = pa_dataset.ParquetFragmentScanOptions(
        use_buffered_stream=True, buffer_size=READ_BYTES, pre_buffer=False
    )
    kind = pa_dataset.ParquetFileFormat(default_fragment_scan_options=bit_by_bit)
    return pa_dataset.dataset([str(part) for part in parts], schema=schema, format=kind).to_table()


def find_parts(folder: Path) -> list[Path]:
    """List the Parquet files of a folder in the order of their names, without hidden ones."""
    inside = ((path, path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(
        path
        for path, relative in inside
        if path.suffix in PARQUET_SUFFIXES and not any(part.startswith((".", "_")) for part in relative.parts)
    )


class _Text:
    """A CSV, which tells neither its types nor its mistakes."""

    def __init__(self, path: Path, how: TableFile, kind: str, opener: Callable[[Path], Any]) -> None:
        self.path = path
        self.how = how
        self.kind = kind
        self.open = opener

    def read(self, as_text: set[str], name: str) -> pa.Table:
        """Read all, with the types that the text allows."""
        rows = self._parse_fast(dict.fromkeys(as_text, pa.string()), name)
        # A name that is not of the encoding is found when it is read.
        rows.column_names  # noqa: B018 - reading is the point
        # "12:30" is no number and no date; the text is kept as it was.
        retold = [field.name for field in rows.schema if pa.types.is_time(field.type)]
        if retold:
            rows = self._parse_fast(dict.fromkeys([*as_text, *retold], pa.string()), name)
        binary = [field.name for field in rows.schema if pa.types.is_binary(field.type)]
        if binary:
            raise DataError(wrong_encoding(name, self.how, f"column {binary[0]!r}"))
        return rows

    def _parse_fast(self, types: dict[str, pa.DataType], name: str) -> pa.Table:
        try:
            return self._parse(types)
        except pa.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                raise DataError(f"{name} is empty.") from None
        # A quoted line end lay across blocks, for which to care takes half as much time again;
        # or it is a mistake, and now that one thread counts the rows the error tells which.
        return self._parse(types, with_care=True)

    def _parse(self, types: dict[str, pa.DataType], with_care: bool = False) -> pa.Table:
        with self.open(self.path) as file:
            return pa_csv.read_csv(file, **csv_options(self.how, self.kind, types, with_care=with_care))


def _state(path: Path) -> list[tuple[int, int, int]]:
    files = find_parts(path) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.exists()]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]
