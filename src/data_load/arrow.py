"""From pyarrow's types to those of pandas, once and without a second copy."""

import logging

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from src.errors import DataError

logger = logging.getLogger(__name__)

# Beyond it not each integer is a float.
EXACT = 2**53
NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}


def to_table(rows: pa.Table, name: str) -> pd.DataFrame:
    """Turn rows of pyarrow into a table of pandas; the rows are used up.

    Decimals become floats, or integers if whole and large, times of day text, a column of
    no type one of missing numbers. Integers of which some are missing become floats, or
    Int64 and UInt64 where a float could not hold them. A column without a name is called
    `column_<position>`.

    Args:
        rows: As a file was read.
        name: What the errors call that file.

    Raises:
        DataError: Two columns have one name.
    """
    names = [column or f"column_{position}" for position, column in enumerate(rows.column_names, 1)]
    if unnamed := sorted(set(names) - set(rows.column_names)):
        logger.warning("%s: called the column without a name %s", name, ", ".join(unnamed))
    twice = (
        [column for column in dict.fromkeys(names) if names.count(column) > 1] if len(set(names)) < len(names) else []
    )
    if twice:
        raise DataError(f"{name}: column {', '.join(map(repr, twice))} is there more than once; name each column once.")
    rows = rows.rename_columns(names)
    target = pa.schema([pa.field(name, _type_in_pandas(rows.column(at))) for at, name in enumerate(names)])
    if target.types != rows.schema.types:
        rows = rows.cast(target)
    # Taken from the rows, or the floats would be made nevertheless.
    large = {}
    for position in _large_with_missing(rows):
        large[names[position]] = rows.column(position).to_pandas(types_mapper=NULLABLE.get)
        rows = rows.set_column(position, names[position], pa.nulls(len(rows)))
    # The index that pandas noted in a Parquet file is an ordinary column here: nothing is lost.
    table: pd.DataFrame = rows.to_pandas(
        ignore_metadata=True, split_blocks=True, self_destruct=True, date_as_object=False
    )
    for column, integers in large.items():
        table[column] = integers
    return table


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
        return pa.int64() if kind.scale == 0 and _is_better_as_integer(column) else pa.float64()
    if pa.types.is_null(kind):
        return pa.float64()
    if pa.types.is_time(kind):
        return pa.string()
    return kind


def _is_better_as_integer(column: pa.ChunkedArray) -> bool:
    """Tell whether whole decimals may be too large for a float, and fit into 64 bits."""
    if column.type.precision <= 15 or column.null_count == len(column):
        return False
    if column.type.precision <= 18:
        return True
    extremes = pc.min_max(column).as_py()
    return bool(-(2**63) <= extremes["min"] <= extremes["max"] < 2**63)


def is_inexact(column: pd.Series) -> bool:
    """Tell whether integers are too large for a float, as the numbers of accounts."""
    if column.dtype.kind not in "iu" or not len(column):
        return False
    return int(column.max()) > EXACT or int(column.min()) < -EXACT
