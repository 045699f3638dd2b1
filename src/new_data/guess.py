"""What a table seems to be: its target, task and kinds of columns, each with the reason."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from src.config.data_load import FileSource
from src.config.train import Task
from src.data.kinds import convert, holds_text
from src.data_load.infer import MANY_LEVELS, MOSTLY, infer_kind
from src.data_load.read_file import read_file
from src.errors import DataError
from src.new_data.sniff import sniff_text

TARGET_NAMES = ("target", "label", "class", "y", "outcome", "species", "diagnosis", "churn", "survived", "default")
NA_MARKS = ("?", "-", "--", ".", "*", "n/a", "N/a", "none given", "missing", "unknown", "-999", "#")
# Of days and months nobody can tell which comes first, until a day is above 12.
DATE_FORMATS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y", "%b %d, %Y")
MAX_CLASSES = 20
MIN_ROWS_A_CLASS = 10


@dataclass
class Guess:
    """What a table seems to be.

    Attributes:
        n_rows: Rows.
        target: Column to predict, and why.
        task: Task, and why.
        columns: For each other column what to declare, and why.
        source: Settings of `data_load.source` that are not the default, and why.
        n_without_target: Rows that lack the target.
        remarks: What the user had better look at.
    """

    n_rows: int
    target: tuple[str, str]
    task: tuple[Task, str]
    columns: dict[str, tuple[dict[str, Any], str]]
    source: dict[str, tuple[Any, str]]
    n_without_target: int
    remarks: list[str] = field(default_factory=list)


def guess_table(path: Path, target_column: str | None = None) -> Guess:
    """Read a table and guess what it is.

    Args:
        path: CSV, Parquet or a folder of Parquet parts.
        target_column: Column to predict, if it is known.

    Raises:
        DataError: The file cannot be read, or has no such column, or only one.
    """
    settings, why, codes = sniff_text(path)
    table = read_file(path, FileSource.model_validate({"kind": "file", **settings}))
    marks = _na_marks(table)
    if marks:
        settings["na_values"], why["na_values"] = marks, f"{', '.join(map(repr, marks))} among numbers"
        table = read_file(path, FileSource.model_validate({"kind": "file", **settings}))
    if table.shape[1] < 2:
        raise DataError(f"{path} has one column only, {table.columns[0]!r}; is data_load.source.separator another?")
    target = _guess_target(table, target_column)
    task, reason = _guess_task(table[target[0]])
    columns = {name: _guess_column(table[name], name in codes) for name in table.columns if name != target[0]}
    guess = Guess(
        n_rows=len(table),
        target=target,
        task=(task, reason),
        columns=columns,
        source={name: (value, why[name]) for name, value in settings.items()},
        n_without_target=int(table[target[0]].isna().sum()),
    )
    if task == "classification":
        counts = table[target[0]].value_counts()
        if len(rare := counts[counts < MIN_ROWS_A_CLASS]):
            guess.remarks.append(f"{len(rare)} classes have fewer than {MIN_ROWS_A_CLASS} rows, as {rare.index[0]!r}")
    # A row without a date is neither before nor after others: the split refuses it.
    dates = [
        name for name, (declared, _) in columns.items() if declared["kind"] == "date" and table[name].notna().all()
    ]
    if dates:
        guess.remarks.append(
            f"will the model predict the future? then data_split.split: {{kind: time, column: {dates[0]}}}"
        )
    return guess


def _guess_target(table: pd.DataFrame, target_column: str | None) -> tuple[str, str]:
    if target_column is not None:
        if target_column not in table.columns:
            raise DataError(f"TARGET = {target_column!r} is not in the table; it has {', '.join(table.columns[:20])}.")
        return target_column, "as you said"
    for known in TARGET_NAMES:
        for name in table.columns:
            if name.lower() == known:
                return name, "it is named like a target"
    return table.columns[-1], "it is the last column; TARGET=… names another"


def _guess_task(target: pd.Series) -> tuple[Task, str]:
    present = target.dropna()
    n_levels = present.nunique()
    if is_bool_dtype(target) or not is_numeric_dtype(target):
        return "classification", f"{n_levels} different {'booleans' if is_bool_dtype(target) else 'texts'}"
    whole = bool((present % 1 == 0).all())
    if whole and n_levels <= MAX_CLASSES and len(present) >= n_levels * MIN_ROWS_A_CLASS:
        return "classification", f"only {n_levels} different whole numbers"
    return "regression", f"{n_levels} different numbers"


def _guess_column(column: pd.Series, has_codes: bool) -> tuple[dict[str, Any], str]:
    name, present = str(column.name), column.dropna()
    missing = f", {_share(len(column) - len(present), len(column))} missing" if len(present) < len(column) else ""
    if not len(present):
        return {"kind": "ignore"}, "no value at all"
    n_levels = present.nunique() if not holds_text(column) or present.map(type).nunique() == 1 else 0
    if re.fullmatch(r"column_\d+|(.*[_ ])?(id|uuid|index|rownames|rownum)", name.lower()) and n_levels == len(column):
        return {"kind": "ignore"}, "a different value in each row, and a name like an identifier's"
    if has_codes and is_numeric_dtype(column):
        kind = "category" if n_levels <= MANY_LEVELS else "high_cardinality"
        return {"kind": kind}, f"codes with zeros in front{missing}"
    if holds_text(column) and (found := _date_format(present)):
        return {"kind": "date", "format": found[0]}, found[1] + missing
    try:
        kind = infer_kind(column, name)
    except DataError:
        return {"kind": "high_cardinality"}, f"numbers and text in one column: look at it{missing}"
    if kind == "number":
        return {"kind": kind}, f"{present.min():g} to {present.max():g}{missing}"
    if kind == "date":
        return {"kind": kind}, f"{present.min():%Y-%m-%d} to {present.max():%Y-%m-%d}{missing}"
    if kind in ("category", "high_cardinality"):
        examples = ", ".join(str(level)[:20] for level in present.drop_duplicates().head(3))
        return {"kind": kind}, f"{n_levels} levels, as {examples}{missing}"
    return {"kind": kind}, f"{n_levels} values of type {column.dtype}{missing}"


def _share(n: int, total: int) -> str:
    """Tell a part of all rows in percent, or by number where that would round to none or all."""
    percent = f"{n / total:.0%}"
    return f"{n} of {total}" if percent in ("0%", "100%") else percent


def _date_format(present: pd.Series) -> tuple[str, str] | None:
    sample = present.drop_duplicates().head(1000)
    fitting = [form for form in DATE_FORMATS if convert(sample, {"kind": "date", "format": form})[1] is None]
    if not fitting:
        return None
    doubt = f"; or is it {fitting[1]}?" if len(fitting) > 1 else ""
    return fitting[0], f"dates, as {sample.iloc[0]}{doubt}"


def _na_marks(table: pd.DataFrame) -> list[str]:
    """List the marks that stand among numbers in place of one."""
    marks: set[str] = set()
    for name in table.columns:
        if not holds_text(table[name]) or table[name].isna().all():
            continue
        levels = table[name].dropna().drop_duplicates()
        _, wrong = convert(levels, {"kind": "number"})
        if wrong is not None and wrong.sum() < len(levels) * (1 - MOSTLY) + 1 and len(levels) > 2:
            odd = set(levels[wrong])
            marks |= odd if odd <= set(NA_MARKS) else set()
    return sorted(marks)
