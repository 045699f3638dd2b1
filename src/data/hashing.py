"""Hash values and row numbers, to draw random rows that do not depend on how a table is divided."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Uniformly distributed 64-bit integers.
Hashes = NDArray[np.uint64]


def hash_values(values: "pd.Series[Any]", seed: int) -> Hashes:
    """Hash each value; equal values of one dtype have equal hashes.

    Args:
        values: Shape (n_rows,).
        seed: At least 0. Hashes of different seeds are independent.
    """
    return _mix(np.asarray(pd.util.hash_pandas_object(values, index=False), dtype=np.uint64), seed)


def hash_row_numbers(start: int, n_rows: int, seed: int) -> Hashes:
    """Hash the positions of rows in their whole table.

    Args:
        start: Position of the first row.
        seed: At least 0. Hashes of different seeds are independent.
    """
    return _mix(pd.util.hash_array(np.arange(start, start + n_rows, dtype=np.uint64)), seed)


def highest_hash(share: float) -> np.uint64:
    """Return the hash that a share of all hashes does not exceed; the share is from 0 to 1."""
    return np.uint64(min(max(int(share * 2**64) - 1, 0), 2**64 - 1))


def merge_unique(*hashes: Hashes) -> Hashes:
    """Return the unique hashes of all arrays, sorted; np.union1d of NumPy 2.4 takes a hundred times as long."""
    merged = np.concatenate(hashes)
    merged.sort()
    return merged[np.r_[True, merged[1:] != merged[:-1]]] if len(merged) else merged


def _mix(hashes: Hashes, seed: int) -> Hashes:
    # For integers, pandas uses the finalizer of SplitMix64 (Steele et al. 2014): flipping one bit of the input
    # changes about half of the bits of the hash.
    return pd.util.hash_array(hashes ^ pd.util.hash_array(np.array([seed], dtype=np.uint64)))
