"""Guess the settings for a table: target, task, columns, split and scoring, each with the reason."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from pydantic import TypeAdapter

from src.compute.engine import Engine
from src.config.data_load import FileSource
from src.config.data_split import DataSplit, Split
from src.config.schema import Base
from src.config.train import Task
from src.data.kinds import convert, holds_text
from src.data.parts import Part
from src.data.target import prepare_target
from src.data_load.infer import MANY_LEVELS, holds_objects
from src.data_load.number_format import MOSTLY, find_number_format, has_digits
from src.data_load.read_file import read_file
from src.data_split.leaks import find_suspects
from src.data_split.split import plan_split
from src.errors import DataError
from src.new_data.guess_columns import ColumnGuess, can_be_target, guess_column
from src.new_data.sniff import sniff_file
from src.text import one_line, show

TARGET_NAMES = ("target", "label", "class", "y", "outcome", "species", "diagnosis", "churn", "survived", "default")
# Marks of missing values, in lower case.
NA_MARKS = (
    "?", "-", "--", "---", "\u2013", "\u2014", ".", "..", "...", "*", "/", "n/a", "na", "n.a.", "nan", "null",
    "nil", "none", "none given", "not available", "missing", "unknown", "not known", "-999", "#", "#n/a", "k.a.",
    "k. a.", "keine angabe", "unbekannt", "fehlt", "n.v.", "n. v.", "s/o", "s.o.", "nd", "n.d.", "n/d", "inconnu",
    "tbd",
)  # fmt: skip
MAX_CLASSES = 20
MIN_ROWS_PER_CLASS = 10
# Enough for a guess; a larger table may not fit into memory.
MAX_ROWS = 500_000
# More would take longer than reading the table.
MAX_CHECKED_ROWS, MAX_CHECKED_COLUMNS = 100_000, 300
# A rarer class is hardly visible in the area under the ROC curve.
RARE = 0.05


@dataclass
class Guess:
    """Guessed settings, each with the reason.

    Attributes:
        target: Column to predict.
        declared_target: Its declaration, if it needs one.
        columns: Guess for each other column.
        source: Settings of `data_load.source` that are not the default.
        split: Setting `data_split.split`.
        positive: Positive class of two; None for other targets.
        n_missing_targets: Number of rows without a target.
        is_sample: Whether the table has more rows than `n_rows`.
        notes: What the user should check.
    """

    n_rows: int
    target: tuple[str, str]
    task: tuple[Task, str]
    columns: dict[str, ColumnGuess]
    source: dict[str, tuple[Any, str]]
    declared_target: dict[str, Any] = field(default_factory=dict)
    split: tuple[dict[str, Any], str] = ({}, "")
    scoring: tuple[str, str] = ("", "")
    positive: Any = None
    n_missing_targets: int = 0
    is_sample: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Rows(Part):
    """A part that is in memory."""

    table: pd.DataFrame

    def read(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows."""
        return self.table if columns is None else self.table[[name for name in self.table if name in columns]]


def guess_table(path: Path, target_column: str | None = None) -> Guess:
    """Read the first rows of a table and guess its settings, including the target column unless it is given.

    Raises:
        DataError: The file cannot be read, has a single column, or does not have the target column.
    """
    source, codes = sniff_file(path)
    table, is_sample = _read(path, source)
    decimal = source.get("decimal", (".", ""))[0]
    if marks := _find_na_marks(table, decimal):
        source["na_values"] = (marks, f"{', '.join(map(repr, marks))} among other values")
        table, _ = _read(path, source)
    if table.shape[1] < 2:
        name = str(table.columns[0])
        raise DataError(f"{path} has a single column, {show(name)}; check data_load.source.separator.")
    name, why = _guess_target(table, target_column)
    _check_target(table[name])
    columns = {
        column: guess_column(table[column], decimal, has_codes=column in codes)
        for column in table.columns
        if column != name
    }
    guess = Guess(len(table), (name, why), _guess_task(table[name]), columns, source, is_sample=is_sample)
    guess.n_missing_targets = int(table[name].isna().sum())
    target = _guess_format_of_target(table[name], decimal, guess)
    guess.split = _guess_split(table, target, guess)
    guess.scoring = _guess_scoring(target, guess)
    guess.notes += [f"column {show(name, 30)}: {column.problem}" for name, column in columns.items() if column.problem]
    guess.notes += _find_suspects(table, target, guess)
    return guess


