"""From pyarrow's types to those of pandas, once and without a second copy."""

import logging

import pandas as pd
import pyarrow as pa

from src.errors import DataError

logger = logging.getLogger(__name__)


def to_table(rows: pa.Table, name: str) -> pd.DataFrame:
    """Turn rows of pyarrow into a table of pandas; the rows are used up.

    Decimals become floats, times of day text, a column of no type one of missing numbers.
    A column without a name is called `column_<position>`.

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
    target = pa.schema([pa.field(field.name, _type_in_pandas(field.type)) for field in rows.schema])
    if target.types != rows.schema.types:
        rows = rows.cast(target)
    # The index that pandas noted in a Parquet file is an ordinary column here: nothing is lost.
    table: pd.DataFrame = rows.to_pandas(
        ignore_metadata=True, split_blocks=True, self_destruct=True, date_as_object=False
    )
    return table


def _type_in_pandas(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return pa.float64()
    if pa.types.is_time(kind):
        return pa.string()
    return kind


def is_inexact(column: pd.Series) -> bool:
    """Tell whether integers are too large for a float, as the numbers of accounts."""
    if column.dtype.kind not in "iu" or not len(column):
        return False
    return int(column.max()) > 2**53 or int(column.min()) < -(2**53)
