"""Split rows into train and test: stratified, at random, by an id, by time or by group.

Each row has a key: the hash of its row number, id or group, or its date. The test rows are those with the smallest
hashes or the newest dates, in each class or in the whole table. So a row's side does not depend on the parts.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from src.compute.engine import Engine
from src.config.data_split import DataSplit
from src.config.schema import Base
from src.data.files import to_frame
from src.data.hashing import Hashes, hash_row_numbers, hash_values, highest_hash, merge_unique
from src.data.parts import Part, list_parts, map_parts, write_part
from src.data.target import TargetFacts, check_counts, check_facts, describe_target, merge_facts
from src.data_split.select import Codes, Keys, find_borders, order_keys
from src.errors import DataError

logger = logging.getLogger(__name__)

# Training rows that the checks and the page about the data see. Seeds of splits are smaller than `SAMPLE_SEED`.
MAX_SAMPLE, SAMPLE_SEED = 50_000, 2**32


@dataclass(frozen=True)
class Rule:
    """Which rows are test rows: those whose key is at most the border of their stratum.

    Attributes:
        column: Id, group or date; None for the row number.
        classes: Sorted classes; None for a regression.
        borders: One for each stratum; empty until they are known.
    """

    kind: str
    column: str | None
    seed: int
    target: str
    classes: "pd.Index[Any] | None"
    borders: Keys

    @property
    def columns(self) -> list[str]:
        """The columns that the rule needs, and the target."""
        return [self.target] if self.column is None else [self.target, self.column]

    def find_keys(self, rows: pd.DataFrame, part: Part) -> Keys:
        """Return the key of each row of a part, shape (n_rows,).

        Raises:
            DataError: The values of the column cannot be compared.
        """
        if self.column is None:
            return hash_row_numbers(part.start, part.n_rows, self.seed)
        if self.kind == "time":
            return ~order_keys(rows[self.column])
        try:
            return hash_values(rows[self.column], self.seed)
        except TypeError:
            raise DataError(
                f"data_split.split.column = {self.column!r} holds lists or other values that cannot be compared; "
                "choose a column of texts, numbers or dates."
            ) from None

    def find_strata(self, rows: pd.DataFrame) -> Codes:
        """Return the stratum of each row of a part, shape (n_rows,)."""
        return self.find_classes(rows) if self.kind == "stratified" else np.zeros(len(rows), dtype=np.intp)

    def find_classes(self, rows: pd.DataFrame) -> Codes:
        """Return the position of each row's class; for a regression, 0."""
        if self.classes is None:
            return np.zeros(len(rows), dtype=np.intp)
        codes, found = pd.factorize(rows[self.target])
        return self.classes.get_indexer(found)[codes]

    def find_test(self, rows: pd.DataFrame, part: Part) -> NDArray[np.bool_]:
        """Return which rows of a part are test rows, shape (n_rows,)."""
        return self.find_keys(rows, part) <= self.borders[self.find_strata(rows)]


@dataclass(frozen=True)
class Plan:
    """A split before it is written.

    Attributes:
        n_rows: Training and test rows of each class, shape (2, n_classes); of a regression, shape (2, 1).
    """

    rule: Rule
    n_rows: NDArray[np.int64]


@dataclass(frozen=True)
class SplitTable:
    """A table that is split.

    Attributes:
        train: Parts of the training rows.
        test: Parts of the test rows.
        sample: Training rows; a random sample of about `MAX_SAMPLE` of them if there are more.
        plan: How it is split.
    """

    train: Sequence[Part]
    test: Sequence[Part]
    sample: pd.DataFrame
    plan: Plan


@dataclass(frozen=True)
class _Facts:
    """Facts about the target and the column of the split in one part.

    Attributes:
        counts: Number of rows by class; of a regression, of all rows.
        n_missing: Number of rows without a value in the column.
        first: First value of the column.
        groups: Unique hashes of the groups; empty for other splits.
    """

    target: TargetFacts
    counts: "pd.Series[int]"
    groups: Hashes
    n_missing: int = 0
    dtype: Any = None
    first: Any = None