def _guess_format_of_target(raw: pd.Series, decimal: str, guess: Guess) -> pd.Series:
    """Declare a target that is text but no label, and return the target as the pipeline converts it."""
    if holds_text(raw):
        found = guess_column(raw, decimal)
        if found.declared["kind"] == "number":
            guess.task = ("regression", found.why)
            guess.declared_target = found.declared if len(found.declared) > 1 else {}
            if found.doubt:
                guess.notes.append(f"target {raw.name!r}: {found.doubt.describe(str(raw.name))}")
        elif found.declared["kind"] == "boolean" and raw.nunique() > 2:
            guess.declared_target = {"kind": "boolean"}
            guess.task = ("classification", f"booleans such as {found.why}")
    name, task = guess.target[0], guess.task[0]
    known = raw.dropna().reset_index(drop=True)
    table, _ = prepare_target(known.to_frame(), name, task, "error", guess.declared_target)
    return table[name].set_axis(raw.dropna().index)


def _read(path: Path, source: dict[str, tuple[Any, str]]) -> tuple[pd.DataFrame, bool]:
    """Read the first rows, and return whether there are more."""
    settings = {name: value for name, (value, _) in source.items()}
    how = FileSource.model_validate({"kind": "file", **settings})
    table = read_file(path, how, max_rows=MAX_ROWS + 1)
    return table.head(MAX_ROWS), len(table) > MAX_ROWS


def _find_na_marks(table: pd.DataFrame, decimal: str) -> list[str]:
    """List the marks of missing values in columns that otherwise contain numbers, dates or booleans."""
    marks: set[str] = set()
    others: set[str] = set()
    for name in table.columns:
        if not holds_text(table[name]) or holds_objects(table[name]):
            continue
        levels = pd.Series(table[name].dropna().unique())
        if not levels.map(lambda level: isinstance(level, str)).all():
            continue
        found = _marks_among(levels, decimal)
        marks |= found
        if not found and len(levels) <= MANY_LEVELS:
            others |= set(levels)
    # They would become missing in all columns. A word, such as `none`, may be a level of another column.
    return sorted(mark for mark in marks if mark not in others or not any(map(str.isalpha, mark)))


def _marks_among(levels: pd.Series, decimal: str) -> set[str]:
    if len(levels) <= 2:
        return set()
    is_mark = levels.str.strip().str.lower().isin(NA_MARKS)
    if has_digits(levels) and (found := find_number_format(levels, decimal)) is not None:
        words = set(found.others)
        if words <= set(levels[is_mark]):
            return words
        # One or two words among many numbers mean missing values, too.
        are_few = len(words) <= min(2, (1 - MOSTLY) * len(levels))
        return words if are_few and not has_digits(pd.Series(list(words), dtype=str)) else set()
    if is_mark.any() and guess_column(levels[~is_mark].rename("levels"), decimal).declared["kind"] in (
        "date",
        "boolean",
    ):
        return set(levels[is_mark])
    return set()


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
    last = next((name for name in reversed(names) if can_be_target(table[name])), names[-1])
    return last, "the last column that can be one; set another with TARGET=…"


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
    # Counts, such as goals, have rare large values.
    n_rarest = present.value_counts().iloc[-1]
    if is_whole and n_levels <= MAX_CLASSES and (n_levels == 2 or n_rarest >= MIN_ROWS_PER_CLASS):
        return "classification", f"only {n_levels} different whole numbers"
    return "regression", f"{n_levels} different numbers"


