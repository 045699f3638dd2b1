"""What would spoil a model or its score, found before training."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from src.atomic import atomic_path
from src.config.schema import Config, Traps
from src.data.leaks import find_leaks
from src.data.schema import Columns, features_by_kind
from src.errors import DataError, MissingInputError

logger = logging.getLogger(__name__)

# Share of different values, among at least so many rows, from which on a column identifies them.
NEARLY_ALL, MIN_ROWS = 0.95, 20
MAX_NAMED = 10
# Of the hash FNV-1a.
_PRIME = np.uint64(1099511628211)


@dataclass(frozen=True)
class Trap:
    """Everything that was found of one kind.

    Attributes:
        kind: `leak`, `duplicates`, `constant`, `identifier` or `rare_class`.
        message: What was found, in one line, with counts.
        columns: Columns that it is about.
    """

    kind: str
    message: str
    columns: list[str] = field(default_factory=list)


def find_traps(train: pd.DataFrame, test: pd.DataFrame, columns: Columns, config: Config) -> list[Trap]:
    """Look for traps in the columns that the model will use.

    Args:
        train: Featurized training rows with their target, shape (n_train, n_columns).
        test: Featurized test rows with their target, shape (n_test, n_columns).
        columns: What each raw column is.
        config: All settings; what `data_split.traps` ignores is not looked for.

    Returns:
        At most one of each kind.
    """
    base, settings = config.base, config.data_split.traps
    kinds = features_by_kind(columns, config.features, config.no_features)
    names = [name for of_kind in kinds.values() for name in of_kind if name in train]
    target, y = base.target_column, train[base.target_column].to_numpy()
    traps: list[Trap | None] = []
    if settings.leak != "ignore":
        traps.append(_leaks(find_leaks(train, names, y, base.task, base.random_state), base.task))
    if settings.duplicates != "ignore":
        traps.append(_find_duplicates(train, test, [*names, target]))
    if settings.constant != "ignore":
        found = [name for name in names if _is_constant(train[name])]
        traps.append(_about("constant", "one value in all training rows", found))
    if settings.identifier != "ignore":
        wordy = [*kinds["category"], *kinds["high_cardinality"], *kinds["number"]]
        found = [name for name in wordy if name in names and name not in config.features and _identifies(train[name])]
        traps.append(_about("identifier", "as good as every row has a value of its own", found))
    if settings.rare_class != "ignore" and base.task == "classification":
        traps.append(_find_rare_classes(train[target], test[target], config.train.cv))
    return [trap for trap in traps if trap]


def act_on_traps(traps: Sequence[Trap], settings: Traps) -> None:
    """Warn of traps, or stop at them, as the settings say.

    Raises:
        DataError: Names all traps whose setting is `error`.
    """
    fatal = [trap for trap in traps if getattr(settings, trap.kind) == "error"]
    for trap in traps:
        if trap not in fatal:
            logger.warning("trap %s: %s", trap.kind, trap.message)
    if fatal:
        found = "; ".join(f"{trap.kind}: {trap.message}" for trap in fatal)
        kinds = ", ".join(trap.kind for trap in fatal)
        raise DataError(f"{found}. Mend the table, or set data_split.traps of {kinds} to warn or ignore.")


def _leaks(leaks: dict[str, float], task: str) -> Trap | None:
    measure = "balanced accuracy" if task == "classification" else "R²"
    named = [f"{name!r} ({score:.3f})" for name, score in leaks.items()]
    what = f"alone tells the target almost perfectly ({measure} of a small tree, cross-validated)"
    return Trap("leak", f"{_list(named)} {what}", list(leaks)) if leaks else None


def _about(kind: str, what: str, names: list[str]) -> Trap | None:
    return Trap(kind, f"{_list([repr(name) for name in names])}: {what}", names) if names else None


def _list(items: Sequence[str]) -> str:
    more = f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else ""
    return ", ".join(items[:MAX_NAMED]) + more


def _find_duplicates(train: pd.DataFrame, test: pd.DataFrame, names: Sequence[str]) -> Trap | None:
    """Compare rows by a hash of 64 bits: a false one among 10⁶ × 10⁶ pairs has a chance of 1 in 10⁷."""
    known, hashes = _hash_rows(train, names), _hash_rows(test, names)
    n_equal = int(np.isin(hashes, known).sum())
    if not n_equal:
        return None
    return Trap("duplicates", f"{n_equal} of {len(test)} test rows ({n_equal / len(test):.1%}) equal a training row")


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


def _find_rare_classes(train: "pd.Series[Any]", test: "pd.Series[Any]", cv: int) -> Trap | None:
    in_train, in_test = train.value_counts(sort=False), test.value_counts(sort=False)
    rare = [f"{label!r} has {n} training rows, fewer than train.cv = {cv}" for label, n in in_train.items() if n < cv]
    unseen = [f"{label!r} is in test rows only" for label in in_test.index if label not in in_train]
    untested = [f"{label!r} has no test row" for label in in_train.index if label not in in_test]
    found = sorted([*rare, *unseen, *untested])
    return Trap("rare_class", f"class {_list(found)}") if found else None


def write_traps(traps: Sequence[Trap], path: Path) -> None:
    """Write what was found, for the model card."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps([asdict(trap) for trap in traps], indent=2) + "\n", encoding="utf-8")


def read_traps(path: Path) -> list[Trap]:
    """Read what was found.

    Raises:
        MissingInputError: The file is absent or damaged.
    """
    try:
        return [Trap(**trap) for trap in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise MissingInputError(
            f"{path} is missing or damaged ({error!r:.100}); stage data_split makes it: run `dvc repro data_split`."
        ) from None
