"""Tables to measure with: `python -m benchmarks.tables FILE N_ROWS`, as CSV or Parquet by the name of the file."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

N_COLUMNS = 20


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


if __name__ == "__main__":
    path, n_rows = Path(sys.argv[1]), int(sys.argv[2])
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        make_orders(n_rows).to_csv(path, index=False)
    else:
        make_numbers(n_rows).to_parquet(path, index=False)
