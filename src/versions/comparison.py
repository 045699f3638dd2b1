"""What was made again, beside what is recorded: to the byte, and else by how much."""

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from src.errors import VersionError
from src.tracking.cache import find_content
from src.tracking.lineage import read_lock, read_stages
from src.tracking.snapshot import read_metrics
from src.versions.objects import fetch
from src.versions.references import Record


@dataclass(frozen=True)
class Difference:
    """An output or a metric that is not as recorded.

    Attributes:
        name: Path of the output, or name of the metric.
        words: By how much it differs.
        is_output: Whether it is a file.
        is_close: Whether it is within the tolerance; None where a file tells no numbers.
    """

    name: str
    words: str
    is_output: bool
    is_close: bool | None


def compare_with_record(clone: Path, cache_owner: Path, record: Record, tolerance: float) -> list[Difference]:
    """Compare each output and metric of a finished pipeline with the record.

    Args:
        clone: Where the pipeline was run again.
        cache_owner: Root whose DVC cache may still hold what is recorded, or can fetch it.
        record: What is recorded.
        tolerance: Relative, for numbers.
    """
    made = {path: md5 for entry in read_lock(clone).values() for path, md5 in entry.outs.items()}
    differences = [
        _describe_output(clone, cache_owner, record, path, tolerance)
        for path, md5 in record.md5s.items()
        if made.get(path) != md5
    ]
    metrics = {
        name: value
        for stage in read_stages(clone).values()
        for path in stage.metrics
        for name, value in read_metrics(clone / path).items()
    }
    for name, recorded in record.metrics.items():
        value = metrics.get(name, math.nan)
        if value != recorded:
            close = math.isclose(value, recorded, rel_tol=tolerance, abs_tol=tolerance)
            differences.append(Difference(name, f"{value:.9g} instead of {recorded:.9g}", False, close))
    return differences


def _describe_output(clone: Path, cache_owner: Path, record: Record, path: str, tolerance: float) -> Difference:
    if not (clone / path).exists():
        return Difference(path, "was not made", True, False)
    if not path.endswith(".parquet"):
        return Difference(path, "differs", True, None)
    content = find_content(cache_owner, cache_owner, path, record.md5s[path])
    if content is None:
        with suppress(VersionError):
            fetch(cache_owner, record.commit, [path])
        content = find_content(cache_owner, cache_owner, path, record.md5s[path])
    if content is None:
        return Difference(path, "differs, and the recorded one is in neither cache nor remote", True, False)
    words, close = compare_tables(pd.read_parquet(content), pd.read_parquet(clone / path), tolerance)
    return Difference(path, words, True, close)


def compare_tables(recorded: pd.DataFrame, made: pd.DataFrame, tolerance: float) -> tuple[str, bool]:
    """Tell how a table differs from the recorded one.

    Args:
        recorded: Shape (n_rows, n_columns).
        made: The same table made again.
        tolerance: Relative, for numbers.

    Returns:
        In words, and whether all values are within the tolerance.
    """
    if list(recorded.columns) != list(made.columns):
        changed = sorted(set(recorded.columns) ^ set(made.columns))
        return f"other columns: {', '.join(changed) or 'in another order'}", False
    if len(recorded) != len(made):
        return f"{len(made)} rows instead of {len(recorded)}", False
    words, all_close = [], True
    for column in recorded.columns:
        first, second = recorded[column], made[column]
        differs = (first != second) & ~(first.isna() & second.isna())
        if not differs.any():
            continue
        if is_numeric_dtype(first) and is_numeric_dtype(second):
            pair = first.to_numpy(float), second.to_numpy(float)
            gaps = np.abs(pair[0] - pair[1])[differs]
            by = ", which one of them lacks" if np.isnan(gaps).all() else f", by at most {np.nanmax(gaps):.3g}"
            all_close &= bool(np.allclose(*pair, rtol=tolerance, atol=tolerance, equal_nan=True))
        else:
            by, all_close = "", False
        words.append(f"{column} in {int(differs.sum())} of {len(first)} rows{by}")
    return "; ".join(words) or "equal values, other bytes", all_close
