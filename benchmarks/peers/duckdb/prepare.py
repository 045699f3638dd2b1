"""Compute two features, or split the rows, with DuckDB: `python prepare.py featurize|split FILES`.

`featurize` reads the Parquet files of the pattern FILES and writes `features.parquet` beside this script; `split`
writes `train.parquet` and `test.parquet` from that.
"""

import sys

import duckdb

COPY = "COPY ({query}) TO '{name}.parquet' (FORMAT parquet, COMPRESSION snappy)"


def featurize(files: str) -> None:
    """Add a ratio and a product."""
    query = f"SELECT *, x00 / x01 AS ratio, x02 * x03 AS product FROM '{files}'"  # noqa: S608 - our own files
    duckdb.execute(COPY.format(query=query, name="features"))


def split(_: str) -> None:
    """Put every fifth row, by the hash of its id, into the test set."""
    for name, sign in (("train", ">"), ("test", "=")):
        query = f"SELECT * FROM 'features.parquet' WHERE hash(id) % 5 {sign} 0"  # noqa: S608 - no input
        duckdb.execute(COPY.format(query=query, name=name))


if __name__ == "__main__":
    {"featurize": featurize, "split": split}[sys.argv[1]](sys.argv[2])
