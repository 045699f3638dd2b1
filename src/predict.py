"""Predict a file of raw rows: `python -m src.predict [--rev v1.0.0] --input rows.csv --output predictions.parquet`."""

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack
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
    check_last_value,
    check_text,
    csv_options,
    open_plain,
    opener_of,
    reason_of,
    wrong_encoding,
)
from src.errors import DataError, MissingInputError
from src.utils.command import command
from src.versions.load import load_model, load_table_file

logger = logging.getLogger(__name__)

CHUNK_ROWS = 100_000
DEFAULT_FORMAT = TableFile()
# Matches 1,5 but not 1.000,5.
_DECIMAL_COMMA = r"^([^,.]*),([^,.]*)$"


def predict_file(
    model: Any, input_path: Path, output_path: Path, chunk_rows: int = CHUNK_ROWS, how: TableFile = DEFAULT_FORMAT
) -> int:
    """Predict each row of a table in chunks, and write the output atomically.

    Args:
        model: A fitted Pipeline that takes raw columns, from `load_model`.
        input_path: CSV or TSV, also compressed, or Parquet; columns that the model does not need are ignored.
        output_path: CSV or Parquet, with the column `prediction` in the order of the rows and, if the model has
            probabilities, a column `probability_<class>` in [0, 1] for each class.
        chunk_rows: Rows in memory at a time.
        how: Format of a text file, as in `data_load.source` when the model was fitted.

    Returns:
        Number of rows.

    Raises:
        MissingInputError: The model is no Pipeline of stage `train`.
        DataError: The input cannot be read, a column is missing, or a value is not of the kind of its column.
        FeatureError: A feature cannot be computed.
    """
    _check_suffixes(input_path, output_path)
    names, columns = _raw_columns(model)
    n_rows, parquet = 0, None
    with atomic_path(output_path) as partial, ExitStack() as stack:
        progress = stack.enter_context(tqdm(desc="predicting", unit=" rows", disable=None))
        for raw in _read_chunks(input_path, columns, names, chunk_rows, how):
            try:
                X = convert_columns(raw, columns, n_rows)
            except DataError as error:
                reason = str(error).removesuffix(".")
                raise DataError(f"{input_path}: {reason}; correct it, or leave it empty if it is missing.") from None
            predictions = _predict(model, X)
            if output_path.suffix == ".csv":
                predictions.to_csv(partial, mode="a", index=False, header=not n_rows)
            else:
                rows = pa.Table.from_pandas(predictions, preserve_index=False)
                parquet = parquet or stack.enter_context(pq.ParquetWriter(partial, rows.schema))
                parquet.write_table(rows)
            n_rows += len(raw)
            progress.update(len(raw))
        if not n_rows:
            raise DataError(f"{input_path} has no rows.")
    logger.info("wrote %d predictions to %s", n_rows, output_path)
    return n_rows


def _raw_columns(model: Any) -> tuple[list[str], Columns]:
    try:
        return list(model.feature_names_in_), model["features"].kw_args["columns"]
    except (AttributeError, IndexError, KeyError, TypeError):
        raise MissingInputError(
            f"the model is a {type(model).__name__}, not a fitted Pipeline with the step `features`, as stage train "
            "writes it; run `dvc repro train`."
        ) from None


def _predict(model: Any, X: pd.DataFrame) -> pd.DataFrame:
    predictions = pd.DataFrame({"prediction": model.predict(X)})
    if hasattr(model, "predict_proba"):
        for label, probability in zip(model.classes_, model.predict_proba(X).T, strict=True):
            predictions[f"probability_{label}"] = probability
    return predictions


def _check_suffixes(input_path: Path, output_path: Path) -> None:
    opener, kind = opener_of(input_path)
    if kind not in TEXT_SUFFIXES and not (kind in PARQUET_SUFFIXES and opener is open_plain):
        known, compressed = ", ".join((*TEXT_SUFFIXES, *PARQUET_SUFFIXES)), ", ".join(COMPRESSIONS)
        raise DataError(f"{input_path} must end in {known}; text can also be compressed: {compressed}.")
    if output_path.suffix not in (".csv", ".parquet"):
        raise DataError(f"{output_path} must end in .csv or .parquet.")


