"""Read CSV, TSV and text whose fields are between blanks, also compressed."""

import bz2
import gzip
import io
import itertools
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from src.config.data_load import TableFile
from src.data_load.layout import find_layout
from src.errors import DataError
from src.text import one_line, show

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
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
OLD_EXCEL = b"\xd0\xcf\x11\xe0"
# How files begin that are not the text that their name says.
NO_TEXT = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: rename it to .xlsx, or save its table as CSV",
    OLD_EXCEL: "an old or encrypted Excel workbook: save its table as .xlsx without a password, or as CSV",
    b"PAR1": "Parquet: rename it to .parquet",
    b"ARROW1": "an Arrow file: rename it to .arrow",
    b"\x1f\x8b": "compressed by gzip: rename it to .csv.gz",
    b"\x89PNG": "an image",
    b"%PDF": "a PDF: save its table as CSV",
    b'{"': "JSON: rename it to .jsonl if each line is an object, else save it as CSV",
    b'[{"': "a JSON array: write one object a line to a .jsonl file, or save it as CSV",
    b"<!doctype html": "a web page: check the address that it was downloaded from",
    b"<html": "a web page: check the address that it was downloaded from",
    b"version https://git-lfs": "a pointer of Git LFS: run `git lfs pull`",
}
FIRST_BYTES, FIRST_LINES = 4096, 100
# Stands for the blanks between fields: pyarrow needs a single character, and no text has this one.
UNIT = b"\x1f"
FIELD_IN_QUOTES_OR_BLANKS = re.compile(rb'(?<!\S)("(?:[^"]|"")*")(?!\S)|\s+')


def csv_options(
    how: TableFile, kind: str, types: Mapping[str, pa.DataType], only: Iterable[str] = (), with_care: bool = False
) -> dict[str, Any]:
    """Return pyarrow's options for what `open_text` returns.

    Args:
        how: Format of the file.
        kind: Suffix of the file, without that of a compression.
        types: Types of columns that are not inferred.
        only: Columns to read, by default all.
        with_care: Accept quoted line breaks at the border of two blocks; slower, with a single thread.
    """
    return {
        "read_options": pa_csv.ReadOptions(
            encoding="utf-8" if how.separator == "whitespace" else how.encoding,
            block_size=BLOCK_BYTES,
            use_threads=not with_care,
            skip_rows=how.skip_rows,
        ),
        "parse_options": pa_csv.ParseOptions(
            delimiter=UNIT.decode() if how.separator == "whitespace" else separator_of(how, kind),
            newlines_in_values=with_care,
        ),
        "convert_options": pa_csv.ConvertOptions(
            column_types=types,
            include_columns=list(only),
            null_values=how.missing,
            strings_can_be_null=True,
            decimal_point=how.decimal,
        ),
    }


def separator_of(how: TableFile, kind: str) -> str:
    """Return the separator of a text file with this suffix: a character or `whitespace`."""
    default = "\t" if kind == ".tsv" else ","
    return default if how.separator == "auto" else how.separator


def open_text(path: Path, how: TableFile) -> Any:
    """Open a text file for pyarrow; where blanks separate fields, they are replaced by a single character."""
    opener, _ = opener_of(path)
    if how.separator != "whitespace":
        return opener(path)
    with io.TextIOWrapper(io.BufferedReader(opener(path)), encoding=how.encoding) as file:
        lines = [_separate(line) for line in file.read().removeprefix("\ufeff").encode().split(b"\n")]
    not_empty = (at for at in range(how.skip_rows, len(lines)) if lines[at])
    header, row = (*itertools.islice(not_empty, 2), 0, 0)[:2]
    # R writes no name for the names of rows.
    if lines[row].count(UNIT) == lines[header].count(UNIT) + 1:
        lines[header] = b'""' + UNIT + lines[header]
    return pa.BufferReader(b"\n".join(lines))


def _separate(line: bytes) -> bytes:
    """Replace the blanks between the fields of a line.

    >>> _separate(b'  1  "a b"  ').split(UNIT)
    [b'1', b'"a b"']
    """
    if b'"' in line:
        return FIELD_IN_QUOTES_OR_BLANKS.sub(lambda match: match[1] or UNIT, line.strip())
    return UNIT.join(line.split())


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


def first_lines(path: Path, how: TableFile) -> list[str]:
    """Read the first lines after those that are skipped; none if they are empty."""
    opener, _ = opener_of(path)
    with io.TextIOWrapper(io.BufferedReader(opener(path)), encoding=how.encoding, errors="replace") as text:
        lines = list(itertools.islice(text, how.skip_rows, how.skip_rows + FIRST_LINES))
    return lines if any(line.strip() for line in lines) else []


def find_hint(path: Path, how: TableFile) -> str:
    """Propose to skip lines before the header of a text file, if there seem to be some."""
    kind = opener_of(path)[1]
    if kind not in TEXT_SUFFIXES or path.is_dir():
        return ""
    try:
        n_before = find_layout(first_lines(path, how), separator_of(how, kind)).n_before
    except (UnicodeError, *UNREADABLE):
        return ""
    skip = how.skip_rows + n_before
    return f"; if its header is line {skip + 1}, set data_load.source.skip_rows: {skip}" if n_before else ""
