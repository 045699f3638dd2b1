"""Find the key that has a given rank among all rows of a table in parts, exactly and in bounded memory."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_datetime64_any_dtype, is_float_dtype, is_unsigned_integer_dtype

from src.compute.engine import Engine
from src.data.parts import Part, map_parts

Keys = NDArray[np.uint64]
Codes = NDArray[np.intp]
# Returns the key and the stratum of each row.
ReadKeys = Callable[[Part], tuple[Keys, Codes]]

# Keys in memory at once, and bins of a histogram.
MAX_KEYS, MAX_BINS = 100_000, 2**16
SIGN = np.uint64(2**63)


def order_keys(values: "pd.Series[Any]") -> Keys:
    """Map complete numbers or dates to unsigned integers in the same order, shape (n_rows,)."""
    if is_unsigned_integer_dtype(values):
        return values.to_numpy(np.uint64)
    if is_float_dtype(values):
        # Turns -0.0 into 0.0.
        bits = (values.to_numpy(np.float64) + 0.0).view(np.uint64)
        return np.where(bits & SIGN, ~bits, bits | SIGN)
    if is_datetime64_any_dtype(values):
        values = values.astype("int64")
    return values.to_numpy(np.int64).view(np.uint64) ^ SIGN


def find_borders(read_keys: ReadKeys, ranks: NDArray[np.int64], parts: Sequence[Part], engine: Engine) -> Keys:
    """Find the key that has a given rank in each stratum, by radix selection.

    Each pass over the parts counts the keys by their next leading bits, until few enough keys share the leading bits of
    the wanted keys to be sorted. A table with few rows needs no such pass.

    Args:
        read_keys: Function that a worker can import.
        ranks: Rank in each stratum, from 1 to its number of rows, shape (n_strata,).

    Returns:
        Shape (n_strata,).
    """
    strata = np.arange(len(ranks))
    n_bits = max(1, int(math.log2(max(1, MAX_BINS // len(ranks)))))
    prefixes, shift, n_keys = np.zeros(len(ranks), dtype=np.uint64), 64, sum(part.n_rows for part in parts)
    while n_keys > MAX_KEYS and shift > 0:
        width = min(n_bits, shift)
        shift -= width
        count = partial(_count_part, read_keys=read_keys, prefixes=prefixes, shift=shift, width=width)
        counts: NDArray[np.int64] = np.zeros((len(ranks), 2**width), dtype=np.int64)
        for of_part in map_parts(count, parts, engine, "choose test rows"):
            counts += of_part
        totals = counts.cumsum(axis=1)
        bins = (totals < ranks[:, None]).sum(axis=1)
        ranks = ranks - (totals - counts)[strata, bins]
        prefixes = (prefixes << np.uint64(width)) | bins.astype(np.uint64)
        n_keys = int(counts[strata, bins].sum())
    if shift == 0:
        return prefixes
    collect = partial(_collect_part, read_keys=read_keys, prefixes=prefixes, shift=shift)
    found = list(map_parts(collect, parts, engine, "choose test rows"))
    keys, codes = (np.concatenate(each) for each in zip(*found, strict=True))
    order = np.lexsort((keys, codes))
    borders: Keys = keys[order][np.searchsorted(codes[order], strata) + ranks - 1]
    return borders


def _count_part(part: Part, read_keys: ReadKeys, prefixes: Keys, shift: int, width: int) -> NDArray[np.int64]:
    keys, codes = _collect_part(part, read_keys, prefixes, shift + width)
    bins = (keys >> np.uint64(shift)) & np.uint64(2**width - 1)
    shape = len(prefixes), 2**width
    return np.bincount(codes * shape[1] + bins.astype(np.intp), minlength=shape[0] * shape[1]).reshape(shape)


def _collect_part(part: Part, read_keys: ReadKeys, prefixes: Keys, shift: int) -> tuple[Keys, Codes]:
    """Return the keys that share the leading bits of the wanted key of their stratum, and their strata."""
    keys, codes = read_keys(part)
    chosen = keys >> np.uint64(shift) == prefixes[codes]
    return keys[chosen], codes[chosen]
