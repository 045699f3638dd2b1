"""Guess the target, the task and the kinds of the columns of a table, each with the reason."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from src.config.data_load import FileSource
from src.config.train import Task
from src.data.kinds import convert, holds_text
from src.data_load.infer import MANY_LEVELS, MOSTLY, holds_objects, infer_kind
from src.data_load.read_file import read_file
from src.errors import DataError
from src.new_data.sniff import sniff_text
from src.text import show

TARGET_NAMES = ("target", "label", "class", "y", "outcome", "species", "diagnosis", "churn", "survived", "default")
NA_MARKS = ("?", "-", "--", ".", "*", "n/a", "N/a", "none given", "missing", "unknown", "-999", "#")
# If several formats fit all dates, the first one is used and the second is mentioned.
DATE_FORMATS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y", "%b %d, %Y")
MAX_CLASSES = 20
MIN_ROWS_PER_CLASS = 10


@dataclass
class Guess:
    """Guessed settings, each with the reason.

    Attributes:
        target: Column to predict.
        columns: Declaration of each other column.
        source: Settings of `data_load.source` that are not the default.
        n_missing_targets: Number of rows without a target.
        notes: What the user should check.
    """

    n_rows: int
    target: tuple[str, str]
    task: tuple[Task, str]
    columns: dict[str, tuple[dict[str, Any], str]]
    source: dict[str, tuple[Any, str]]
    n_missing_targets: int
    notes: list[str]


def guess_table(path: Path, target_column: str | None = None) -> Guess:
    """Read a table and guess its settings, including the target column unless it is given.

    Raises:
        DataError: The file cannot be read, has a single column, or does not have the target column.
    """
    source, codes = sniff_text(path)
    table = _read(path, source)
    if marks := _find_na_marks(table):
        source["na_values"] = (marks, f"{', '.join(map(repr, marks))} among numbers")
        table = _read(path, source)
    if table.shape[1] < 2:
        name = str(table.columns[0])
        advice = "check data_load.source.separator"
        if "  " in name.strip():
            advice = "if several blanks are between its fields, save it as CSV"
        raise DataError(f"{path} has a single column, {show(name)}; {advice}.")
    target = _guess_target(table, target_column)
    _check_target(table[target[0]])
    task = _guess_task(table[target[0]])
    columns = {name: _guess_column(table[name], name in codes) for name in table.columns if name != target[0]}
    notes = []
    if task[0] == "classification":
        counts = table[target[0]].value_counts()
        if len(rare := counts[counts < MIN_ROWS_PER_CLASS]):
            notes.append(
                f"{len(rare)} of {len(counts)} classes have fewer than {MIN_ROWS_PER_CLASS} rows: {rare.index[0]!r}, …"
            )
    # A split by time refuses rows without a date.
    dates = [name for name, (column, _) in columns.items() if column["kind"] == "date" and table[name].notna().all()]
    if dates:
        notes.append(f"to predict the future, set data_split.split: {{kind: time, column: {dates[0]}}}")
    n_missing_targets = int(table[target[0]].isna().sum())
    return Guess(len(table), target, task, columns, source, n_missing_targets, notes)


def _read(path: Path, source: dict[str, tuple[Any, str]]) -> pd.DataFrame:
    settings = {name: value for name, (value, _) in source.items()}
    return read_file(path, FileSource.model_validate({"kind": "file", **settings}))


def _find_na_marks(table: pd.DataFrame) -> list[str]:
    """List the marks of missing values in columns that otherwise contain numbers."""
    marks: set[str] = set()
    for name in table.columns:
        if not holds_text(table[name]) or table[name].isna().all() or holds_objects(table[name]):
            continue
        levels = table[name].dropna().drop_duplicates()
        _, wrong = convert(levels, {"kind": "number"})
        if wrong is not None and wrong.sum() < len(levels) * (1 - MOSTLY) + 1 and len(levels) > 2:
            found = set(levels[wrong])
            marks |= found if found <= set(NA_MARKS) else set()
    return sorted(marks)


def _guess_target(table: pd.DataFrame, target_column: str | None) -> tuple[str, str]:
    if target_column is not None:
        if target_column not in table.columns:
            raise DataError(f"TARGET = {target_column!r} is not in the table; it has {', '.join(table.columns[:20])}.")
        return target_column, "given as TARGET"
    names = [name for name in table.columns if table[name].notna().any()] or list(table.columns)
    for known in TARGET_NAMES:
        for name in names:
            if name.lower() == known:
                return name, "its name is typical of a target"
    return names[-1], "the last column; set another with TARGET=…"


def _check_target(target: pd.Series) -> None:
    if len(target) and target.isna().all():
        raise DataError(f"the target {target.name!r} has no values; set another with TARGET=….")
    if holds_objects(target):
        raise DataError(f"the target {target.name!r} holds lists or other objects; set another with TARGET=….")


def _guess_task(target: pd.Series) -> tuple[Task, str]:
    present = target.dropna()
    n_levels = present.nunique()
    if is_bool_dtype(target) or not is_numeric_dtype(target):
        return "classification", f"{n_levels} different {'booleans' if is_bool_dtype(target) else 'texts'}"
    is_whole = bool((present % 1 == 0).all())
    if is_whole and n_levels <= MAX_CLASSES and len(present) >= n_levels * MIN_ROWS_PER_CLASS:
        return "classification", f"only {n_levels} different whole numbers"
    return "regression", f"{n_levels} different numbers"


def _guess_column(column: pd.Series, has_codes: bool) -> tuple[dict[str, Any], str]:
    name, present = str(column.name), column.dropna()
    if not len(present):
        return {"kind": "ignore"}, "no values"
    if holds_objects(column):
        return {"kind": "ignore"}, "lists or other objects, which cannot be features"
    n_missing = len(column) - len(present)
    missing = f", {n_missing} of {len(column)} missing" if n_missing else ""
    n_levels = present.nunique() if not holds_text(column) or present.map(type).nunique() == 1 else 0
    if re.fullmatch(r"column_\d+|(.*[_ ])?(id|uuid|index|rownames|rownum)", name.lower()) and n_levels == len(column):
        return {"kind": "ignore"}, "an identifier by its name, different in each row"
    if has_codes and is_numeric_dtype(column):
        kind = "category" if n_levels <= MANY_LEVELS else "high_cardinality"
        return {"kind": kind}, f"codes with leading zeros{missing}"
    if holds_text(column) and (formats := _date_formats(present)):
        doubt = f"; or {formats[1]}?" if len(formats) > 1 else ""
        return {"kind": "date", "format": formats[0]}, f"dates such as {present.iloc[0]}{doubt}{missing}"
    try:
        kind = infer_kind(column, name)
    except DataError:
        return {"kind": "high_cardinality"}, f"numbers mixed with text, please check{missing}"
    if kind == "number":
        return {"kind": kind}, f"{present.min():g} to {present.max():g}{missing}"
    if kind == "date":
        # strftime does not support all years.
        first, last = (str(date).partition(" ")[0] for date in (present.min(), present.max()))
        return {"kind": kind}, f"{first} to {last}{missing}"
    if kind in ("category", "high_cardinality"):
        examples = ", ".join(str(level)[:20] for level in present.drop_duplicates().head(3))
        return {"kind": kind}, f"{n_levels} levels such as {examples}{missing}"
    return {"kind": kind}, f"{n_levels} values of type {column.dtype}{missing}"


def _date_formats(present: pd.Series) -> list[str]:
    """List the formats that fit the first 1000 different values."""
    sample = present.drop_duplicates().head(1000)
    return [form for form in DATE_FORMATS if convert(sample, {"kind": "date", "format": form})[1] is None]
