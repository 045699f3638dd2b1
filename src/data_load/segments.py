"""Read a text file segment by segment, so that memory does not depend on its size."""

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from src.config.data_load import TableFile
from src.data_load.arrow import name_columns
from src.data_load.raw_table import Types
from src.data_load.text_files import (
    BLOCK_BYTES,
    UNIT,
    check_last_value,
    check_text,
    csv_options,
    first_lines,
    open_text,
    opener_of,
    separator_of,
    wrong_encoding,
)
from src.errors import DataError

# Types are inferred for each segment: few, large segments seldom differ.
SEGMENT_BYTES = 32 * 2**20


def read_segments(
    path: Path, how: TableFile, as_text: Iterable[str], name: str, only: Types | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of a text file in tables, whose types may differ, because they are inferred for each table.

    Args:
        path: The file.
        how: Its format.
        as_text: Columns to read as text even if they look like numbers.
        name: Name of the file in error messages.
        only: Columns to read, and their types; by default all columns, with types as pyarrow infers them.
    """
    check_text(path, how.encoding, name)
    reader = _Reader(path, how, opener_of(path)[1], name, dict.fromkeys(as_text, pa.string()), only)
    separator = UNIT if how.separator == "whitespace" else separator_of(how, reader.kind).encode()
    last = pa.scalar(None)
    with open_text(path, how) as file:
        for content in cut_segments(_decode(file, how), separator, how.skip_rows):
            rows = reader.read(content) if reader.names else reader.read_first(content)
            if rows.num_rows and only is None:
                last = rows.column(rows.num_columns - 1)[-1]
            yield rows
    if reader.n_rows and only is None:
        check_last_value(path, last, reader.names[-1], reader.n_rows, name)


def _decode(file: Any, how: TableFile) -> Any:
    """Return a stream of UTF-8, as `pyarrow.csv.read_csv` makes one."""
    if how.separator == "whitespace" or codecs.lookup(how.encoding) == codecs.lookup("utf-8"):
        return file
    stream = file if isinstance(file, pa.NativeFile) else pa.PythonFile(file, mode="r")
    return pa.transcoding_input_stream(stream, how.encoding, "utf-8")


def cut_segments(file: Any, separator: bytes, skip_rows: int = 0) -> Iterator[memoryview]:
    """Cut a stream of UTF-8 into segments that end where a row ends; each segment overwrites the one before."""
    # Reusing the memory saves a fifth of the time.
    buffer, size = bytearray(SEGMENT_BYTES), 0
    while (size := _fill(file, buffer, size)) == len(buffer):
        end = find_last_row_end(buffer, separator, _find_header(buffer, skip_rows))
        if not end and size < BLOCK_BYTES:
            buffer = buffer + bytes(SEGMENT_BYTES)
            continue
        # pyarrow refuses a row this long, such as the rest of a file after a quote that is not closed.
        end = end or size
        yield memoryview(buffer)[:end]
        buffer[: size - end] = buffer[end:size]
        size, skip_rows = size - end, 0
    yield memoryview(buffer)[:size]


def _fill(file: Any, buffer: bytearray, size: int) -> int:
    """Read until the buffer is full or the file ends; decompressing streams return fewer bytes than requested."""
    view = memoryview(buffer)
    while size < len(buffer) and (n_bytes := file.readinto(view[size:])):
        size += n_bytes
    return size


def _find_header(content: bytes | bytearray, skip_rows: int) -> int:
    start = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    for _ in range(skip_rows):
        start = content.find(b"\n", start) + 1 or start
    return start


def find_last_row_end(content: bytes | bytearray, separator: bytes, start: int = 0) -> int:
    r"""Return the position after the last line end outside quotes; 0 if there is none.

    >>> find_last_row_end(b'1,x\n2,"y\n', b",")
    4

    Args:
        content: Rows, the first one of which begins at `start`.
        separator: The character between fields.
    """
    end = b"\n" if b"\n" in content else b"\r"
    quotes = _find_quotes(content, separator, start)
    last = content.rfind(end, start)
    while last >= 0 and (before := int(np.searchsorted(quotes, last))) % 2:
        last = content.rfind(end, start, int(quotes[before - 1]))
    return last + 1


def _find_quotes(content: bytes | bytearray, separator: bytes, start: int) -> NDArray[np.int64]:
    """List the opening and closing quotes in turn; as in pyarrow, a quote inside an unquoted field is text."""
    if b'"' not in content:
        return np.array([], np.int64)
    letters = np.frombuffer(content, np.uint8)
    quotes = start + np.flatnonzero(letters[start:] == ord('"'))
    opening, before = quotes[::2], b"\r\n" + separator
    # A doubled quote counts as a closing and an opening one.
    if np.isin(letters[opening[opening > start] - 1], [*before, ord('"')]).all():
        return quotes
    found, is_open, doubled = list[int](), False, -1
    for at in quotes.tolist():
        if at == doubled:
            continue
        if is_open and content[at + 1 : at + 2] == b'"':
            doubled = at + 1
        elif is_open or at == start or content[at - 1] in before:
            is_open = not is_open
            found.append(at)
    return np.array(found, np.int64)


@dataclass
class _Reader:
    """Reads segments of one file.

    Attributes:
        kind: Suffix of the file, without that of a compression.
        types: Types of columns whose types are not inferred.
        names: Names of the columns; empty until the first segment is read.
        n_rows: Number of rows read so far.
    """

    path: Path
    how: TableFile
    kind: str
    name: str
    types: dict[str, pa.DataType]
    only: Types | None
    names: list[str] = field(default_factory=list)
    n_rows: int = 0

    def read_first(self, content: memoryview) -> pa.Table:
        """Read the segment that has the header."""
        if self.only:
            unnamed = [kind for name, kind in self.only.items() if re.fullmatch(r"column_\d+", name)]
            self.types |= {**self.only, **({"": unnamed[0]} if unnamed else {})}
        try:
            rows = self._read(content)
        except pa.ArrowInvalid as error:
            if "Empty CSV file" not in str(error):
                raise
            if lines := first_lines(self.path, self.how):
                problem = "complete line; is there a quote that is not closed?" if '"' in "".join(lines) else "rows."
                raise DataError(f"{self.name} has no {problem}") from None
            raise DataError(f"{self.name} is empty.") from None
        titles = rows.column_names
        self.names = name_columns(titles)
        self.n_rows = rows.num_rows
        # A column of text stays text, so that few segments differ.
        self.types = {
            name: pa.string() for name, kind in zip(self.names, rows.schema.types, strict=True) if kind == pa.string()
        }
        return rows if self.only is None else rows.rename_columns(self.names).select(list(self.only))

    def read(self, content: memoryview) -> pa.Table:
        """Read a further segment."""
        try:
            rows = self._read(content)
        except pa.ArrowInvalid as error:
            text = str(error)
            # Empty lines.
            if "Empty CSV file" in text:
                return pa.table({})
            before = self.how.skip_rows + 1 + self.n_rows
            raise pa.ArrowInvalid(re.sub(r"Row #(\d+)", lambda row: f"Row #{int(row[1]) + before}", text)) from None
        self.n_rows += rows.num_rows
        return rows

    def _read(self, content: memoryview) -> pa.Table:
        try:
            rows = self._parse(content)
        except pa.ArrowInvalid as error:
            if "invalid UTF8" not in str(error) or not self.types:
                raise
            # Without a given type, the column becomes binary, which is reported below.
            self.types = {}
            rows = self._parse(content)
        # "12:30" is neither a number nor a date.
        if times := [column.name for column in rows.schema if pa.types.is_time(column.type)]:
            self.types |= dict.fromkeys(times, pa.string())
            rows = self._parse(content)
        if binary := [column.name for column in rows.schema if pa.types.is_binary(column.type)]:
            raise DataError(wrong_encoding(self.name, self.how, f"column {binary[0]!r}"))
        return rows

    def _parse(self, content: memoryview, *, with_care: bool = False) -> pa.Table:
        is_first = not self.names
        types, columns = (self.types, ()) if is_first or self.only is None else (self.only, self.only)
        options = csv_options(self.how, self.kind, types, columns, with_care)
        options["read_options"].encoding = "utf-8"
        if not is_first:
            options["read_options"].column_names = self.names
            options["read_options"].skip_rows = 0
        try:
            rows = pa_csv.read_csv(pa.BufferReader(content), **options)
            # Decodes the header, which may raise UnicodeDecodeError.
            rows.column_names  # noqa: B018 - for its error
            return rows
        except pa.ArrowInvalid as error:
            if with_care or "Empty CSV file" in str(error):
                raise
        # Either a quoted line break is at the border of two blocks, or a row is wrong. With care, which
        # takes 50 % longer, the error contains the number of the row.
        return self._parse(content, with_care=True)
