"""Compute two features, or split the rows, with Polars: `python prepare.py featurize|split FILES`.

`featurize` reads the Parquet files of the pattern FILES and writes `features.parquet` beside this script; `split`
writes `train.parquet` and `test.parquet` from that. Both use the streaming engine.
"""

import sys

import polars as pl


def featurize(files: str) -> None:
    """Add a ratio and a product."""
    rows = pl.scan_parquet(files)
    ratio, product = pl.col("x00") / pl.col("x01"), pl.col("x02") * pl.col("x03")
    rows.with_columns(ratio.alias("ratio"), product.alias("product")).sink_parquet(
        "features.parquet", compression="snappy"
    )


def split(_: str) -> None:
    """Put every fifth row, by the hash of its id, into the test set."""
    rows = pl.scan_parquet("features.parquet")
    is_test = pl.col("id").hash(seed=42) % 5 == 0
    # One pass writes both.
    sinks = [
        rows.filter(chosen).sink_parquet(f"{name}.parquet", compression="snappy", lazy=True)
        for name, chosen in (("train", ~is_test), ("test", is_test))
    ]
    pl.collect_all(sinks, engine="streaming")


if __name__ == "__main__":
    {"featurize": featurize, "split": split}[sys.argv[1]](sys.argv[2])
