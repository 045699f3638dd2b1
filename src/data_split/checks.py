"""Check the data, before training, for problems that would make a model or its score worse than it seems."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype, is_string_dtype

from src.config.data_split import Checks
from src.config.schema import Config
from src.config.train import Task
from src.data.columns import Columns, features_by_kind
from src.data.findings import Finding
from src.data_split.arithmetic import Relation, find_relations
from src.data_split.leaks import describe_score, find_leaks
from src.errors import DataError

logger = logging.getLogger(__name__)

# A column with at least this fraction of different values, in at least so many rows, may be an identifier.
NEARLY_ALL, MIN_ROWS = 0.95, 20
MAX_NAMED = 10
# A class with fewer training rows is missing from some folds of the default cross-validation.
MIN_CLASS_ROWS = 5
# Prime of the hash FNV-1a.
_PRIME = np.uint64(1099511628211)


def run_checks(train: pd.DataFrame, test: pd.DataFrame, columns: Columns, config: Config) -> list[Finding]:
    """Check the columns that the model uses, and return at most one finding of each kind.

    Args:
        train: Featurized training rows with their target, shape (n_train, n_columns).
        test: Featurized test rows with their target, shape (n_test, n_columns).
        columns: The raw columns.
        config: All settings; checks that `data_split.checks` ignores are skipped.
    """
    base, settings = config.base, config.data_split.checks
    kinds = features_by_kind(columns, config.featurize.features, config.no_features)
    names = [name for of_kind in kinds.values() for name in of_kind if name in train]
    target = base.target_column
    findings: list[Finding | None] = []
    if settings.leak != "ignore":
        scores = find_leaks(train, names, train[target], base.task, base.random_state)
        others = [name for name in names if name not in scores]
        relations = find_relations(train, others, train[target], base.task, base.random_state)
        findings.append(_describe_leaks(scores, relations, base.task))
    if settings.duplicates != "ignore":
        findings.append(_find_duplicates(train, test, [*names, target]))
    if settings.constant != "ignore":
        found = [name for name in names if _is_constant(train[name])]
        findings.append(_about("constant", "one value in all training rows", found))
    if settings.identifier != "ignore":
        candidates = [*kinds["category"], *kinds["high_cardinality"], *kinds["number"]]
        raw = [name for name in candidates if name in names and name not in config.features]
        found = [name for name in raw if _identifies(train[name])]
        findings.append(_about("identifier", "nearly every row has a different value", found))
    if settings.rare_class != "ignore" and base.task == "classification":
        findings.append(_find_rare_classes(train[target], test[target]))
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


def _find_duplicates(train: pd.DataFrame, test: pd.DataFrame, names: Sequence[str]) -> Finding | None:
    """Compare rows by 64-bit hashes; a false match among 10⁶ × 10⁶ pairs has a probability of 10⁻⁷."""
    in_train, in_test = np.zeros(len(train), np.uint64), np.zeros(len(test), np.uint64)
    # Hashing text is slow, and most rows already differ in their numbers.
    texts = [name for name in names if is_string_dtype(train[name])]
    for group in ([name for name in names if name not in texts], texts):
        # One column at a time, because a selection of columns would be a copy.
        for name in group:
            for hashes, table in ((in_train, train), (in_test, test)):
                hashes *= _PRIME
                hashes += pd.util.hash_pandas_object(table[name], index=False).to_numpy()
        n_equal = int(pd.Series(in_test).isin(in_train).sum())
        if not n_equal:
            return None
    return Finding("duplicates", f"{n_equal} of {len(test)} test rows ({n_equal / len(test):.1%}) equal a training row")


def _is_constant(column: "pd.Series[Any]") -> bool:
    # The first rows of most columns differ.
    return bool(column.head(1000).nunique(dropna=False) <= 1 and column.nunique(dropna=False) <= 1)


def _identifies(column: "pd.Series[Any]") -> bool:
    """Return whether values are integers in order or almost without gaps, or different texts."""
    known = column.dropna()
    is_number = is_numeric_dtype(known) and not is_bool_dtype(known)
    first = known.head(1000)
    # A few rows rule out most columns.
    if len(known) < MIN_ROWS or first.nunique() < NEARLY_ALL * len(first):
        return False
    if is_number and not _are_whole(first.to_numpy(dtype=float)):
        return False
    if known.nunique() < NEARLY_ALL * len(known):
        return False
    if not is_number:
        return True
    numbers = known.to_numpy(dtype=float)
    steps = np.diff(numbers)
    in_order = bool((steps > 0).all() or (steps < 0).all())
    # A row number has gaps after the split, but fewer than there are rows.
    return _are_whole(numbers) and (in_order or bool(np.ptp(numbers) < 2 * len(numbers)))


def _are_whole(numbers: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all())


def _find_rare_classes(train: "pd.Series[Any]", test: "pd.Series[Any]") -> Finding | None:
    in_train, in_test = train.value_counts(sort=False), test.value_counts(sort=False)
    rare = [
        f"{label!r} has {n_rows} training rows, fewer than {MIN_CLASS_ROWS}"
        for label, n_rows in in_train.items()
        if n_rows < MIN_CLASS_ROWS
    ]
    untested = [f"{label!r} has no test row" for label in in_train.index if label not in in_test]
    found = sorted([*rare, *untested])
    return Finding("rare_class", f"class {_list(found)}") if found else None