def _guess_split(table: pd.DataFrame, target: pd.Series, guess: Guess) -> tuple[dict[str, Any], str]:
    """Guess how to split, and check that the table can be split so."""
    task = guess.task[0]
    simple = ({"kind": "stratified"}, "at random, with the same share of each class")
    if task == "regression":
        simple = ({"kind": "random"}, "at random")
    for name, column in guess.columns.items():
        split = None
        if column.is_group:
            split = ({"kind": "group", "column": name}, f"the rows of one {name} stay together")
        elif column.declared["kind"] == "date" and table[name].notna().all():
            if _is_time_series(table[name], column.declared):
                split = ({"kind": "time", "column": name}, "the rows are in order of time: the newest ones are tested")
            else:
                guess.notes.append(f"to predict the future, set data_split.split: {{kind: time, column: {name}}}")
        if split and (problem := _try_split(table[name], column, target, guess, split[0])):
            guess.notes.append(f"a split by {name} is not possible: {problem}")
        elif split:
            return split
    if problem := _try_split(target, ColumnGuess({"kind": "category"}, ""), target, guess, simple[0]):
        guess.notes.append(f"the {simple[0]['kind']} split is not possible: {one_line(problem, 200)}")
    return simple


def _find_suspects(table: pd.DataFrame, target: pd.Series, guess: Guess) -> list[str]:
    """Describe columns that may contain the target; stage data_split checks larger tables."""
    used = {name: column for name, column in guess.columns.items() if column.declared["kind"] != "ignore"}
    if len(table) > MAX_CHECKED_ROWS or not used or len(used) > MAX_CHECKED_COLUMNS:
        return []
    rows = table.loc[target.index]
    X = pd.DataFrame({name: convert(rows[name], column.declared)[0] for name, column in used.items()})
    return [
        f"possible leak: {found}; ignore such a column if it is known only after the target"
        for found in find_suspects(X, target, guess.task[0])
    ]


def _is_time_series(column: pd.Series, declared: dict[str, Any]) -> bool:
    dates, _ = convert(column, declared)
    return bool(dates.is_monotonic_increasing or dates.is_monotonic_decreasing) and dates.nunique() > len(dates) / 2


def _try_split(
    column: pd.Series, guessed: ColumnGuess, target: pd.Series, guess: Guess, split: dict[str, Any]
) -> str | None:
    name = guess.target[0]
    values, _ = convert(column, guessed.declared)
    table = pd.DataFrame({str(column.name): values, name: target}).dropna(subset=[name]).reset_index(drop=True)
    base = Base.model_construct(task=guess.task[0], target_column=name, random_state=42)  # type: ignore[call-arg]  # all that a split reads
    settings = DataSplit.model_construct(split=TypeAdapter(Split).validate_python(split), test_size=0.2)  # type: ignore[call-arg]  # as above
    logging.disable(logging.INFO)
    try:
        plan_split([_Rows(Path(), 0, 0, len(table), "", table)], base, settings, Engine())
    except DataError as error:
        return str(error)
    finally:
        logging.disable(logging.NOTSET)
    return None


def _guess_scoring(target: pd.Series, guess: Guess) -> tuple[str, str]:
    if guess.task[0] == "regression":
        return "r2", "the share of the variance that is explained"
    counts = target.value_counts()
    if len(rare := counts[counts < MIN_ROWS_PER_CLASS]):
        guess.notes.append(
            f"{len(rare)} of {len(counts)} classes have fewer than {MIN_ROWS_PER_CLASS} rows: "
            f"{show(str(rare.index[0]), 30)}{', …' * (len(rare) > 1)}"
        )
    if len(counts) != 2:
        if len(rare):
            return "f1_macro", "all classes count alike"
        return "roc_auc_ovr", "how well each class is separated from the others"
    positive = counts.index[-1]
    guess.positive = positive.item() if hasattr(positive, "item") else positive
    share = counts.iloc[-1] / counts.sum()
    if share < RARE:
        return "average_precision", f"class {positive} is rare, {share:.1%} of the rows"
    return "roc_auc", f"how well {positive} is separated from {counts.index[0]}, whatever the threshold"
