"""Convert tables from pyarrow to pandas without a second copy in memory."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from src.data.kinds import check_unique_names

logger = logging.getLogger(__name__)

# A float cannot hold every larger integer.
EXACT = 2**53
NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}


@dataclass(frozen=True)
class Extent:
    """Facts that decide how to convert a column: missing values, and extremes of integers and whole decimals."""

    n_rows: int = 0
    n_missing: int = 0
    lowest: Any = None
    highest: Any = None

    @property
    def is_inexact(self) -> bool:
        """Whether the column holds integers that are too large for a float."""
        return self.highest is not None and (self.highest > EXACT or self.lowest < -EXACT)


@dataclass(frozen=True)
class Conversion:
    """How a column is converted to pandas.

    Attributes:
        kind: Type to which the column is cast in pyarrow.
        dtype: Dtype in pandas, if pyarrow would not choose it for every part of the table.
    """

    kind: pa.DataType
    dtype: Any = None


def to_table(rows: pa.Table, name: str) -> pd.DataFrame:
    """Convert a pyarrow table to a DataFrame; the memory of `rows` is freed.

    Decimals become floats, or integers if they are whole and large; times of day become text;
    a column without values becomes missing numbers; maps, and structs without fields, become lists of text, since
    pandas or Parquet cannot hold them. Integers with missing values become floats, or Int64
    and UInt64 if a float cannot hold them. A column without a name is called `column_<position>`.

    Args:
        rows: As read from a file.
        name: Name of the file in error messages.

    Raises:
        DataError: Two columns have the same name.
    """
    rows = regular_rows(rows, name)
    return to_frame(rows, [find_conversion(column.type, measure(column)) for column in rows.columns])


def regular_rows(rows: pa.Table, name: str, *, warn: bool = True) -> pa.Table:
    """Give each column a name, and turn maps and structs without fields into lists of text.

    Raises:
        DataError: Two columns have the same name.
    """
    names = name_columns(rows.column_names)
    if warn and (unnamed := sorted(set(names) - set(rows.column_names))):
        logger.warning("%s: columns without a name are called %s", name, ", ".join(unnamed))
    check_unique_names(pd.Index(names, dtype=object), f"{name}: ")
    rows = rows.rename_columns(names)
    for position, field in enumerate(rows.schema):
        if pa.types.is_nested(field.type) and re.search(r"map<|struct<>|union<", str(field.type)):
            texts = [None if value is None else [str(value)] for value in rows.column(position).to_pylist()]
            rows = rows.set_column(position, field.name, pa.array(texts, pa.list_(pa.string())))
    return rows


def name_columns(names: Iterable[str]) -> list[str]:
    """Call columns without a name `column_<position>`."""
    return [column or f"column_{position}" for position, column in enumerate(names, 1)]


def measure(column: pa.ChunkedArray, *, is_part: bool = False) -> Extent:
    """Find the extent of a column, or of one part of it; values may be missing in other parts."""
    kind, n_missing = column.type, column.null_count
    if pa.types.is_decimal(kind):
        has_extremes = kind.scale == 0 and kind.precision > 15
    else:
        has_extremes = kind in NULLABLE and (is_part or n_missing > 0)
    if not has_extremes or n_missing == len(column):
        return Extent(len(column), n_missing)
    # pyarrow finds no extremes of narrow decimals.
    is_narrow = pa.types.is_decimal(kind) and kind.precision <= 18
    extremes = pc.min_max(column.cast(pa.int64()) if is_narrow else column).as_py()
    return Extent(len(column), n_missing, extremes["min"], extremes["max"])


def merge_extents(parts: Sequence[Extent]) -> Extent:
    """Merge the extents of the parts of a column."""
    if len(parts) == 1:
        return parts[0]
    known = [part for part in parts if part.highest is not None]
    return Extent(
        sum(part.n_rows for part in parts),
        sum(part.n_missing for part in parts),
        min((part.lowest for part in known), default=None),
        max((part.highest for part in known), default=None),
    )


def find_conversion(kind: pa.DataType, extent: Extent) -> Conversion:
    """Find how to convert a column; the result is the same for all of its parts."""
    if pa.types.is_decimal(kind):
        kind = pa.int64() if kind.scale == 0 and _needs_integer(kind, extent) else pa.float64()
    elif pa.types.is_null(kind):
        kind = pa.float64()
    elif pa.types.is_time(kind):
        kind = pa.string()
    if not extent.n_missing:
        return Conversion(kind)
    if kind in NULLABLE and extent.is_inexact:
        return Conversion(kind, NULLABLE[kind])
    if pa.types.is_integer(kind):
        return Conversion(pa.float64())
    return Conversion(kind, object if pa.types.is_boolean(kind) else None)


def to_frame(rows: pa.Table, conversions: Sequence[Conversion]) -> pd.DataFrame:
    """Convert rows with unique column names; the memory of `rows` is freed.

    Args:
        rows: A table, or a part of one.
        conversions: One for each column.
    """
    names = rows.column_names
    schema = pa.schema([(name, conversion.kind) for name, conversion in zip(names, conversions, strict=True)])
    if schema.types != rows.schema.types:
        # A large integer becomes the nearest float, as if it had been read as a float.
        rows = rows.cast(schema, safe=False)
    # Converted separately, because otherwise they would become floats.
    large = {}
    for position, conversion in enumerate(conversions):
        if conversion.dtype in NULLABLE.values():
            large[names[position]] = rows.column(position).to_pandas(types_mapper=NULLABLE.get)
            rows = rows.set_column(position, names[position], pa.nulls(len(rows)))
    # Without pandas metadata, an index in a Parquet file stays as an ordinary column.
    table: pd.DataFrame = rows.to_pandas(
        ignore_metadata=True, split_blocks=True, self_destruct=True, date_as_object=False
    )
    for column, integers in large.items():
        table[column] = integers
    for name, conversion in zip(names, conversions, strict=True):
        if conversion.dtype is object and table[name].dtype != object:
            table[name] = table[name].astype(object)
    return table


def is_inexact(column: pd.Series) -> bool:
    """Return whether the column holds integers that are too large for a float, such as account numbers."""
    if column.dtype.kind not in "iu" or column.isna().all():
        return False
    return int(column.max()) > EXACT or int(column.min()) < -EXACT


def _needs_integer(kind: pa.DataType, extent: Extent) -> bool:
    """Return whether whole decimals may be too large for a float, but fit into 64 bits."""
    if kind.precision <= 15 or extent.n_missing == extent.n_rows:
        return False
    return kind.precision <= 18 or bool(-(2**63) <= extent.lowest <= extent.highest < 2**63)
