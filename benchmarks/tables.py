"""Tables to measure with: `python -m benchmarks.tables FILE N_ROWS`, as CSV or Parquet by the name of the file."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

N_COLUMNS = 20
ROWS_PER_GROUP = 500_000


def make_numbers(n_rows: int, n_categories: int = 0) -> pd.DataFrame:
    """Make `N_COLUMNS` numbers, categories of ten levels, and a `target` of two classes that some numbers determine."""
    rng = np.random.default_rng(42)
    table = pd.DataFrame(rng.normal(size=(n_rows, N_COLUMNS)), columns=[f"x{n:02d}" for n in range(N_COLUMNS)])
    levels = np.array([f"level {number}" for number in range(10)])
    for number in range(n_categories):
        table[f"c{number}"] = pd.Series(levels[rng.integers(0, 10, n_rows)], dtype="str")
    score = table["x00"] + table["x01"] * table["x02"] + rng.normal(size=n_rows)
    table["target"] = pd.Series(np.where(score > 0, "yes", "no"), dtype="str")
    return table


def make_orders(n_rows: int) -> pd.DataFrame:
    """Make what a CSV file usually holds: an id, a date, a category, numbers, and a `target` of two classes."""
    rng = np.random.default_rng(42)
    amount = rng.gamma(2, 30, n_rows).round(2)
    cities = np.array([f"city {number}" for number in range(50)])
    days = pd.date_range("2020-01-01", periods=1000).strftime("%Y-%m-%d").to_numpy()
    return pd.DataFrame(
        {
            "id": np.arange(n_rows),
            "day": days[rng.integers(0, len(days), n_rows)],
            "city": cities[rng.integers(0, len(cities), n_rows)],
            "quantity": rng.integers(1, 20, n_rows),
            "amount": amount,
            "target": np.where(amount + rng.normal(0, 30, n_rows) > 60, "yes", "no"),
        }
    )


def write_large(path: Path, n_rows: int, *, has_id: bool = False) -> None:
    """Write a Parquet file group by group, so that it may be larger than memory.

    It holds `N_COLUMNS` numbers and a `target` of two classes, which depends on ten interactions and on noise: the more
    rows a model learns from, the better it is.

    Args:
        has_id: Whether the first column is an `id`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [f"x{n:02d}" for n in range(N_COLUMNS)]
    kinds = [*([("id", pa.int64())] if has_id else []), *((name, pa.float64()) for name in names)]
    schema = pa.schema([*kinds, ("target", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, n_rows, ROWS_PER_GROUP):
            n_group = min(ROWS_PER_GROUP, n_rows - start)
            rng = np.random.default_rng([42, start])
            numbers = rng.normal(size=(N_COLUMNS, n_group))
            score = (np.sin(3 * numbers[::2]) * numbers[1::2]).sum(axis=0) + rng.normal(size=n_group)
            columns = dict(zip(names, numbers, strict=True)) | {"target": np.where(score > 0, "yes", "no")}
            if has_id:
                columns["id"] = np.arange(start, start + n_group)
            writer.write_table(pa.table({name: columns[name] for name in schema.names}, schema))


if __name__ == "__main__":
    path, n_rows = Path(sys.argv[1]), int(sys.argv[2])
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        make_orders(n_rows).to_csv(path, index=False)
    else:
        make_numbers(n_rows).to_parquet(path, index=False)
