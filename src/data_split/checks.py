"""What would spoil a model or its score, found before training."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from src.config.data_split import Checks
from src.config.schema import Config
from src.data.columns import Columns, features_by_kind
from src.data.findings import Finding
from src.data_split.leaks import find_leaks
from src.errors import DataError

logger = logging.getLogger(__name__)

# Share of different values, among at least so many rows, from which on a column identifies them.
NEARLY_ALL, MIN_ROWS = 0.95, 20
MAX_NAMED = 10
# A class with fewer training rows is missing from some folds of the default cross-validation.
MIN_CLASS_ROWS = 5
# Of the hash FNV-1a.
_PRIME = np.uint64(1099511628211)


def run_checks(train: pd.DataFrame, test: pd.DataFrame, columns: Columns, config: Config) -> list[Finding]:
    """Look for findings in the columns that the model will use.

    Args:
        train: Featurized training rows with their target, shape (n_train, n_columns).
        test: Featurized test rows with their target, shape (n_test, n_columns).
        columns: What each raw column is.
        config: All settings; what `data_split.checks` ignores is not looked for.

    Returns:
        At most one of each kind.
    """
    base, settings = config.base, config.data_split.checks
    kinds = features_by_kind(columns, config.features, config.no_features)
    names = [name for of_kind in kinds.values() for name in of_kind if name in train]
    target, y = base.target_column, train[base.target_column].to_numpy()
    findings: list[Finding | None] = []
    if settings.leak != "ignore":
        findings.append(_leaks(find_leaks(train, names, y, base.task, base.random_state), base.task))
    if settings.duplicates != "ignore":
        findings.append(_find_duplicates(train, test, [*names, target]))
    if settings.constant != "ignore":
        found = [name for name in names if _is_constant(train[name])]
        findings.append(_about("constant", "one value in all training rows", found))
    if settings.identifier != "ignore":
        wordy = [*kinds["category"], *kinds["high_cardinality"], *kinds["number"]]
        found = [name for name in wordy if name in names and name not in config.features and _identifies(train[name])]
        findings.append(_about("identifier", "as good as every row has a value of its own", found))
    if settings.rare_class != "ignore" and base.task == "classification":
        findings.append(_find_rare_classes(train[target], test[target], MIN_CLASS_ROWS))
    return [finding for finding in findings if finding]


def report_findings(findings: Sequence[Finding], settings: Checks) -> None:
    """Warn of findings, or stop at them, as the settings say.

    Raises:
        DataError: Names all findings whose setting is `error`.
    """
    fatal = [finding for finding in findings if getattr(settings, finding.kind) == "error"]
    for finding in findings:
        if finding not in fatal:
            logger.warning("data check %s: %s", finding.kind, finding.message)
    if fatal:
        found = "; ".join(f"{finding.kind}: {finding.message}" for finding in fatal)
        kinds = ", ".join(finding.kind for finding in fatal)
        raise DataError(f"{found}. Mend the table, or set data_split.checks of {kinds} to warn or ignore.")


def _leaks(leaks: dict[str, float], task: str) -> Finding | None:
    measure = "balanced accuracy" if task == "classification" else "R²"
    named = [f"{name!r} ({score:.3f})" for name, score in leaks.items()]
    what = f"alone tells the target almost perfectly ({measure} of a small tree, cross-validated)"
    return Finding("leak", f"{_list(named)} {what}", list(leaks)) if leaks else None


def _about(kind: str, what: str, names: list[str]) -> Finding | None:
    return Finding(kind, f"{_list([repr(name) for name in names])}: {what}", names) if names else None


def _list(items: Sequence[str]) -> str:
    more = f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else ""
    return ", ".join(items[:MAX_NAMED]) + more


def _find_duplicates(train: pd.DataFrame, test: pd.DataFrame, names: Sequence[str]) -> Finding | None:
    """Compare rows by a hash of 64 bits: a false one among 10⁶ × 10⁶ pairs has a chance of 1 in 10⁷."""
    known, hashes = _hash_rows(train, names), _hash_rows(test, names)
    n_equal = int(np.isin(hashes, known).sum())
    if not n_equal:
        return None
    return Finding("duplicates", f"{n_equal} of {len(test)} test rows ({n_equal / len(test):.1%}) equal a training row")


def _hash_rows(table: pd.DataFrame, names: Sequence[str]) -> NDArray[np.uint64]:
    # Column by column: a selection of columns would be a copy of the table.
    hashes = np.zeros(len(table), dtype=np.uint64)
    for name in names:
        hashes *= _PRIME
        hashes += pd.util.hash_pandas_object(table[name], index=False).to_numpy()
    return hashes


def _is_constant(column: "pd.Series[Any]") -> bool:
    # Most columns differ at once.
    return bool(column.head(1000).nunique(dropna=False) <= 1 and column.nunique(dropna=False) <= 1)


def _identifies(column: "pd.Series[Any]") -> bool:
    """Tell whether a column numbers or names its rows: integers in order or without gaps, or texts of their own."""
    known = column.dropna()
    is_number = is_numeric_dtype(known) and not is_bool_dtype(known)
    # Most columns are told by few rows.
    for values in (known.head(1000), known):
        if len(known) < MIN_ROWS or values.nunique() < NEARLY_ALL * len(values):
            return False
        if is_number and not _are_whole(values.to_numpy(dtype=float)):
            return False
    if not is_number:
        return True
    numbers = known.to_numpy(dtype=float)
    steps = np.diff(numbers)
    in_order = bool((steps > 0).all() or (steps < 0).all())
    # A split takes rows out: gaps of as many as there are rows still are a count.
    return in_order or np.ptp(numbers) < 2 * len(numbers)


def _are_whole(numbers: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all())


def _find_rare_classes(train: "pd.Series[Any]", test: "pd.Series[Any]", min_rows: int) -> Finding | None:
    in_train, in_test = train.value_counts(sort=False), test.value_counts(sort=False)
    rare = [f"{label!r} has {n} training rows, fewer than {min_rows}" for label, n in in_train.items() if n < min_rows]
    unseen = [f"{label!r} is in test rows only" for label in in_test.index if label not in in_train]
    untested = [f"{label!r} has no test row" for label in in_train.index if label not in in_test]
    found = sorted([*rare, *unseen, *untested])
    return Finding("rare_class", f"class {_list(found)}") if found else None
