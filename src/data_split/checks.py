"""Check the data, before training, for problems that would make a model or its score worse than it seems."""

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype, is_string_dtype

from src.compute.engine import Engine
from src.config.data_split import Checks
from src.config.schema import Config
from src.config.train import Task
from src.data.columns import Columns, features_by_kind
from src.data.findings import Finding
from src.data.hashing import Hashes, merge_unique
from src.data.parts import Part, map_parts
from src.data_split.arithmetic import Relation, find_relations
from src.data_split.leaks import describe_score, find_leaks
from src.data_split.split import SplitTable
from src.errors import DataError

logger = logging.getLogger(__name__)

# A column with at least this fraction of different values, in at least this many rows, may be an identifier.
NEARLY_ALL, MIN_ROWS = 0.95, 20
# Hashes of values in memory at once, of all columns that may be identifiers.
MAX_HASHES = 2_000_000
MAX_NAMED = 10
# A class with fewer training rows is missing from some folds of the default cross-validation.
MIN_CLASS_ROWS = 5
# Prime of the hash FNV-1a.
_PRIME = np.uint64(1099511628211)


def run_checks(split: SplitTable, columns: Columns, config: Config, engine: Engine) -> list[Finding]:
    """Check the columns that the model uses, and return at most one finding of each kind.

    Args:
        split: Featurized rows with their target.
        columns: The raw columns.
        config: All settings; checks that `data_split.checks` ignores are skipped.
    """
    base, settings, sample = config.base, config.data_split.checks, split.sample
    kinds = features_by_kind(columns, config.featurize.features, config.no_features)
    names = [name for of_kind in kinds.values() for name in of_kind if name in sample]
    target = base.target_column
    findings: list[Finding | None] = []
    if settings.leak != "ignore":
        scores = find_leaks(sample, names, sample[target], base.task, base.random_state)
        others = [name for name in names if name not in scores]
        relations = find_relations(sample, others, sample[target], base.task, base.random_state)
        findings.append(_describe_leaks(scores, relations, base.task))
    if settings.duplicates != "ignore":
        findings.append(_find_duplicates(split, [*names, target], engine))
    if settings.constant != "ignore":
        found = _find_constants(split, names, engine)
        findings.append(_about("constant", "one value in all training rows", found))
    if settings.identifier != "ignore":
        candidates = [*kinds["category"], *kinds["high_cardinality"], *kinds["number"]]
        raw = [name for name in candidates if name in names and name not in config.features]
        found = _find_identifiers(split, raw, engine)
        findings.append(_about("identifier", "nearly every row has a different value", found))
    if settings.rare_class != "ignore" and (classes := split.plan.rule.classes) is not None:
        findings.append(_find_rare_classes(classes, split.plan.n_rows))
    return [finding for finding in findings if finding]


def report_findings(findings: Sequence[Finding], settings: Checks) -> None:
    """Log findings as warnings.

    Raises:
        DataError: Lists all findings whose setting is `error`.
    """
    fatal = [finding for finding in findings if getattr(settings, finding.kind) == "error"]
    for finding in findings:
        if finding not in fatal:
            logger.warning("data check %s: %s", finding.kind, finding.message)
    if fatal:
        found = "; ".join(f"{finding.kind}: {finding.message}" for finding in fatal)
        kinds = ", ".join(finding.kind for finding in fatal)
        raise DataError(f"{found}. Fix the table, or set data_split.checks of {kinds} to warn or ignore.")


def _describe_leaks(scores: dict[str, float], relations: Sequence[Relation], task: Task) -> Finding | None:
    named = [f"{name!r} ({score:.3f})" for name, score in scores.items()]
    messages = [f"{_list(named)}: {describe_score(task)}"] if scores else []
    messages += [relation.message for relation in relations]
    columns = dict.fromkeys([*scores, *(name for relation in relations for name in relation.columns)])
    return Finding("leak", "; ".join(messages), list(columns)) if messages else None


def _about(kind: str, what: str, names: list[str]) -> Finding | None:
    return Finding(kind, f"{_list([repr(name) for name in names])}: {what}", names) if names else None


def _list(items: Sequence[str]) -> str:
    more = f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else ""
    return ", ".join(items[:MAX_NAMED]) + more


def _find_duplicates(split: SplitTable, names: Sequence[str], engine: Engine) -> Finding | None:
    """Compare rows by 64-bit hashes; a false match among 10⁶ × 10⁶ pairs has a probability of 10⁻⁷."""
    # Hashing text is slow, and most rows already differ in their numbers.
    numbers = [name for name in names if not is_string_dtype(split.sample[name])]
    n_equal, n_test = 0, sum(part.n_rows for part in split.test)
    for compared in ([numbers] if 0 < len(numbers) < len(names) else []) + [list(names)]:
        n_equal = _count_equal(split, compared, engine)
        if not n_equal:
            return None
    return Finding("duplicates", f"{n_equal} of {n_test} test rows ({n_equal / n_test:.1%}) equal a training row")


def _count_equal(split: SplitTable, names: Sequence[str], engine: Engine) -> int:
    """Count the test rows whose hash is that of a training row."""
    hash_part = partial(_hash_part, names=names)
    in_test = np.concatenate(list(map_parts(hash_part, split.test, engine, "find equal rows")))
    in_test.sort()
    # Marks the first of equal hashes.
    is_equal = np.zeros(len(in_test), dtype=bool)
    for in_train in map_parts(hash_part, split.train, engine, "find equal rows"):
        # Sorted, so that lookups are close to each other in memory.
        in_train.sort()
        places = np.searchsorted(in_test, in_train)
        places[places == len(in_test)] = 0
        is_equal[places[in_test[places] == in_train]] = True
    found = in_test[is_equal]
    return int((np.searchsorted(in_test, found, side="right") - np.flatnonzero(is_equal)).sum())


