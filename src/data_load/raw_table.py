"""Rows of a source as read, divided into parts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa

from src.compute.engine import SCRATCH_DIR, scratch_folder
from src.data_load.arrow import Conversion, Extent, find_conversion, measure, merge_extents, regular_rows, to_frame
from src.errors import DataError
from src.text import message_of

Types = Mapping[str, pa.DataType]
# The first values of a column usually show its kind.
ROWS_PER_CHUNK = 2**18
# Yields the rows of a source: all columns, or some with their types.
Read = Callable[[Types | None], Iterable[pa.Table]]
NULL = pa.null()
# The type of a column of a CSV is the first one that suits all values. Times of day are read as text.
INFERRED = (
    *(pa.int64(), pa.bool_(), pa.date32(), pa.timestamp("s"), pa.timestamp("ns")),
    *(pa.timestamp("s", "UTC"), pa.timestamp("ns", "UTC"), pa.float64(), pa.string()),
)


@dataclass(frozen=True)
class RawPart:
    """Some rows of a raw table.

    Attributes:
        number: Its position, from 0.
        start: Number of rows in the parts before it.
        conversions: How its columns become those of a DataFrame; the same in all parts.
        rows: The rows, if the table has a single part.
        files: Otherwise, files with the rows; a column in a later file replaces that of an earlier file.
        complete: Column whose missing values make a row be left out.
    """

    number: int
    start: int
    n_rows: int
    conversions: Mapping[str, Conversion]
    rows: pd.DataFrame | None = None
    files: tuple[Path, ...] = ()
    complete: str | None = None

    def read(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read some columns, by default all."""
        if self.rows is not None:
            return self.rows if columns is None else self.rows[list(columns)]
        names = list(self.conversions if columns is None else columns)
        return self._convert(_read_files(self.files, self._with_complete(names), pa.OSFile), names)

    def chunks(self, column: str) -> Iterator[pd.Series]:
        """Yield the values of a column in chunks; of a file, only the chunks that are used are read."""
        if self.rows is not None:
            yield self.rows[column]
            return
        rows = _read_files(self.files, self._with_complete([column]), pa.memory_map)
        for start in range(0, rows.num_rows, ROWS_PER_CHUNK):
            yield self._convert(rows.slice(start, ROWS_PER_CHUNK), [column])[column]

    def _with_complete(self, columns: Sequence[str]) -> list[str]:
        return list(dict.fromkeys([*columns, *([self.complete] if self.complete else [])]))

    def _convert(self, rows: pa.Table, columns: list[str]) -> pd.DataFrame:
        table = to_frame(rows, [self.conversions[name] for name in rows.column_names])
        if self.complete:
            table = table[table[self.complete].notna()].reset_index(drop=True)
        return table[columns]

    def without_missing(self, column: str) -> "RawPart":
        """Leave out the rows in which a column is missing; `start` stays."""
        complete = self.read([column])[column].notna()
        n_rows = int(complete.sum())
        if n_rows == self.n_rows:
            return self
        if self.rows is None:
            return replace(self, n_rows=n_rows, complete=column)
        return replace(self, n_rows=n_rows, rows=self.rows[complete].reset_index(drop=True))


@dataclass(frozen=True)
class Chunks:
    """A column, in the order of the parts; each part gives one or more chunks."""

    parts: Sequence[RawPart]
    name: str

    def __iter__(self) -> Iterator[pd.Series]:
        for part in self.parts:
            yield from part.chunks(self.name)


