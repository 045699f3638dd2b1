"""A table held to the kinds of its columns and to what is declared of them: all faults in one report."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from src.config.schema import Config
from src.data.columns import Columns
from src.data.conform import N_EXAMPLES, describe_invalid
from src.data.kinds import TEXT_KINDS, convert, text_of
from src.errors import DataError

MAX_FAULTS = 20
MEANINGS = {"min": "below", "max": "above", "values": "none of", "order": "not in"}


def check_table(
    table: pd.DataFrame, columns: Columns, declared: Columns, recorded: Columns, config: Config
) -> pd.DataFrame:
    """Bring each column to its kind, and check all that is declared.

    Args:
        table: Raw rows with their target, shape (n_rows, n_columns); the target keeps its dtype.
        columns: What each column but the target is.
        declared: What `params.yaml` declares of columns.
        recorded: What an earlier version of the table had; empty if there was none.
        config: All settings; where the kinds are recorded, and the column to predict.

    Returns:
        The same rows and columns; dtypes as `src.data.kinds` tells.

    Raises:
        DataError: With every fault, each with the number of rows and examples.
    """
    target_column = config.base.target_column
    faults = list(_other_columns(table, declared, recorded, target_column))
    changed: dict[str, pd.Series] = {}
    for name in map(str, table.columns):
        known = declared.get(name) if name == target_column else columns[name]
        if known is None:
            continue
        column, wrong = convert(table[name], known)
        if wrong is not None:
            faults.append(f"column {name!r} {describe_invalid(table[name], wrong, known['kind'])}{_hint(known)}")
        if name in declared:
            faults += _check(name, column if wrong is None else column[~wrong], known)
        if name != target_column:
            changed[name] = column
    if faults:
        raise DataError(_report(faults, config.data_load.schema_path if recorded else None))
    # In the order of the table; the columns themselves are not copied.
    return pd.DataFrame({name: changed.get(name, table[name]) for name in table.columns}, copy=False)


def _other_columns(table: pd.DataFrame, declared: Columns, recorded: Columns, target_column: str) -> Iterator[str]:
    there = set(table.columns)
    for name in declared:
        if name not in there:
            yield f"column {name!r} is declared in data_load, and is not in the table"
    if not recorded:
        return
    for name in recorded:
        if name not in there and name not in declared:
            yield f"column {name!r} was in the table when the kinds were inferred, and is not now"
    for name in table.columns:
        if name not in recorded and name not in declared and name != target_column:
            yield f"column {name!r} was not in the table when the kinds were inferred"


def _hint(known: Mapping[str, Any]) -> str:
    if known["kind"] == "date" and "format" not in known:
        return " (a date is ISO 8601, as 2024-01-31, or declared with its format, as %d.%m.%Y)"
    return ""


def _check(name: str, column: pd.Series, declared: Mapping[str, Any]) -> Iterator[str]:
    """Check the values of one column of the right kind, by pandera."""
    limits = {key: declared[key] for key in ("min", "max", "values", "order") if declared.get(key) is not None}
    needs_values = declared.get("missing") is False
    if not limits and not needs_values:
        return
    # It takes a second to import, and only tables with declared limits need it.
    import pandera.pandas as pandera
    from pandera.errors import SchemaErrors

    check = pandera.Check
    checks, meanings = [], {"not_nullable": "missing"}
    for key, limit in limits.items():
        if key in ("min", "max"):
            checks.append((check.ge if key == "min" else check.le)(limit, error=key))
        else:
            checks.append(check.isin(_in_kind(limit, declared), error=key))
        meanings[key] = f"{MEANINGS[key]} {key} = {limit}"
    try:
        pandera.SeriesSchema(checks=checks, nullable=not needs_values).validate(column, lazy=True)
    except SchemaErrors as error:
        for key, cases in error.failure_cases.groupby("check", sort=False):
            rows = [f"row {index + 1}" for index in cases["index"].head(N_EXAMPLES)]
            if key != "not_nullable":
                values = (repr(value) for value in cases["failure_case"].head(N_EXAMPLES))
                rows = [f"{value} in {row}" for value, row in zip(values, rows, strict=True)]
            yield f"column {name!r}: {len(cases)} of {len(column)} values are {meanings[key]}, as {', '.join(rows)}"


def _in_kind(values: Iterable[Any], declared: Mapping[str, Any]) -> list[Any]:
    """Give allowed values as the column holds them."""
    if declared["kind"] in TEXT_KINDS:
        return [text_of(value) for value in values]
    return convert(pd.Series(list(values)), declared)[0].tolist()


def _report(faults: list[str], schema_path: Path | None) -> str:
    remedy = "mend the table, or declare the column in data_load.columns of params.yaml"
    if schema_path:
        remedy += f", or delete {schema_path}, to which this table was held, and all kinds are inferred anew"
    if len(faults) == 1:
        return f"{faults[0]}; {remedy}."
    more = [f"and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
    lines = "".join(f"\n  {fault}" for fault in [*faults[:MAX_FAULTS], *more])
    return f"the table has {len(faults)} faults; {remedy}:{lines}"
