"""The table of the source and what its columns are; each is needed for the other."""

from typing import Any

import pandas as pd

from src.config.schema import Config
from src.data.columns import Columns, read_as_text
from src.data.kinds import holds_text
from src.data.target import prepare_target
from src.data_load.infer import infer_columns
from src.data_load.sources import load_source


def load_table(config: Config, known: Columns) -> tuple[pd.DataFrame, dict[str, dict[str, Any]], dict[str, str], int]:
    """Load the table as a later run will load it, which knows what its columns are.

    Args:
        config: All settings.
        known: What is declared or recorded of columns, and stands.

    Returns:
        The table, shape (n_rows, n_columns); what each column but the target is; what is to be
        known of its origin; the number of rows dropped since they lacked the target.

    Raises:
        DataError: It cannot be read, its target cannot be used, or a column is of two kinds.
    """
    table, origin, n_dropped = _load(config, known)
    columns = infer_columns(table.drop(columns=config.base.target_column), known)
    # Large integers are found to be names once they are numbers, and their zeros in front are gone.
    if not all(holds_text(table[name]) for name in set(read_as_text(columns)) - set(read_as_text(known))):
        table, origin, n_dropped = _load(config, {**known, **columns})
    return table, columns, origin, n_dropped


def _load(config: Config, known: Columns) -> tuple[pd.DataFrame, dict[str, str], int]:
    settings, target_column = config.data_load, config.base.target_column
    table, origin = load_source(settings, target_column, read_as_text(known))
    table, n_dropped = prepare_target(table, target_column, config.base.task, settings.missing_target)
    return table, origin, n_dropped
