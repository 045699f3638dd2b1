"""Check a table against the declared and recorded columns, and report all problems at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from src.config.schema import Config
from src.data.columns import Columns
from src.data.kinds import PLURALS, Found, Invalid, convert, find_rows
from src.data_load.infer import list_problems
from src.errors import DataError

HINT_FOR_DATES = " (write dates as ISO 8601, such as 2024-01-31, or declare their format, such as %d.%m.%Y)"


@dataclass(frozen=True)
class Check:
    """Result of one check of a column, in a part of the table or in all of it.

    Attributes:
        column: Position of the column.
        number: Position of the check among those of its column.
        what: What the found values are, such as `below min = 0`.
        found: The values that fail the check.
        hint: What to do.
    """

    column: int
    number: int
    what: str
    found: Found
    hint: str = ""


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
    rows, checks = check_rows(table, columns, declared, config.base.target_column)
    report_problems([str(name) for name in table.columns], len(table), [checks], declared, recorded, config)
    return rows


def check_rows(
    rows: pd.DataFrame, columns: Columns, declared: Columns, target_column: str, offset: int = 0
) -> tuple[pd.DataFrame, list[Check]]:
    """Convert and check rows of a table.

    Args:
        offset: Number of rows of the table before these.

    Returns:
        The rows, and the checks that found something.
    """
    checks = list[Check]()
    changed: dict[str, pd.Series] = {}
    for position, name in enumerate(map(str, rows.columns)):
        known = declared.get(name) if name == target_column else columns[name]
        if known is None:
            continue
        column, invalid = convert(rows[name], known)
        if invalid is not None:
            hint = HINT_FOR_DATES if known["kind"] == "date" and not known.get("format") else ""
            what = f"not {PLURALS[known['kind']]}"
            checks.append(Check(position, 0, what, find_rows(rows[name], invalid, what, offset), hint))
        if name in declared:
            for number, (what, selected) in enumerate(_find_violations(column, invalid, known), 1):
                if selected.any():
                    checks.append(Check(position, number, what, find_rows(column, selected, what, offset)))
        if name != target_column:
            changed[name] = column
    return pd.DataFrame({name: changed.get(name, rows[name]) for name in rows.columns}, copy=False), checks


def report_problems(
    names: Sequence[str],
    n_rows: int,
    checks: Iterable[Sequence[Check]],
    declared: Columns,
    recorded: Columns,
    config: Config,
) -> None:
    """Raise an error that lists the problems of a table.

    Args:
        names: All columns of the table.
        n_rows: Rows of all parts.
        checks: What was found in each part, in order.

    Raises:
        DataError: There are problems.
    """
    problems = list(_compare_columns(names, declared, recorded, config.base.target_column))
    for check in _merge(checks):
        found = replace(check.found, n_rows=n_rows)
        problems.append(f"column {names[check.column]!r}: {found.describe(check.what)}{check.hint}")
    if problems:
        raise DataError(_report(problems, config.data_load.schema_path if recorded else None))


def _merge(parts: Iterable[Sequence[Check]]) -> list[Check]:
    merged: dict[tuple[int, int], Check] = {}
    for checks in parts:
        for check in checks:
            key = check.column, check.number
            known = merged.get(key)
            merged[key] = replace(check, found=known.found + check.found) if known else check
    return [merged[key] for key in sorted(merged)]


def _compare_columns(table: Sequence[str], declared: Columns, recorded: Columns, target_column: str) -> Iterator[str]:
    names = set(table)
    for name in declared:
        if name not in names:
            yield f"column {name!r} is declared in data_load, but is not in the table"
    if not recorded:
        return
    for name in recorded:
        if name not in names and name not in declared:
            yield f"column {name!r} was in the table when the kinds were inferred, but is missing now"
    for name in table:
        if name not in recorded and name not in declared and name != target_column:
            yield f"column {name!r} was not in the table when the kinds were inferred"


def _find_violations(
    column: pd.Series, invalid: Invalid, declared: Mapping[str, Any]
) -> Iterator[tuple[str, pd.Series]]:
    missing = column.isna()
    if declared.get("missing") is False:
        yield "missing", missing if invalid is None else missing & ~invalid
    # Values that are not numbers are reported as such, and cannot be compared.
    is_number = is_numeric_dtype(column)
    if is_number and (lowest := declared.get("min")) is not None:
        yield f"below min = {lowest}", column < lowest
    if is_number and (highest := declared.get("max")) is not None:
        yield f"above max = {highest}", column > highest
    for key in ("values", "order"):
        if (allowed := declared.get(key)) is not None:
            converted = convert(pd.Series(list(allowed)), declared)[0].tolist()
            yield f"not in {key} = {allowed}", ~(column.isin(converted) | missing)


def _report(problems: list[str], schema_path: Path | None) -> str:
    remedy = "fix the table, or declare the column in data_load.columns of params.yaml"
    if schema_path:
        remedy += f", or delete {schema_path}, which records the earlier version, to infer all kinds again"
    if len(problems) == 1:
        return f"{problems[0]}; {remedy}."
    return f"the table has {len(problems)} problems; {remedy}:{list_problems(problems)}"
