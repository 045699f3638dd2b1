"""Tables to measure with: numbers, and a class that can be learned from some of them."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

N_COLUMNS = 20


def write_table(path: Path, n_rows: int, n_categories: int = 0) -> pd.DataFrame:
    """Write a table of `N_COLUMNS` numbers, categories of ten levels and a `target` of two classes as Parquet.

    Args:
        path: The file.
        n_rows: Rows.
        n_categories: Categories.

    Returns:
        The table.
    """
    rng = np.random.default_rng(42)
    table = pd.DataFrame(rng.normal(size=(n_rows, N_COLUMNS)), columns=[f"x{n:02d}" for n in range(N_COLUMNS)])
    levels = np.array([f"level {number}" for number in range(10)])
    for number in range(n_categories):
        table[f"c{number}"] = pd.Series(levels[rng.integers(0, 10, n_rows)], dtype="str")
    score = table["x00"] + table["x01"] * table["x02"] + rng.normal(size=n_rows)
    table["target"] = pd.Series(np.where(score > 0, "yes", "no"), dtype="str")
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)
    return table


if __name__ == "__main__":
    write_table(Path(sys.argv[1]), int(sys.argv[2]))