def plan_split(parts: Sequence[Part], base: Base, settings: DataSplit, engine: Engine) -> Plan:
    """Choose the test rows of a table.

    Raises:
        DataError: A set would have no rows or miss a class, a row has no date, group or id, or the column of the split
            does not exist.
    """
    split, is_classification = settings.split, base.task == "classification"
    rule = Rule(split.kind, split.column, base.random_state, base.target_column, None, np.zeros(0, dtype=np.uint64))
    describe = partial(_describe_part, rule=rule, with_classes=is_classification)
    facts, groups = list[_Facts](), np.zeros(0, dtype=np.uint64)
    for of_part in map_parts(describe, parts, engine, "choose test rows"):
        groups = merge_unique(groups, of_part.groups)
        facts.append(replace(of_part, groups=groups[:0]))
    check_facts(merge_facts([of_part.target for of_part in facts]), base.target_column, base.task)
    counts = pd.concat([of_part.counts for of_part in facts]).groupby(level=0).sum()
    if split.kind == "stratified":
        check_counts(counts, at_least=2, reason="a stratified split")
    _check_column(rule, facts, sum(part.n_rows for part in parts))
    if is_classification:
        rule = replace(rule, classes=counts.index)
    rule = replace(rule, borders=_find_borders(rule, settings.test_size, counts, groups, parts, engine))
    plan = Plan(rule, np.zeros((2, len(counts)), dtype=np.int64))
    begins = []
    for n_of_part, begin in map_parts(partial(_count_sides, rule=rule), parts, engine, "choose test rows"):
        plan.n_rows[:] += n_of_part
        begins += [] if begin is None else [begin]
    _check_sides(plan, settings.test_size, min(begins, default=None))
    return plan


def write_split(parts: Sequence[Part], plan: Plan, train_folder: Path, test_folder: Path, engine: Engine) -> SplitTable:
    """Write the training and the test rows of each part, in the order of the table."""
    n_train = int(plan.n_rows[0].sum())
    sampled = highest_hash(min(1.0, MAX_SAMPLE / n_train))
    write = partial(_split_part, rule=plan.rule, sampled=sampled, train_folder=train_folder, test_folder=test_folder)
    sample = pd.concat(map_parts(write, parts, engine, "split"), ignore_index=True)
    train, test = (list_parts(folder, made_by="data_split") for folder in (train_folder, test_folder))
    return SplitTable(train, test, sample, plan)


def _share(test_size: float, n: int) -> int:
    """Return the number of test rows or groups: at least one, and if possible not all."""
    return max(1, min(round(test_size * n), n - 1))


def _describe_part(part: Part, rule: Rule, with_classes: bool) -> _Facts:
    rows = part.read(rule.columns)
    target = describe_target(rows if rule.target in rows else part.read(), rule.target)
    counts = rows[rule.target].value_counts(sort=False) if with_classes else pd.Series([len(rows)])
    groups = np.zeros(0, dtype=np.uint64)
    if rule.column is None:
        return _Facts(target, counts, groups)
    if rule.column not in rows:
        known = ", ".join(map(str, part.read().columns[:20]))
        raise DataError(f"data_split.split.column = {rule.column!r} is not in the table; its columns are {known}.")
    column = rows[rule.column]
    if rule.kind == "group":
        groups = merge_unique(rule.find_keys(rows, part))
    first = column.iloc[0] if len(column) else None
    return _Facts(target, counts, groups, int(column.isna().sum()), column.dtype, first)


def _check_column(rule: Rule, facts: Sequence[_Facts], n_rows: int) -> None:
    if n_missing := sum(each.n_missing for each in facts):
        raise DataError(
            f"data_split.split.column = {rule.column!r} is missing in {n_missing} of {n_rows} rows; "
            "fix or drop these rows, or choose another split."
        )
    dtype = facts[0].dtype
    if rule.kind == "time" and not is_datetime64_any_dtype(dtype) and not is_numeric_dtype(dtype):
        raise DataError(
            f"data_split.split.column = {rule.column!r} has dtype {dtype}, with values such as {facts[0].first!r}; "
            f"a split by time needs dates: declare data_load.columns.{rule.column}: {{kind: date}}."
        )