class RawTable:
    """Rows of a source: in memory if there is a single part, else in temporary files.

    Attributes:
        columns: Names of the columns.
        kinds: Type of each column in pyarrow.
        parts: At least one.
    """

    def __init__(self, kinds: Types, parts: Sequence[RawPart], files: ExitStack) -> None:
        self.kinds, self.columns = kinds, list(kinds)
        self.parts = parts
        self._files = files

    def __enter__(self) -> "RawTable":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary files."""
        self._files.close()

    @property
    def is_divided(self) -> bool:
        """Whether there are several parts, which another process can read."""
        return len(self.parts) > 1

    @property
    def n_rows(self) -> int:
        """Number of rows in all parts."""
        return sum(part.n_rows for part in self.parts)

    def chunks(self, column: str) -> Chunks:
        """Return a column, one part after the other."""
        return Chunks(self.parts, column)

    def drop_missing(self, column: str) -> None:
        """Leave out the rows in which a column is missing."""
        start, parts = 0, []
        for part in self.parts:
            parts.append(replace(part.without_missing(column), start=start))
            start += parts[-1].n_rows
        self.parts = parts


@dataclass
class _Piece:
    """A part before the types of the whole table are known: a column may have several, from different segments."""

    n_rows: int
    kinds: list[set[pa.DataType]]
    extents: list[Extent]
    rows: pa.Table | None
    files: list[Path]


def divide(read: Read, name: str, rows_per_part: int, max_rows: int | None = None) -> RawTable:
    """Divide the rows of a source into parts, with one type for each column.

    Args:
        read: Reads the source; called again if the types of a column differ.
        name: Name of the source in error messages.
        max_rows: Number of rows to read, as a single part; by default all rows are read.

    Raises:
        DataError: There are no rows, two columns have the same name, or the disk is full.
    """
    if max_rows:
        read, rows_per_part = partial(_read_head, read, max_rows), max_rows
    spill = _Spill()
    try:
        pieces, names = list[_Piece](), list[str]()
        for tables, is_last in rebatch(_regular(read(None), name), rows_per_part):
            rows, kinds = _unite(tables)
            names = rows.column_names
            extents = [measure(column, is_part=not is_last or bool(pieces)) for column in rows.columns]
            piece = _Piece(rows.num_rows, kinds, extents, rows, [])
            pieces.append(piece)
            if not is_last or len(pieces) > 1:
                piece.files, piece.rows = [spill.write(rows, f"{len(pieces)}")], None
            # Freed before the next part is read.
            del rows
            tables.clear()
        final = _find_types(read, pieces, names)
        _replace_columns(read, pieces, final, rows_per_part, spill)
        return RawTable(final, _finish(pieces, final), spill.files)
    except BaseException:
        spill.files.close()
        raise


def divide_table(table: pd.DataFrame, name: str, rows_per_part: int) -> RawTable:
    """Divide a table in memory; see `divide`."""
    rows = pa.Table.from_pandas(table, preserve_index=False)
    return divide(lambda _: [rows], name, rows_per_part)


def rebatch(tables: Iterable[pa.Table], n_rows: int) -> Iterator[tuple[list[pa.Table], bool]]:
    """Yield lists of tables with `n_rows` rows in total, and whether a list is the last one, which may have fewer."""
    waiting, count = list[pa.Table](), 0
    for table in tables:
        start = 0
        while start < table.num_rows:
            if count == n_rows:
                yield waiting, False
                waiting, count = [], 0
            waiting.append(table.slice(start, n_rows - count))
            count += waiting[-1].num_rows
            start += waiting[-1].num_rows
    if waiting:
        yield waiting, True


def _read_head(read: Read, n_rows: int, only: Types | None) -> Iterator[pa.Table]:
    for table in read(only):
        yield table.slice(0, n_rows)
        n_rows -= table.num_rows
        if n_rows <= 0:
            return


def _regular(tables: Iterable[pa.Table], name: str) -> Iterator[pa.Table]:
    is_empty, has_columns = True, False
    for rows in tables:
        has_columns |= bool(rows.num_columns)
        if rows.num_rows:
            yield regular_rows(rows, name, warn=is_empty)
            is_empty = False
    if is_empty:
        raise DataError(f"{name} has no rows{' below its header' if has_columns else ''}.")


def _unite(tables: Sequence[pa.Table]) -> tuple[pa.Table, list[set[pa.DataType]]]:
    """Return tables as one, and the types of each column; a column without a common type is left empty."""
    first = tables[0].schema
    if all(table.schema.types == first.types for table in tables):
        return pa.concat_tables(tables), [{kind} for kind in first.types]
    kinds = [{table.schema.types[at] for table in tables} for at in range(len(first))]
    common = pa.schema([(name, _common(found) or pa.null()) for name, found in zip(first.names, kinds, strict=True)])
    united = []
    for table in tables:
        for at, found in enumerate(kinds):
            if _common(found) is None:
                table = table.set_column(at, first.names[at], pa.nulls(len(table)))
        # A large integer becomes the nearest float, as if it had been read as a float.
        united.append(table.cast(common, safe=False))
    return pa.concat_tables(united), kinds


def _common(kinds: set[pa.DataType]) -> pa.DataType | None:
    """Return the common type of values of several types; None if there is none."""
    known = kinds - {NULL} if NULL in kinds else kinds
    if len(known) > 1:
        return pa.float64() if known == {pa.int64(), pa.float64()} else None
    return next(iter(known), NULL)


def _find_types(read: Read, pieces: Sequence[_Piece], names: Sequence[str]) -> dict[str, pa.DataType]:
    final = {}
    for at, name in enumerate(names):
        kinds = pieces[0].kinds[at].union(*(piece.kinds[at] for piece in pieces[1:]))
        final[name] = _common(kinds) or _find_type(read, name, kinds)
    return final


def _find_type(read: Read, name: str, kinds: set[pa.DataType]) -> pa.DataType:
    """Find the first type that suits all values of a column, as pyarrow finds it for a whole file."""
    *others, text = INFERRED[max(map(INFERRED.index, kinds - {pa.null()})) :]
    for kind in others:
        try:
            for _ in read({name: kind}):
                pass
        except pa.ArrowInvalid:
            continue
        return kind
    return text


def _replace_columns(read: Read, pieces: Sequence[_Piece], final: Types, rows_per_part: int, spill: "_Spill") -> None:
    """Read columns again whose type in a piece differs from that in the table."""
    names = list(final)
    needed = [
        [name for name, kinds in zip(names, piece.kinds, strict=True) if _common({*kinds, final[name]}) != final[name]]
        for piece in pieces
    ]
    only = {name: final[name] for name in names if any(name in found for found in needed)}
    if not only:
        return
    n_pieces = max(at for at, found in enumerate(needed) if found) + 1
    for piece, (tables, _) in zip(pieces[:n_pieces], rebatch(read(only), rows_per_part), strict=False):
        rows = pa.concat_tables(tables)
        for name in only:
            piece.extents[names.index(name)] = measure(rows.column(name), is_part=True)
        if piece.rows is None:
            piece.files.append(spill.write(rows, f"{piece.files[0].stem}-replaced"))
            continue
        for name in only:
            piece.rows = piece.rows.set_column(names.index(name), name, rows.column(name))


def _finish(pieces: Sequence[_Piece], final: Types) -> list[RawPart]:
    conversions = {
        name: find_conversion(kind, merge_extents([piece.extents[at] for piece in pieces]))
        for at, (name, kind) in enumerate(final.items())
    }
    parts, start = list[RawPart](), 0
    for number, piece in enumerate(pieces):
        rows, piece.rows = piece.rows, None
        part = RawPart(number, start, piece.n_rows, conversions, files=tuple(piece.files))
        parts.append(part if rows is None else replace(part, rows=to_frame(rows, list(conversions.values()))))
        start += piece.n_rows
    return parts


class _Spill:
    """Temporary files, whose folder is made for the first one."""

    def __init__(self) -> None:
        self.files = ExitStack()
        self._folder: Path | None = None

    def write(self, rows: pa.Table, name: str) -> Path:
        try:
            if self._folder is None:
                self._folder = self.files.enter_context(scratch_folder())
            path = self._folder / f"{name}.arrow"
            # Chunks of a categorical column may have different categories.
            options = pa.ipc.IpcWriteOptions(unify_dictionaries=True)
            with pa.ipc.new_file(str(path), rows.schema, options=options) as file:
                file.write_table(rows)
        except OSError as error:
            raise DataError(f"cannot write temporary files to {SCRATCH_DIR}: {message_of(error)}.") from None
        return path


def _read_files(files: Sequence[Path], names: Sequence[str], opener: Callable[[str], pa.NativeFile]) -> pa.Table:
    columns, known = dict[str, pa.ChunkedArray](), set(names)
    for file in files:
        source = opener(str(file))
        found = [at for at, name in enumerate(pa.ipc.open_file(source).schema.names) if name in known]
        options = pa.ipc.IpcReadOptions(included_fields=found)
        rows = pa.ipc.open_file(source, options=options).read_all() if found else pa.table({})
        columns |= dict(zip(rows.column_names, rows.columns, strict=True))
    return pa.table([columns[name] for name in names], names=list(names))
