"""Read files whose values have types: Parquet, Arrow, JSON lines and Excel."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as pa_feather
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from src.config.data_load import TableFile
from src.data.files import open_parquet
from src.data.kinds import text_of
from src.data_load.text_files import BLOCK_BYTES, NO_TEXT, OLD_EXCEL, opener_of, reason_of
from src.errors import DataError
from src.text import message_of, one_line, show

logger = logging.getLogger(__name__)

PARQUET_SUFFIXES = (".parquet", ".pq")
ARROW_SUFFIXES = (".feather", ".arrow")
JSON_SUFFIXES = (".jsonl", ".ndjson")
STREAM = b"\xff\xff\xff\xff"
EXCEL_SUFFIXES = (".xlsx",)
TYPED_SUFFIXES = (*JSON_SUFFIXES, *PARQUET_SUFFIXES, *ARROW_SUFFIXES, *EXCEL_SUFFIXES)


def read_parquet(path: Path, marks: Sequence[str], name: str, batch_rows: int) -> Iterator[pa.Table]:
    """Yield the rows of a Parquet file, or of a folder of Parquet parts, in batches.

    Args:
        path: The file or folder.
        marks: Marks of a missing value.
        name: Name of the file in error messages.
        batch_rows: Maximum number of rows in a batch.

    Raises:
        DataError: The file is empty, or the parts do not match.
    """
    parts, common = check_parts(path, name) if path.is_dir() else ([path], None)
    for part in parts:
        _check_not_empty(part, name)
        with open_parquet(part) as file:
            schema = common or file.schema_arrow
            # The file may have no rows.
            yield schema.empty_table()
            for group in range(file.num_row_groups):
                # A batch that spans two row groups would be copied.
                size = min(batch_rows, max(1, file.metadata.row_group(group).num_rows))
                for batch in file.iter_batches(size, row_groups=[group]):
                    rows = pa.Table.from_batches([batch]).select(schema.names)
                    yield without_marks(_cast(rows, schema, part, name), marks)


def _cast(rows: pa.Table, schema: pa.Schema, part: Path, name: str) -> pa.Table:
    columns = []
    for column, field in zip(rows.columns, schema, strict=True):
        try:
            columns.append(column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"{name}: the types of its parts do not match: {part}: column {show(field.name)} cannot become "
                f"{field.type} ({reason_of(error)}); give it one type in all parts."
            ) from None
    return pa.table(columns, schema=schema)


def read_typed(path: Path, kind: str, how: TableFile, as_text: Collection[str], name: str) -> pa.Table:
    """Read an Arrow, JSON or Excel file.

    Args:
        path: The file.
        kind: Its suffix, without that of a compression.
        how: Its format.
        as_text: Columns whose texts stay texts even if they look like dates.
        name: Name of the file in error messages.

    Returns:
        The table, in which values listed in `how.na_values` are missing. A column of JSON or Excel whose values have
        several types is text.

    Raises:
        DataError: The file cannot be read.
    """
    _check_not_empty(path, name)
    if kind in ARROW_SUFFIXES:
        rows = _read_arrow(path, name)
    elif kind in JSON_SUFFIXES:
        rows = _read_json(path, as_text, name, how.na_values)
    else:
        rows = _read_excel(path, how, name)
    return without_marks(rows, how.na_values)


def without_marks(rows: pa.Table, marks: Sequence[str]) -> pa.Table:
    """Replace marks of a missing value, such as "?" in a text or -999 among numbers."""
    for at, column in enumerate(rows.columns if marks else ()):
        kind = _comparable(column.type)
        known = []
        for mark in marks:
            try:
                known.append(pa.scalar(mark).cast(kind).as_py())
            # No value of this type is written like the mark.
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                continue
        if known:
            values = column.cast(kind)
            found = pc.is_in(values, pa.array(known, kind))
            rows = rows.set_column(at, rows.field(at).with_type(kind), pc.if_else(found, pa.scalar(None, kind), values))
    return rows


def _comparable(kind: pa.DataType) -> pa.DataType:
    """Return the type in which pyarrow can compare values of a type."""
    if pa.types.is_dictionary(kind):
        return _comparable(kind.value_type)
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    others = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary(), pa.float16(): pa.float32()}
    return others.get(kind, kind)


def find_parts(folder: Path) -> list[Path]:
    """List the Parquet files of a folder by name, without hidden ones."""
    inside = ((path, path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(
        path
        for path, relative in inside
        if path.suffix in PARQUET_SUFFIXES and not any(part.startswith((".", "_")) for part in relative.parts)
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


def _check_not_empty(path: Path, name: str) -> None:
    if not path.stat().st_size:
        raise DataError(f"{name} is empty.")


def _read_arrow(path: Path, name: str) -> pa.Table:
    content = path.read_bytes()
    # https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format
    magic = next((mark for mark in (b"ARROW1", b"FEA1", STREAM) if content.startswith(mark)), None)
    if magic is None:
        raise DataError(f"{name} is no Arrow file.")
    if magic != STREAM and not content.endswith(magic):
        raise DataError(f"{name} is incomplete: it does not end as an Arrow file does; copy or write it again.")
    try:
        buffer = pa.BufferReader(content)
        rows = pa.ipc.open_stream(buffer).read_all() if magic == STREAM else pa_feather.read_table(buffer)
        # Damaged bytes could crash the process later.
        rows.validate(full=True)
    except (pa.ArrowException, MemoryError) as error:
        raise DataError(f"{name} cannot be read as an Arrow file: {reason_of(error)}.") from None
    return rows


def _read_json(path: Path, as_text: Collection[str], name: str, marks: Collection[str]) -> pa.Table:
    opener, _ = opener_of(path)
    content: Callable[[], Any] = partial(opener, path)
    try:
        rows = _parse_json(content)
    except pa.ArrowInvalid:
        # A line is wrong, or the values of a column have several types; pyarrow reports neither well.
        with content() as file:
            regular = _regular_json(file, name, marks)
        content = partial(io.BytesIO, regular)
        rows = _parse_json(content)
    if dates := [field.name for field in rows.schema if pa.types.is_timestamp(field.type) and field.name in as_text]:
        # pyarrow puts them first.
        rows = _parse_json(content, dates).select(rows.column_names)
    return rows


def _parse_json(content: Callable[[], Any], as_text: Iterable[str] = ()) -> pa.Table:
    schema = pa.schema([(column, pa.string()) for column in as_text])
    with content() as file:
        rows = pa_json.read_json(
            file,
            read_options=pa_json.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=pa_json.ParseOptions(explicit_schema=schema),
        )
    # pyarrow does not check UTF-8.
    rows.validate(full=True)
    return rows


def _regular_json(file: Any, name: str, marks: Collection[str]) -> bytes:
    """Return the lines of a file with values of one type in each column, after the marks are removed.

    Raises:
        DataError: A line is not a JSON object; contains its number.
    """
    records = list[dict[str, Any]]()
    for number, line in enumerate(io.BufferedReader(file), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=_unique_keys)
        except ValueError as error:
            if line.lstrip().startswith(b"["):
                raise DataError(f"{name}: line {number} begins a JSON array; write one object a line.") from None
            reason = one_line(error.msg if isinstance(error, json.JSONDecodeError) else str(error), 200)
            if isinstance(error, UnicodeError):
                reason = f"{reason}; JSON must be UTF-8"
            raise DataError(f"{name}: line {number} is not a JSON object: {reason}; write one object a line.") from None
        if not isinstance(record, dict):
            what = "array" if isinstance(record, list) else "single value"
            raise DataError(f"{name}: line {number} is a JSON {what}, not an object; write one object a line.")
        records.append(record)
    # Keys of a dictionary keep their order.
    for column in dict.fromkeys(key for record in records for key in record):
        values = [record.get(column) for record in records]
        for record, value in zip(records, regular(values, marks), strict=True):
            record[column] = value
    return "".join(f"{json.dumps(record)}\n" for record in records).encode()


def _unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key appears more than once")
    return record


def regular(values: Iterable[Any], marks: Collection[str]) -> list[Any]:
    """Return values of one type, which is text if there are several, or times of day; those in marks are missing."""
    kept = [None if isinstance(value, str) and value in marks else value for value in values]
    kinds = {float if type(value) is int else type(value) for value in kept} - {type(None)}
    if kinds & {list, dict}:
        # Still nested, so that the column is ignored.
        return [value if value is None else [json.dumps(value)] for value in kept]
    if len(kinds) < 2 and time not in kinds:
        return kept
    return [value if value is None else text_of(value) for value in kept]


def _read_excel(path: Path, how: TableFile, name: str) -> pa.Table:
    with open_workbook(path, name) as book:
        sheets = [str(sheet) for sheet in book.sheet_names]
        shown = ", ".join(map(show, sheets))
        sheet = how.sheet or sheets[0]
        if sheet not in sheets:
            raise DataError(f"{name} has no sheet {show(sheet)}; set data_load.source.sheet to one of {shown}.")
        if not how.sheet and len(sheets) > 1:
            logger.warning("%s: reading the first of its sheets %s; data_load.source.sheet is not set", name, shown)
        grid = read_cells(book, sheet, how.skip_rows)
    filled = grid != ""
    grid = grid.loc[filled.any(axis="columns"), filled.any(axis="index")]
    if grid.empty:
        others = f"; set data_load.source.sheet to one of {shown}" if len(sheets) > 1 else ""
        raise DataError(f"{name}: its sheet {show(sheet)} is empty{others}.")
    header, *rows = grid.itertuples(index=False, name=None)
    columns = [regular(values, how.missing) for values in zip(*rows, strict=True)] or [[] for _ in header]
    return pa.Table.from_arrays([pa.array(values) for values in columns], [text_of(cell) for cell in header])


@contextmanager
def open_workbook(path: Path, name: str) -> Iterator[pd.ExcelFile]:
    """Open an Excel workbook to read its cells.

    Raises:
        DataError: openpyxl is not installed, or the workbook cannot be read.
    """
    _check_not_empty(path, name)
    with path.open("rb") as file:
        begin = file.read(len(OLD_EXCEL))
    if begin == OLD_EXCEL:
        raise DataError(f"{name} is {NO_TEXT[OLD_EXCEL]}.")
    try:
        with warnings.catch_warnings():
            # openpyxl warns of formats and rules that do not change values.
            warnings.simplefilter("ignore", UserWarning)
            with pd.ExcelFile(path, engine="openpyxl") as book:
                yield book
    except ImportError:
        raise DataError(
            f"{name}: openpyxl, the extra `excel`, is not installed: run `.venv/bin/python -m pip install "
            "'openpyxl>=3.1.5,<4'`, or save the table as CSV."
        ) from None
    except (DataError, OSError):
        raise
    # A damaged workbook may raise anything.
    except Exception as error:
        reason = one_line(message_of(error), 200).rstrip(".")
        raise DataError(f"{name} is no Excel workbook, or a damaged one: {reason}.") from None


def read_cells(book: pd.ExcelFile, sheet: str, skip_rows: int = 0, n_rows: int | None = None) -> pd.DataFrame:
    """Read the cells of a sheet; one that is empty, or the error of a formula, is an empty text."""
    grid = pd.read_excel(
        book, sheet_name=sheet, header=None, skiprows=skip_rows, nrows=n_rows, dtype=object, na_filter=False
    )
    return grid.where(grid.notna(), "")
