"""Check a table against the declared and recorded columns, and report all problems at once."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from src.config.schema import Config
from src.data.columns import Columns
from src.data.kinds import Invalid, convert, describe_invalid, describe_rows
from src.data_load.infer import list_problems
from src.errors import DataError


def check_table(
    table: pd.DataFrame, columns: Columns, declared: Columns, recorded: Columns, config: Config
) -> pd.DataFrame:
    """Convert each column but the target to the dtype of its kind, and check all declared properties.

    Args:
        table: Raw rows with their target, shape (n_rows, n_columns).
        columns: All columns but the target.
        declared: Columns declared in `params.yaml`.
        recorded: Columns of an earlier version of the table; empty if there is none.
        config: All settings.

    Raises:
        DataError: Lists all problems, with numbers of rows and examples.
    """
    target_column = config.base.target_column
    problems = list(_compare_columns(table, declared, recorded, target_column))
    changed: dict[str, pd.Series] = {}
    for name in map(str, table.columns):
        known = declared.get(name) if name == target_column else columns[name]
        if known is None:
            continue
        column, invalid = convert(table[name], known)
        if invalid is not None:
            hint = ""
            if known["kind"] == "date" and not known.get("format"):
                hint = " (write dates as ISO 8601, such as 2024-01-31, or declare their format, such as %d.%m.%Y)"
            problems.append(f"column {name!r}: {describe_invalid(table[name], invalid, known['kind'])}{hint}")
        if name in declared:
            problems += _check_values(name, column, invalid, known)
        if name != target_column:
            changed[name] = column
    if problems:
        raise DataError(_report(problems, config.data_load.schema_path if recorded else None))
    return pd.DataFrame({name: changed.get(name, table[name]) for name in table.columns}, copy=False)


def _compare_columns(table: pd.DataFrame, declared: Columns, recorded: Columns, target_column: str) -> Iterator[str]:
    names = set(table.columns)
    for name in declared:
        if name not in names:
            yield f"column {name!r} is declared in data_load, but is not in the table"
    if not recorded:
        return
    for name in recorded:
        if name not in names and name not in declared:
            yield f"column {name!r} was in the table when the kinds were inferred, but is missing now"
    for name in table.columns:
        if name not in recorded and name not in declared and name != target_column:
            yield f"column {name!r} was not in the table when the kinds were inferred"


def _check_values(name: str, column: pd.Series, invalid: Invalid, declared: Mapping[str, Any]) -> Iterator[str]:
    missing = column.isna()
    violations: dict[str, pd.Series] = {}
    if declared.get("missing") is False:
        violations["missing"] = missing if invalid is None else missing & ~invalid
    if (lowest := declared.get("min")) is not None:
        violations[f"below min = {lowest}"] = column < lowest
    if (highest := declared.get("max")) is not None:
        violations[f"above max = {highest}"] = column > highest
    for key in ("values", "order"):
        if (allowed := declared.get(key)) is not None:
            converted = convert(pd.Series(list(allowed)), declared)[0].tolist()
            violations[f"not in {key} = {allowed}"] = ~(column.isin(converted) | missing)
    for what, rows in violations.items():
        if rows.any():
            yield f"column {name!r}: {describe_rows(column, rows, what)}"


def _report(problems: list[str], schema_path: Path | None) -> str:
    remedy = "fix the table, or declare the column in data_load.columns of params.yaml"
    if schema_path:
        remedy += f", or delete {schema_path}, which records the earlier version, to infer all kinds again"
    if len(problems) == 1:
        return f"{problems[0]}; {remedy}."
    return f"the table has {len(problems)} problems; {remedy}:{list_problems(problems)}"