def _hash_part(part: Part, names: Sequence[str]) -> Hashes:
    hashes, rows = np.zeros(part.n_rows, dtype=np.uint64), part.read(names)
    for name in names:
        hashes *= _PRIME
        hashes += pd.util.hash_pandas_object(rows[name], index=False).to_numpy()
    return hashes


def _find_constants(split: SplitTable, names: Sequence[str], engine: Engine) -> list[str]:
    # The sample rules out most columns, and its first rows already rule out most of those.
    names = [name for name in names if _is_constant(split.sample[name])]
    if not names:
        return []
    found = list(map_parts(partial(_first_values, names=names), split.train, engine, "find constants"))
    return [name for name in names if _is_constant(pd.concat([values[name] for values in found]))]


def _first_values(part: Part, names: Sequence[str]) -> dict[str, "pd.Series[Any]"]:
    """Return up to two different values of each column."""
    rows = part.read(names)
    return {name: rows[name].drop_duplicates().head(2) for name in names}


def _is_constant(column: "pd.Series[Any]") -> bool:
    # The first rows of most columns differ.
    return bool(column.head(1000).nunique(dropna=False) <= 1 and column.nunique(dropna=False) <= 1)


@dataclass(frozen=True)
class _Values:
    """The known values of a column in a part.

    Attributes:
        n_sliced: Number of values whose hash falls into the slice of hashes that is counted.
        hashes: The unique ones of these hashes.
        are_whole: Whether all values are integers; also true of text.
        numbers: First, last, smallest and largest integer; None if there are none.
        steps: Signs of the differences between one integer and the next.
    """

    n_known: int
    n_sliced: int
    hashes: Hashes
    are_whole: bool = True
    numbers: tuple[float, float, float, float] | None = None
    steps: frozenset[float] = frozenset()


def _find_identifiers(split: SplitTable, names: Sequence[str], engine: Engine) -> list[str]:
    """Find columns of integers in order or almost without gaps, or of different texts."""
    names = [name for name in names if _may_identify(split.sample[name])]
    if not names:
        return []
    # In a small table, all values are counted; in a large one, a random share of them.
    n_slices = math.ceil(sum(part.n_rows for part in split.train) * len(names) / MAX_HASHES)
    describe = partial(_describe_values, names=names, n_slices=n_slices)
    hashes, found = {name: np.zeros(0, dtype=np.uint64) for name in names}, []
    for of_part in map_parts(describe, split.train, engine, "find identifiers"):
        for name, values in of_part.items():
            hashes[name] = merge_unique(hashes[name], values.hashes)
        found.append({name: replace(values, hashes=hashes[name][:0]) for name, values in of_part.items()})
    return [name for name in names if _identifies([values[name] for values in found], len(hashes[name]))]


def _may_identify(sample: "pd.Series[Any]") -> bool:
    known = sample.dropna()
    first = known.head(1000)
    # A few rows rule out most columns.
    if len(known) < MIN_ROWS or first.nunique() < NEARLY_ALL * len(first):
        return False
    if _is_number(first) and not _are_whole(first.to_numpy(dtype=float)):
        return False
    return bool(known.nunique() >= NEARLY_ALL * len(known))


def _describe_values(part: Part, names: Sequence[str], n_slices: int) -> dict[str, _Values]:
    described = {}
    for name in names:
        known = part.read([name])[name].dropna()
        # Most values differ, so finding the unique ones first would only cost memory.
        hashes = pd.util.hash_pandas_object(known, index=False, categorize=False).to_numpy()
        hashes = hashes[hashes % np.uint64(n_slices) == 0]
        values = _Values(len(known), len(hashes), merge_unique(hashes))
        if _is_number(known) and len(known):
            numbers = known.to_numpy(dtype=float)
            values = replace(values, are_whole=_are_whole(numbers))
            if values.are_whole:
                ends = float(numbers[0]), float(numbers[-1]), float(numbers.min()), float(numbers.max())
                values = replace(values, numbers=ends, steps=frozenset(np.sign(np.diff(numbers)).tolist()))
        described[name] = values
    return described


def _identifies(parts: Sequence[_Values], n_different: int) -> bool:
    """Return whether nearly all values are different and, if they are numbers, integers in order or without gaps."""
    if n_different < NEARLY_ALL * sum(part.n_sliced for part in parts) or not all(part.are_whole for part in parts):
        return False
    numbers = [part.numbers for part in parts if part.numbers]
    if not numbers:
        return True
    _, _, smallest, largest = zip(*numbers, strict=True)
    between = {float(np.sign(after[0] - before[1])) for before, after in itertools.pairwise(numbers)}
    steps = between.union(*(part.steps for part in parts))
    # A row number has gaps after the split, but fewer than there are rows.
    return steps in ({1.0}, {-1.0}) or max(largest) - min(smallest) < 2 * sum(part.n_known for part in parts)


def _is_number(known: "pd.Series[Any]") -> bool:
    return is_numeric_dtype(known) and not is_bool_dtype(known)


def _are_whole(numbers: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all())


def _find_rare_classes(classes: "pd.Index[Any]", n_rows: NDArray[np.int64]) -> Finding | None:
    counted = list(zip(classes, *n_rows.tolist(), strict=True))
    rare = [
        f"{label!r} has {n_train} training rows, fewer than {MIN_CLASS_ROWS}"
        for label, n_train, _ in counted
        if n_train < MIN_CLASS_ROWS
    ]
    untested = [f"{label!r} has no test row" for label, _, n_test in counted if not n_test]
    found = sorted([*rare, *untested])
    return Finding("rare_class", f"class {_list(found)}") if found else None
