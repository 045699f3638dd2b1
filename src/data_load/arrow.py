"""Convert tables from pyarrow to pandas without a second copy in memory."""

import logging
import re

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from src.data.kinds import check_unique_names

logger = logging.getLogger(__name__)

# A float cannot hold every larger integer.
EXACT = 2**53
NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}


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
    names = [column or f"column_{position}" for position, column in enumerate(rows.column_names, 1)]
    if unnamed := sorted(set(names) - set(rows.column_names)):
        logger.warning("%s: columns without a name are called %s", name, ", ".join(unnamed))
    check_unique_names(pd.Index(names, dtype=object), f"{name}: ")
    rows = rows.rename_columns(names)
    for position, field in enumerate(rows.schema):
        if pa.types.is_nested(field.type) and re.search(r"map<|struct<>|union<", str(field.type)):
            texts = [None if value is None else [str(value)] for value in rows.column(position).to_pylist()]
            rows = rows.set_column(position, field.name, pa.array(texts, pa.list_(pa.string())))
    schema = pa.schema([pa.field(name, _type_in_pandas(rows.column(at))) for at, name in enumerate(names)])
    if schema.types != rows.schema.types:
        rows = rows.cast(schema)
    # Converted separately, because otherwise they would become floats.
    large = {}
    for position in _large_with_missing(rows):
        large[names[position]] = rows.column(position).to_pandas(types_mapper=NULLABLE.get)
        rows = rows.set_column(position, names[position], pa.nulls(len(rows)))
    # Without pandas metadata, an index in a Parquet file stays as an ordinary column.
    table: pd.DataFrame = rows.to_pandas(
        ignore_metadata=True, split_blocks=True, self_destruct=True, date_as_object=False
    )
    for column, integers in large.items():
        table[column] = integers
    return table


def is_inexact(column: pd.Series) -> bool:
    """Return whether the column holds integers that are too large for a float, such as account numbers."""
    if column.dtype.kind not in "iu" or not len(column):
        return False
    return int(column.max()) > EXACT or int(column.min()) < -EXACT


def _large_with_missing(rows: pa.Table) -> list[int]:
    found = []
    for position, column in enumerate(rows.columns):
        if column.type in NULLABLE and 0 < column.null_count < len(column):
            extremes = pc.min_max(column).as_py()
            if extremes["max"] > EXACT or extremes["min"] < -EXACT:
                found.append(position)
    return found


def _type_in_pandas(column: pa.ChunkedArray) -> pa.DataType:
    kind = column.type
    if pa.types.is_decimal(kind):
        return pa.int64() if kind.scale == 0 and _needs_integer(column) else pa.float64()
    if pa.types.is_null(kind):
        return pa.float64()
    if pa.types.is_time(kind):
        return pa.string()
    return kind


def _needs_integer(column: pa.ChunkedArray) -> bool:
    """Return whether whole decimals may be too large for a float, but fit into 64 bits."""
    if column.type.precision <= 15 or column.null_count == len(column):
        return False
    if column.type.precision <= 18:
        return True
    extremes = pc.min_max(column).as_py()
    return bool(-(2**63) <= extremes["min"] <= extremes["max"] < 2**63)
