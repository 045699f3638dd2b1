"""Read the user's own table: CSV or TSV, also compressed, Parquet, or a folder of Parquet parts."""

import bz2
import gzip
import io
import itertools
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from src.text import one_line, show

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
# How files begin that are not the text that their name says.
NO_TEXT = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: save its table as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save its table as CSV",
    b"PAR1": "Parquet: rename it to .parquet",
    b"\x1f\x8b": "compressed by gzip: rename it to .csv.gz",
    b"\x89PNG": "an image",
    b"%PDF": "a PDF: save its table as CSV",
    b'{"': "JSON: save it as CSV or Parquet",
    b'[{"': "JSON: save it as CSV or Parquet",
    b"<!doctype html": "a web page: check the address that it was downloaded from",
    b"<html": "a web page: check the address that it was downloaded from",
    b"version https://git-lfs": "a pointer of Git LFS: run `git lfs pull`",
}
FIRST_BYTES, FIRST_LINES = 4096, 100


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
        raise DataError(f"{name} cannot be read as a table: {reason_of(error)}{_find_hint(path, how)}.") from None
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
    return {
        "read_options": pa_csv.ReadOptions(
            encoding=how.encoding, block_size=BLOCK_BYTES, use_threads=not with_care, skip_rows=how.skip_rows
        ),
        "parse_options": pa_csv.ParseOptions(delimiter=separator_of(how, kind), newlines_in_values=with_care),
        "convert_options": pa_csv.ConvertOptions(
            column_types=types,
            include_columns=list(only),
            null_values=how.missing,
            strings_can_be_null=True,
            decimal_point=how.decimal,
        ),
    }


def separator_of(how: TableFile, kind: str) -> str:
    """Return the separator of a text file with this suffix."""
    default = "\t" if kind == ".tsv" else ","
    return default if how.separator == "auto" else how.separator


def check_text(path: Path, encoding: str, name: str) -> None:
    """Check that a file does not begin as another type of file does.

    Raises:
        DataError: Says what it is instead, and what to do.
    """
    opener, _ = opener_of(path)
    with opener(path) as file:
        first = bytes(file.read(FIRST_BYTES))
    for begin, what in NO_TEXT.items():
        if first.lower().startswith(begin.lower()):
            raise DataError(f"{name} is {what}.")
    if first.count(0) > len(first) / 8 and not re.match("utf.?(16|32)", encoding, re.IGNORECASE):
        raise DataError(
            f"{name} is not {encoding} text: it has many zero bytes; if it is text, set data_load.source.encoding to "
            "its encoding, such as utf-16, utf-16-le or utf-16-be."
        )


def check_last_value(path: Path, value: pa.Scalar, column: str, n_rows: int, name: str) -> None:
    """Check that the last value of a text file is not the rest of it: pyarrow accepts a quote that is never closed.

    Raises:
        DataError: Contains the number of the row.
    """
    last = value.as_py()
    if not isinstance(last, str) or not set(last) & set("\r\n"):
        return
    opener, _ = opener_of(path)
    end = b""
    with opener(path) as file:
        while block := file.read(BLOCK_BYTES):
            end = (end + bytes(block))[-FIRST_BYTES:]
    # The zero byte is a half of a letter in UTF-16.
    if not end.rstrip(b"\r\n\0").endswith(b'"'):
        raise DataError(
            f"{name}: a quote in column {show(column)} of row {n_rows + 1} is not closed, so that all lines below it "
            "belong to its value; close it, or double it if it is part of the text."
        )


def find_header(lines: Sequence[str], separator: str) -> int:
    """Return how many lines are before the first one with as many fields as most lines have."""
    counts = [line.count(separator) for line in lines]
    common = Counter(count for line, count in zip(lines, counts, strict=True) if line.strip()).most_common(1)
    if not common or not common[0][0] or 2 * common[0][1] < sum(bool(line.strip()) for line in lines):
        return 0
    usual = common[0][0]
    # Spreadsheets write line breaks within names, in quotes.
    starts, found, n_quotes = list[int](), list[int](), 0
    for number, line in enumerate(lines):
        if n_quotes % 2 == 0:
            starts.append(number)
            found.append(0)
        n_quotes += line.count('"')
        found[-1] += counts[number]
    if usual not in found:
        return 0
    position = found.index(usual)
    # R writes no name for the names of rows.
    is_header_of_r = starts[position] == 1 and usual > 1 and found[0] == usual - 1
    return 0 if is_header_of_r or max(found[:position], default=0) > usual else starts[position]


