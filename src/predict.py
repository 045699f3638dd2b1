"""Predict a file of raw rows: `python -m src.predict [--rev v1.0.0] --input rows.csv --output predictions.parquet`."""

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import is_numeric_dtype
from tqdm import tqdm

from src.atomic import atomic_path
from src.errors import DataError
from src.utils.command import command
from src.versions.models import load_model

logger = logging.getLogger(__name__)

CHUNK_ROWS = 100_000


def predict_file(model: Any, input_path: Path, output_path: Path, chunk_rows: int = CHUNK_ROWS) -> int:
    """Predict each row of a table, chunk by chunk; the output appears whole or not at all.

    Args:
        model: A fitted Pipeline that takes raw columns, as `load_model` gives it.
        input_path: CSV or Parquet with the raw columns; further columns are ignored with a warning.
        output_path: CSV or Parquet: in the order of the rows `prediction` and, if the model has
            probabilities, `probability_<class>` in [0, 1].
        chunk_rows: Rows in memory at a time.

    Returns:
        Number of rows.

    Raises:
        DataError: The input cannot be read, lacks a column, or holds text where the model
            was fitted on numbers.
        FeatureError: A feature cannot be computed on a row.
    """
    for path in (input_path, output_path):
        if path.suffix not in (".csv", ".parquet"):
            raise DataError(f"{path} must end in .csv or .parquet.")
    numbers, n_rows = _number_columns(model), 0
    with atomic_path(output_path) as partial, _Writer(partial) as writer:
        progress = tqdm(desc="predicting", unit=" rows", disable=None)
        for chunk in _read_chunks(input_path, list(model.feature_names_in_), numbers, chunk_rows):
            if chunk.empty:
                continue
            _check_numbers(chunk.reset_index(drop=True), numbers, input_path, n_rows)
            writer.write(_predict(model, chunk))
            n_rows += len(chunk)
            progress.update(len(chunk))
        progress.close()
        if not n_rows:
            raise DataError(f"{input_path} holds no rows.")
    logger.info("wrote %d predictions to %s", n_rows, output_path)
    return n_rows


def _predict(model: Any, X: pd.DataFrame) -> pd.DataFrame:
    predictions = pd.DataFrame({"prediction": model.predict(X)})
    if hasattr(model, "predict_proba"):
        shares = model.predict_proba(X)
        for position, label in enumerate(model.classes_):
            predictions[f"probability_{label}"] = shares[:, position]
    return predictions


def _number_columns(model: Any) -> set[str]:
    """List the raw columns that were numbers when the model was fitted."""
    fitted = {name: columns for name, _, columns in model["preprocess"].transformers_}
    return set(fitted["numbers"]) & set(model.feature_names_in_)


def _read_chunks(path: Path, columns: list[str], numbers: set[str], chunk_rows: int) -> Iterator[pd.DataFrame]:
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                _check_columns(path, file.schema_arrow.names, columns)
                for batch in file.iter_batches(chunk_rows, columns=columns):
                    yield batch.to_pandas()[columns]
            return
        header = pd.read_csv(path, nrows=0)
        _check_columns(path, list(header.columns), columns)
        # The wrong type in a chunk is told by its row; text that looks like a number stays text.
        text = {name: "str" for name in columns if name not in numbers}
        for chunk in pd.read_csv(path, usecols=columns, dtype=text, chunksize=chunk_rows, low_memory=False):
            yield chunk[columns]
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except (pa.ArrowInvalid, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as {path.suffix[1:]}: {' '.join(str(error).split())}.") from error


def _check_columns(path: Path, found: list[str], needed: list[str]) -> None:
    missing = [name for name in needed if name not in found]
    if missing:
        raise DataError(f"{path} lacks column {', '.join(missing)}; the model needs {', '.join(needed)}.")
    extra = [name for name in found if name not in needed]
    if extra:
        logger.warning("%s: ignoring column %s, which the model was not fitted on", path, ", ".join(extra))


def _check_numbers(chunk: pd.DataFrame, numbers: set[str], path: Path, offset: int) -> None:
    for name in sorted(numbers):
        column = chunk[name]
        if is_numeric_dtype(column) or column.isna().all():
            continue
        parsed = pd.to_numeric(column, errors="coerce")
        wrong = column[parsed.isna() & column.notna()]
        example = f", as {wrong.iloc[0]!r} in row {offset + int(wrong.index[0]) + 1}" if len(wrong) else ""
        raise DataError(f"{path}: column {name} must hold numbers, got {column.dtype}{example}.")


class _Writer:
    """Write tables one after another to one CSV or Parquet file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parquet: pq.ParquetWriter | None = None
        self._is_first = True

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._parquet:
            self._parquet.close()

    def write(self, table: pd.DataFrame) -> None:
        """Append rows."""
        if self._path.suffix == ".csv":
            table.to_csv(self._path, mode="a", index=False, header=self._is_first)
        else:
            rows = pa.Table.from_pandas(table, preserve_index=False)
            self._parquet = self._parquet or pq.ParquetWriter(self._path, rows.schema)
            self._parquet.write_table(rows)
        self._is_first = False


@command
def main() -> None:
    """Predict, from the command line."""
    parser = argparse.ArgumentParser(prog="python -m src.predict", description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="CSV or Parquet with the raw columns")
    parser.add_argument("--output", type=Path, required=True, help="CSV or Parquet")
    parser.add_argument("--rev", help="tag, branch or commit of the model; by default the workspace")
    options = parser.parse_args()
    predict_file(load_model(Path.cwd(), options.rev), options.input, options.output)


if __name__ == "__main__":
    sys.exit(main())
