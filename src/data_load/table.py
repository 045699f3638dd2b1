"""Convert one part of a table and check it."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pandas.api.types import is_object_dtype

from src.data.columns import Columns
from src.data.parts import write_part
from src.data.target import Target
from src.data_load.arrow import Conversion
from src.data_load.raw_table import RawPart
from src.data_load.validate import Check, check_rows


def convert_part(
    part: RawPart, folder: Path, columns: Columns, declared: Columns, target_column: str, target: Target
) -> list[Check]:
    """Write the rows of a part with the dtypes of their kinds, unless a check finds wrong values.

    Args:
        part: Part of the raw table.
        folder: Folder of the new parts.
        columns: Kinds of all columns but the target.
        declared: Columns declared in `params.yaml`.
        target: How to convert the target.

    Returns:
        The checks that found wrong values.
    """
    rows = part.read()
    raw = rows[target_column]
    converted = target.convert(raw)
    if converted is not raw:
        rows = rows.assign(**{target_column: converted})
    rows, checks = check_rows(rows, columns, declared, target_column, part.start)
    if not checks:
        # A part may suggest another type than the table, for example if all its lists are empty.
        objects = {} if part.rows is not None else _find_objects(rows, part.conversions)
        rows = rows.astype(dict.fromkeys(objects, object))
        write_part(rows, folder, part.number, objects)
    return checks


def _find_objects(rows: pd.DataFrame, conversions: Mapping[str, Conversion]) -> dict[str, pa.DataType]:
    """Find the types of ignored columns that hold objects or categories."""
    found = {}
    for name, dtype in rows.dtypes.items():
        kind = conversions[str(name)].kind
        if is_object_dtype(dtype) or isinstance(dtype, pd.CategoricalDtype):
            found[str(name)] = kind.value_type if pa.types.is_dictionary(kind) else kind
    return found