def _read_chunks(
    path: Path, columns: Columns, names: list[str], chunk_rows: int, how: TableFile
) -> Iterator[pd.DataFrame]:
    """Yield tables of 1 to `chunk_rows` rows with the columns `names`."""
    opener, kind = opener_of(path)
    try:
        if kind in PARQUET_SUFFIXES:
            with open_parquet(path) as file:
                _check_columns(path, file.schema_arrow.names, names)
                for batch in file.iter_batches(chunk_rows, columns=names):
                    if batch.num_rows:
                        yield to_table(pa.Table.from_batches([batch]), str(path))[names]
            return
        check_text(path, how.encoding, str(path))
        with opener(path) as raw, pa_csv.open_csv(raw, **csv_options(how, kind, {}, with_care=True)) as file:
            header = file.schema.names
        hint = " Check data_load.source.separator." if len(header) == 1 else ""
        _check_columns(path, header, names, hint)
        # All columns are read as text, and converted by kind: `007` of a category is not 7.
        # The last column shows whether a quote is not closed.
        checked = [name for name in header[-1:] if header.count(name) == 1]
        wanted = list(dict.fromkeys([*names, *checked]))
        as_text = csv_options(how, kind, dict.fromkeys(wanted, pa.string()), wanted, with_care=True)
        n_rows, last = 0, pa.scalar(None)
        numbers = [name for name in names if how.decimal == "," and columns[name]["kind"] in ("number", "boolean")]
        with opener(path) as raw, pa_csv.open_csv(raw, **as_text) as file:
            for batch in file:
                for start in range(0, batch.num_rows, chunk_rows):
                    rows = pa.Table.from_batches([batch.slice(start, chunk_rows)])
                    n_rows, last = n_rows + rows.num_rows, rows.column(checked[0])[-1] if checked else last
                    table = to_table(rows.select(names), str(path))
                    for name in numbers:
                        table[name] = table[name].str.replace(_DECIMAL_COMMA, r"\1.\2", regex=True)
                    yield table
        check_last_value(path, last, header[-1], n_rows, str(path))
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except (UnicodeError, *UNREADABLE) as error:
        reason = reason_of(error)
        if isinstance(error, UnicodeError) or "invalid UTF8" in reason:
            raise DataError(wrong_encoding(str(path), how, reason)) from None
        raise DataError(f"{path} cannot be read as {kind[1:]}: {reason}.") from error


def _check_columns(path: Path, found: list[str], needed: list[str], hint: str = "") -> None:
    if missing := [name for name in needed if name not in found]:
        raise DataError(f"{path}: missing column {', '.join(missing)}; the model needs {', '.join(needed)}.{hint}")
    if duplicates := [name for name in needed if found.count(name) > 1]:
        raise DataError(f"{path}: duplicate column {', '.join(duplicates)}; each name must occur once.")
    known = set(needed)
    if extra := [name for name in found if name not in known]:
        logger.warning("%s: ignoring column %s, which the model does not use", path, ", ".join(extra))


@command
def main() -> None:
    """Predict from the command line."""
    parser = argparse.ArgumentParser(prog="python -m src.predict", description=__doc__)
    parser.add_argument(
        "--input", type=Path, required=True, help="raw rows: Parquet, or text written as data_load.source says"
    )
    parser.add_argument("--output", type=Path, required=True, help="CSV or Parquet")
    parser.add_argument("--rev", help="tag, branch or commit of the model; the workspace by default")
    parser.add_argument(
        "--trust", action="store_true", help="load models/model.joblib even if it is not the one in dvc.lock"
    )
    options = parser.parse_args()
    how = load_table_file(Path.cwd(), options.rev)
    model = load_model(Path.cwd(), options.rev, trust=options.trust)
    predict_file(model, options.input, options.output, how=how)


if __name__ == "__main__":
    sys.exit(main())