def _find_borders(
    rule: Rule, test_size: float, counts: "pd.Series[int]", groups: Hashes, parts: Sequence[Part], engine: Engine
) -> Keys:
    """Find the highest key of a test row, in each class of a stratified split."""
    if rule.kind == "hash":
        return np.array([highest_hash(test_size)])
    if rule.kind == "group":
        n_drawn = _share(test_size, len(groups))
        logger.info("%d of %d groups of %s are test rows", n_drawn, len(groups), rule.column)
        return groups[[n_drawn - 1]]
    ranks = np.array([_share(test_size, int(counts.sum()))])
    if rule.kind == "stratified":
        n_rows = counts.to_numpy(np.int64)
        ranks = np.clip(np.floor(test_size * n_rows + 0.5).astype(np.int64), 1, n_rows - 1)
    return find_borders(partial(_read_keys, rule=rule), ranks, parts, engine)


def _read_keys(part: Part, rule: Rule) -> tuple[Keys, Codes]:
    rows = part.read(rule.columns)
    return rule.find_keys(rows, part), rule.find_strata(rows)


def _count_sides(part: Part, rule: Rule) -> tuple[NDArray[np.int64], Any]:
    """Count the training and the test rows of each class, and find the oldest date of a test row."""
    rows = part.read(rule.columns)
    in_test, classes = rule.find_test(rows, part), rule.find_classes(rows)
    n_classes = 1 if rule.classes is None else len(rule.classes)
    n_rows = np.stack([np.bincount(classes[side], minlength=n_classes) for side in (~in_test, in_test)])
    return n_rows, rows[rule.column][in_test].min() if rule.kind == "time" and in_test.any() else None


def _check_sides(plan: Plan, test_size: float, begin: Any) -> None:
    """Refuse a set without rows or a class without training rows, and log the oldest date of a split by time."""
    rule, (n_train, n_test) = plan.rule, plan.n_rows.sum(axis=1)
    if rule.kind == "time" and not n_train:
        raise DataError(
            f"data_split.split.column = {rule.column!r}: the newest {_share(test_size, n_test)} of {n_test} rows reach "
            f"back to the oldest date, {begin}; choose a smaller data_split.test_size or another split."
        )
    if not n_train or not n_test:
        column = f", column: {rule.column}" if rule.column is not None else ""
        raise DataError(
            f"data_split.split = {{kind: {rule.kind}{column}}} with data_split.test_size = {test_size} makes all "
            f"{n_train + n_test} rows {'training' if n_train else 'test'} rows; choose another column, split or "
            "fraction, or provide more rows."
        )
    if rule.kind == "time":
        logger.info("the test rows begin at %s = %s", rule.column, begin)
    if rule.classes is not None and (untrained := rule.classes[plan.n_rows[0] == 0].tolist()):
        raise DataError(
            f"class {untrained[0]!r} has no training rows, so no model can learn it; choose another data_split.split "
            "or base.random_state, or drop its rows."
        )


def _split_part(part: Part, rule: Rule, sampled: np.uint64, train_folder: Path, test_folder: Path) -> pd.DataFrame:
    """Write the rows of a part to a part of each set, and return the training rows of the sample."""
    # Arrow selects rows in less time than pandas, and keeps the types of the columns.
    rows = part.read_arrow()
    in_test = rule.find_test(to_frame(rows.select(rule.columns)), part)
    in_sample = hash_row_numbers(part.start, part.n_rows, rule.seed + SAMPLE_SEED) <= sampled
    write_part(rows.filter(in_test), test_folder, part.number)
    write_part(rows.filter(~in_test), train_folder, part.number)
    return to_frame(rows.filter(in_sample & ~in_test))