def reason_of(error: Exception) -> str:
    """Return the reason why a table cannot be read, without the row, which may be secret or long."""
    text = str(error)
    if not (match := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)(.*)", text, re.DOTALL)):
        return one_line((text.splitlines() or [type(error).__name__])[0].rstrip("."), 300)
    row, expected, found, content = match.groups()
    hint = "; a quote in it is not closed" if content.count('"') % 2 else ""
    return f"row {row} has {found} field{'s' if found != '1' else ''} instead of {expected}{hint}"


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


def check_parts(folder: Path, name: str) -> tuple[list[Path], pa.Schema]:
    """Return the Parquet parts of a folder, sorted by name, and columns with types that suit all of them.

    Raises:
        DataError: There are none, one cannot be read, or they do not match; the message names the part.
    """
    parts = find_parts(folder)
    if not parts:
        raise DataError(f"{name} has no Parquet files; name a file, or a folder of Parquet parts.")
    common = _read_schema(parts[0])
    for part in parts[1:]:
        schema = _read_schema(part)
        if different := sorted(set(schema.names) ^ set(common.names)):
            columns = ", ".join(different[:10])
            raise DataError(f"only one of {part} and {parts[0]} has column {columns}; give all parts the same columns.")
        try:
            common = pa.unify_schemas([common, schema], promote_options="permissive")
        # ArrowInvalid if a name occurs twice.
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            reason = reason_of(error)
            raise DataError(f"{name}: the types of its parts do not match: {part}: {reason}.") from None
    return parts, common


def _read_schema(part: Path) -> pa.Schema:
    try:
        return pq.read_schema(part)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{part} cannot be read as Parquet: {reason_of(error)}.") from None


def _read_parts(folder: Path, name: str) -> pa.Table:
    parts, schema = check_parts(folder, name)
    options = pa_dataset.ParquetFragmentScanOptions(use_buffered_stream=True, buffer_size=READ_BYTES, pre_buffer=False)
    parquet = pa_dataset.ParquetFileFormat(default_fragment_scan_options=options)
    return pa_dataset.dataset([str(part) for part in parts], schema=schema, format=parquet).to_table()


def _read_csv(path: Path, how: TableFile, as_text: set[str], name: str) -> pa.Table:
    check_text(path, how.encoding, name)
    types = dict.fromkeys(as_text, pa.string())
    rows = _parse(path, how, types, name)
    # Decodes the header, which may raise UnicodeDecodeError.
    rows.column_names  # noqa: B018
    # "12:30" is neither a number nor a date.
    if times := [field.name for field in rows.schema if pa.types.is_time(field.type)]:
        rows = _parse(path, how, types | dict.fromkeys(times, pa.string()), name)
    if binary := [field.name for field in rows.schema if pa.types.is_binary(field.type)]:
        raise DataError(wrong_encoding(name, how, f"column {binary[0]!r}"))
    if rows.num_rows:
        check_last_value(path, rows.column(rows.num_columns - 1)[-1], rows.column_names[-1], rows.num_rows, name)
    return rows


def _parse(path: Path, how: TableFile, types: dict[str, pa.DataType], name: str, with_care: bool = False) -> pa.Table:
    opener, kind = opener_of(path)
    try:
        with opener(path) as file:
            return pa_csv.read_csv(file, **csv_options(how, kind, types, with_care=with_care))
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in str(error):
            if lines := _first_lines(path, how):
                problem = "complete line; is there a quote that is not closed?" if '"' in "".join(lines) else "rows."
                raise DataError(f"{name} has no {problem}") from None
            raise DataError(f"{name} is empty.") from None
        if with_care:
            raise
    # Either a quoted line break is at the border of two blocks, or a row is wrong. With care, which
    # takes 50 % longer, the error contains the number of the row.
    return _parse(path, how, types, name, with_care=True)


def _first_lines(path: Path, how: TableFile) -> list[str]:
    opener, _ = opener_of(path)
    with io.TextIOWrapper(io.BufferedReader(opener(path)), encoding=how.encoding, errors="replace") as text:
        lines = list(itertools.islice(text, how.skip_rows, how.skip_rows + FIRST_LINES))
    return lines if any(line.strip() for line in lines) else []


def _find_hint(path: Path, how: TableFile) -> str:
    """Propose to skip lines before the header, if there seem to be some."""
    kind = opener_of(path)[1]
    if kind not in TEXT_SUFFIXES or path.is_dir():
        return ""
    try:
        n_before = find_header(_first_lines(path, how), separator_of(how, kind))
    except (UnicodeError, *UNREADABLE):
        return ""
    skip = how.skip_rows + n_before
    return f"; if its header is line {skip + 1}, set data_load.source.skip_rows: {skip}" if n_before else ""


def _state(path: Path) -> list[tuple[int, int, int]]:
    files = find_parts(path) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.exists()]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]
