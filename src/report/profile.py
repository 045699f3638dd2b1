"""Describe the training rows and the predictions of the test rows, to compare new rows with them later.

Two-sample tests need rows, and the joint test whole rows, so the profile has a random sample of the training rows.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from src.compute.engine import Engine
from src.config.schema import Config
from src.config.section import Section
from src.config.train import Task
from src.data.columns import FEATURE_KINDS, Columns
from src.data.files import read_json
from src.data.parts import Part
from src.report.metrics import Metrics
from src.report.predictions import ClassPredictions, Floats, Predictions

# The sample has at most so many rows, and with many columns so many values, but at least `MIN_ROWS` rows.
MAX_ROWS, MAX_VALUES, MIN_ROWS = 1000, 100_000, 200
# Further levels, and those of a high-cardinality column that identify few rows, are not listed.
MAX_LEVELS, MIN_ROWS_OF_LEVEL = 200, 5
# If there are more, the rarest levels are dropped when the parts of a table are merged.
MAX_MERGED_LEVELS = 100_000
# Classes whose probabilities are kept, the most frequent ones.
MAX_CLASSES = 20
LEVEL_KINDS = ("category", "ordinal", "high_cardinality", "boolean")
# Columns read at once, so that a whole part is never in memory.
N_COLUMNS_AT_ONCE = 4
# An unlisted level in the sample.
UNLISTED = -1


class ColumnProfile(Section):
    """One raw column in the training rows.

    Attributes:
        minimum: Smallest number or length of a text, or earliest date; None if all values are missing.
        levels: Number of rows by level, the most frequent first.
        n_levels: Number of levels, also those that are not listed.
    """

    kind: str
    n_missing: int
    minimum: float | str | None = None
    maximum: float | str | None = None
    levels: dict[str, int] = Field(default_factory=dict)
    n_levels: int = 0


class Reference(Section):
    """The content of `reference.json`.

    Attributes:
        model_md5: MD5 of the model file.
        n_train: Number of training rows, from which the columns are described.
        columns: Raw columns of the model.
        sample: Values of random training rows by column: numbers, lengths of texts, or positions in `levels`.
        labels: Predicted classes and their numbers of test rows; empty for a regression.
        positive: Of two classes, the positive one.
        scores: Of random test rows, the probability of each class, or the predicted number under the name of the
            target.
        losses: Of the same rows, 1 for a wrong class and 0 for a right one, or the absolute error.
        metrics: The content of `metrics.json`.
    """

    model_md5: str
    random_state: int
    task: Task
    target: str
    n_train: int
    columns: dict[str, ColumnProfile]
    sample: dict[str, list[float | None]]
    labels: dict[str, int]
    positive: str | None = None
    scores: dict[str, list[float]]
    losses: list[float]
    metrics: dict[str, Any]


_REFERENCE = TypeAdapter(Reference)


def build_reference(
    engine: Engine, parts: Sequence[Part], config: Config, columns: Columns, predictions: Predictions, metrics: Metrics
) -> Reference:
    """Describe the raw columns of the training rows that are features, and the predictions of the test rows.

    Args:
        parts: Parts of the training rows.

    Raises:
        MissingInputError: The table of the training rows cannot be read.
    """
    wanted = {
        name: column["kind"]
        for name, column in columns.items()
        if column["kind"] in FEATURE_KINDS and name not in config.no_features
    }
    n_train = sum(part.n_rows for part in parts)
    n_sampled = min(n_train, MAX_ROWS, max(MIN_ROWS, MAX_VALUES // max(len(wanted), 1)))
    rows = _draw(n_train, n_sampled, config.base.random_state)
    places = np.searchsorted(rows, [(part.start, part.start + part.n_rows) for part in parts]).tolist()
    items = [(part, rows[begin:end] - part.start) for part, (begin, end) in zip(parts, places, strict=True)]
    merged, sampled = dict[str, Summary](), dict[str, list[pd.Series]]()
    for summaries, values in engine.map(partial(_summarize_part, wanted=wanted), items, len(items), "profile"):
        for name, summary in summaries.items():
            merged[name] = merged[name].merge(summary) if name in merged else summary
        for name, column in values.items():
            sampled.setdefault(name, []).append(column)
    profiles = {name: summary.describe() for name, summary in merged.items()}
    sample = {name: _plain(encode_column(pd.concat(found), profiles[name])) for name, found in sampled.items()}
    with config.train.model_path.open("rb") as file:
        model_md5 = hashlib.file_digest(file, "md5").hexdigest()
    return Reference(
        model_md5=model_md5,
        random_state=config.base.random_state,
        task=config.base.task,
        target=config.base.target_column,
        n_train=n_train,
        columns=profiles,
        sample=sample,
        metrics=dict(metrics),
        **_describe_predictions(predictions, config),
    )


def write_reference(reference: Reference) -> str:
    """Write a profile as JSON, with the same bytes for the same content."""
    return json.dumps(reference.model_dump(exclude_unset=True), allow_nan=False, separators=(",", ":")) + "\n"


def read_reference(path: Path) -> Reference:
    """Read the profile that stage `evaluate` wrote.

    Raises:
        MissingInputError: The file is missing or damaged.
    """
    return read_json(path, _REFERENCE, made_by="evaluate")


@dataclass(frozen=True)
class Summary:
    """Summary of a column in some of the rows; summaries can be merged.

    Attributes:
        extremes: Smallest and largest value, or length of a text; None for levels, or if there are no values.
        counts: Number of rows by level; None if there are no levels.
        n_levels: Number of levels; a lower bound if rare levels were dropped.
    """

    kind: str
    n_missing: int
    extremes: tuple[Any, Any] | None = None
    counts: "pd.Series[int] | None" = None
    n_levels: int = 0

    def merge(self, other: "Summary") -> "Summary":
        """Add the summary of other rows."""
        n_missing = self.n_missing + other.n_missing
        if self.counts is not None and other.counts is not None:
            counts = pd.concat([self.counts, other.counts]).groupby(level=0, sort=False).sum()
            n_levels = max(self.n_levels, len(counts))
            if len(counts) > MAX_MERGED_LEVELS:
                counts = _sort(counts).head(MAX_MERGED_LEVELS)
            return Summary(self.kind, n_missing, None, counts, n_levels)
        known = [each.extremes for each in (self, other) if each.extremes]
        extremes = (min(each[0] for each in known), max(each[1] for each in known)) if known else None
        return Summary(self.kind, n_missing, extremes)

    def describe(self) -> ColumnProfile:
        """Return the profile of the column."""
        common: dict[str, Any] = {"kind": self.kind, "n_missing": self.n_missing}
        if self.counts is not None:
            counts = _sort(self.counts)
            listed = counts[counts >= MIN_ROWS_OF_LEVEL] if self.kind == "high_cardinality" else counts
            levels = {str(level): int(count) for level, count in listed.head(MAX_LEVELS).items()}
            return ColumnProfile(levels=levels, n_levels=self.n_levels, **common)
        if self.extremes is None:
            return ColumnProfile(**common)
        minimum, maximum = (each.isoformat() if self.kind == "date" else float(each) for each in self.extremes)
        return ColumnProfile(minimum=minimum, maximum=maximum, **common)


def summarize_column(column: pd.Series, kind: str) -> Summary:
    """Summarize a column in some of the rows.

    Args:
        column: Converted values, shape (n_rows,).
    """
    known = column.dropna()
    n_missing = len(column) - len(known)
    if kind in LEVEL_KINDS:
        counts = level_names(known, kind).value_counts(sort=False)
        return Summary(kind, n_missing, None, counts, len(counts))
    values = known.str.len() if kind == "text" else known
    return Summary(kind, n_missing, (values.min(), values.max()) if len(values) else None)


def encode_column(column: pd.Series, profile: ColumnProfile) -> Floats:
    """Encode values as numbers: texts as their length, levels as their position, and missing values as NaN.

    Args:
        column: Converted values of the same kind, shape (n_rows,).

    Returns:
        Shape (n_rows,). A level that the profile does not list is `UNLISTED`.
    """
    if profile.kind in LEVEL_KINDS:
        codes = pd.Index(list(profile.levels), dtype=object).get_indexer(pd.Index(level_names(column, profile.kind)))
        values: Floats = codes.astype(float)
        values[column.isna().to_numpy()] = np.nan
        return values
    if profile.kind == "text":
        return np.asarray(column.str.len(), dtype=float)
    return column.to_numpy(dtype=float)


def level_names(column: pd.Series, kind: str) -> "pd.Series[Any]":
    """Return levels as text; a boolean is 0 or 1."""
    names = column.map({0.0: "0", 1.0: "1"}) if kind == "boolean" else column
    return names.astype(object)


def _describe_predictions(predictions: Predictions, config: Config) -> dict[str, Any]:
    rows = _draw(len(predictions.y_true), min(len(predictions.y_true), MAX_ROWS), config.base.random_state)
    losses = predictions.take(rows).losses.tolist()
    if not isinstance(predictions, ClassPredictions):
        return {
            "labels": {},
            "scores": {config.base.target_column: predictions.y_pred[rows].tolist()},
            "losses": losses,
        }
    names = [str(label) for label in predictions.labels[: predictions.n_classes]]
    counts = np.bincount(predictions.y_pred, minlength=len(names))
    shown = range(predictions.scores.shape[1] if predictions.is_probability else 0)
    # Of two classes, one probability gives the other.
    codes = [predictions.positive_code] if len(shown) == 2 else sorted(shown, key=lambda code: -counts[code])
    scores = {names[code]: predictions.scores[rows, code].tolist() for code in codes[:MAX_CLASSES]}
    labels = {name: int(count) for name, count in zip(names, counts, strict=True)}
    positive = names[predictions.positive_code] if len(names) == 2 else None
    return {"labels": labels, "positive": positive, "scores": scores, "losses": losses}


def _summarize_part(
    item: tuple[Part, NDArray[np.intp]], wanted: Mapping[str, str]
) -> tuple[dict[str, Summary], dict[str, pd.Series]]:
    """Summarize the columns of a part, and return the values of some rows."""
    part, rows = item
    summaries, sample = {}, {}
    for start in range(0, len(wanted), N_COLUMNS_AT_ONCE):
        table = part.read(list(wanted)[start : start + N_COLUMNS_AT_ONCE])
        for name in filter(table.columns.__contains__, list(wanted)[start : start + N_COLUMNS_AT_ONCE]):
            summaries[name] = summarize_column(table[name], wanted[name])
            if wanted[name] != "date":
                sample[name] = table[name].iloc[rows]
    return summaries, sample


def _sort(counts: "pd.Series[int]") -> "pd.Series[int]":
    """Sort levels by their number of rows, and equally frequent ones by name."""
    by_name = counts.sort_index(key=lambda names: names.map(str))
    return by_name.sort_values(ascending=False, kind="stable")


def _draw(n_rows: int, n_drawn: int, random_state: int) -> NDArray[np.intp]:
    return np.sort(np.random.default_rng(random_state).choice(n_rows, n_drawn, replace=False))


def _plain(values: Floats) -> list[float | None]:
    # JSON has no NaN, and whole numbers are shorter as integers.
    return [None if np.isnan(value) else int(value) if value.is_integer() else value for value in values.tolist()]
