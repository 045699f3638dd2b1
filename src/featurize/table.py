"""Featurize one part of a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from src.config.schema import Base
from src.data.files import name_path
from src.data.kinds import convert_columns
from src.data.parts import Part, write_part
from src.data.target import check_target
from src.errors import FeatureError
from src.featurize.features import add_features


def featurize_part(
    part: Part,
    folder: Path,
    columns: Mapping[str, Mapping[str, Any]],
    features: Mapping[str, Mapping[str, Any]],
    base: Base,
    n_rows: int,
) -> int:
    """Write the raw columns, features and target of a part to a new part with the same number.

    Args:
        part: Part of the table of `data_load`.
        folder: Folder of the new parts.
        columns: Kind of each raw column.
        features: Declared features, see `prepare_rows`.
        n_rows: Number of rows of the table.

    Returns:
        Number of columns without the target.

    Raises:
        DataError: As `prepare_rows`, or a row has no target.
    """
    rows = part.read()
    check_target(rows, base.target_column, base.task, to_learn=False)
    target = rows.pop(base.target_column)
    types = part.types_of_objects(rows)
    try:
        featurized = add_features(convert_columns(rows, columns, part.start), features)
    except FeatureError as error:
        # Its row numbers count within the part.
        where = "" if part.n_rows == n_rows else f"{name_path(part.path)}: "
        raise FeatureError(f"{where}{error}") from None
    write_part(pd.concat([featurized, target], axis="columns"), folder, part.number, types)
    return featurized.shape[1]
