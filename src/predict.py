"""Predict a file of raw rows: `python -m src.predict [--rev v1.0.0] --input rows.csv --output predictions.parquet`."""

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from tqdm import tqdm

from src.atomic import atomic_path
from src.config.data_load import TableFile
from src.data.columns import Columns
from src.data.files import open_parquet
from src.data.kinds import convert_columns
from src.data_load.arrow import to_table
from src.data_load.read_file import (
    COMPRESSIONS,
    PARQUET_SUFFIXES,
    TEXT_SUFFIXES,
    UNREADABLE,
    csv_options,
    open_plain,
    opener_of,
    wrong_encoding,
)
from src.errors import DataError
from src.utils.command import command
from src.versions.models import load_model
from src.versions.table_file import load_table_file

logger = logging.getLogger(__name__)

# What is in memory at a time.
CHUNK_ROWS = 100_000
DEFAULT = TableFile()
# Between the digits, and no point beside it: 1,5 and not 1.000,5.
_DECIMAL_COMMA = r"^([^,.]*),([^,.]*)$"


def predict_file(
    model: Any, input_path: Path, output_path: Path, chunk_rows: int = CHUNK_ROWS, how: TableFile = DEFAULT
) -> int:
    """Predict each row of a table, piece by piece; the output appears whole or not at all.

    Args:
        model: A fitted Pipeline that takes raw columns, as `load_model` gives it.
        input_path: CSV or TSV, either compressed, or Parquet, with the raw columns; further columns are
            ignored with a warning.
        output_path: CSV or Parquet: in the order of the rows `prediction` and, if the model has
            probabilities, `probability_<class>` in [0, 1].
        chunk_rows: Rows predicted at a time.
        how: How a CSV is written, as `data_load.source` says of the table the model was fitted on.

    Returns:
        Number of rows.

    Raises:
        DataError: The input cannot be read, lacks a column, or holds what is not of the kind
            that the column had when the model was fitted.
        FeatureError: A feature cannot be computed on a row.
    """
    _check_names(input_path, output_path)
    names, columns = list(model.feature_names_in_), model["features"].kw_args["columns"]
    n_rows = 0
    with atomic_path(output_path) as partial, _Writer(partial) as writer:
        progress = tqdm(desc="predicting", unit=" rows", disable=None)
        for raw in _read_pieces(input_path, columns, names, chunk_rows, how):
            if raw.empty:
                continue
            try:
                X = convert_columns(raw, columns, n_rows)
            except DataError as error:
                told = str(error).removesuffix(".")
                raise DataError(f"{input_path}: {told}; mend it, or leave it empty if it is missing.") from None
            writer.write(_predict(model, X))
            n_rows += len(raw)
            progress.update(len(raw))
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


def _check_names(input_path: Path, output_path: Path) -> None:
    opener, kind = opener_of(input_path)
    if kind not in TEXT_SUFFIXES and not (kind in PARQUET_SUFFIXES and opener is open_plain):
        known = ", ".join((*TEXT_SUFFIXES, *PARQUET_SUFFIXES))
        raise DataError(f"{input_path} must end in {known}, a text also in {', '.join(COMPRESSIONS)}.")
    if output_path.suffix not in (".csv", ".parquet"):
        raise DataError(f"{output_path} must end in .csv or .parquet.")


def _read_pieces(
    path: Path, columns: Columns, names: list[str], chunk_rows: int, how: TableFile
) -> Iterator[pd.DataFrame]:
    opener, kind = opener_of(path)
    try:
        if kind in PARQUET_SUFFIXES:
            with open_parquet(path) as file:
                _check_columns(path, file.schema_arrow.names, names)
                for batch in file.iter_batches(chunk_rows, columns=names):
                    yield to_table(pa.Table.from_batches([batch]), str(path))[names]
            return
        with opener(path) as raw, pa_csv.open_csv(raw, **csv_options(how, kind, {}, with_care=True)) as file:
            header = file.schema.names
        hint = " Is its separator another than data_load.source says?" if len(header) == 1 else ""
        _check_columns(path, header, names, hint)
        # All as text, as the kinds of the columns want it: `007` of a category is not 7.
        as_text = csv_options(how, kind, dict.fromkeys(names, pa.string()), names, with_care=True)
        numbers = [name for name in names if how.decimal == "," and columns[name]["kind"] in ("number", "boolean")]
        with opener(path) as raw, pa_csv.open_csv(raw, **as_text) as file:
            for batch in file:
                for start in range(0, batch.num_rows, chunk_rows):
                    table = to_table(pa.Table.from_batches([batch.slice(start, chunk_rows)]), str(path))
                    for name in numbers:
                        table[name] = table[name].str.replace(_DECIMAL_COMMA, r"\1.\2", regex=True)
                    yield table
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except (UnicodeError, *UNREADABLE) as error:
        if isinstance(error, UnicodeError) or "invalid UTF8" in str(error):
            raise DataError(wrong_encoding(str(path), how, " ".join(str(error).split()))) from None
        raise DataError(f"{path} cannot be read as {kind[1:]}: {' '.join(str(error).split())}.") from error


def _check_columns(path: Path, found: list[str], needed: list[str], hint: str = "") -> None:
    if missing := [name for name in needed if name not in found]:
        raise DataError(f"{path} lacks column {', '.join(missing)}; the model needs {', '.join(needed)}.{hint}")
    if twice := [name for name in needed if found.count(name) > 1]:
        raise DataError(f"{path}: column {', '.join(twice)} is there more than once; name each column once.")
    known = set(needed)
    if extra := [name for name in found if name not in known]:
        logger.warning("%s: ignoring column %s, which the model was not fitted on", path, ", ".join(extra))


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
    parser.add_argument(
        "--input", type=Path, required=True, help="raw columns: Parquet, or CSV as data_load.source says"
    )
    parser.add_argument("--output", type=Path, required=True, help="CSV or Parquet")
    parser.add_argument("--rev", help="tag, branch or commit of the model; by default the workspace")
    options = parser.parse_args()
    how = load_table_file(Path.cwd(), options.rev)
    predict_file(load_model(Path.cwd(), options.rev), options.input, options.output, how=how)


if __name__ == "__main__":
    sys.exit(main())
