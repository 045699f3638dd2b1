"""Predict a file of raw rows: `python -m src.predict [--rev v1.0.0] --input rows.csv --output predictions.parquet`."""

import argparse
import csv
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from tqdm import tqdm

from src.atomic import atomic_path
from src.config.data_load import TableFile
from src.data.columns import Columns, read_as_text
from src.data.files import open_parquet
from src.data.kinds import convert_columns, has_number_format
from src.data_load.arrow import to_table
from src.data_load.read_file import kind_of
from src.data_load.text_files import (
    TEXT_SUFFIXES,
    UNREADABLE,
    check_last_value,
    check_text,
    csv_options,
    open_text,
    reason_of,
    wrong_encoding,
)
from src.data_load.typed_files import PARQUET_SUFFIXES, check_parts, read_typed, without_marks
from src.errors import DataError, MissingInputError
from src.text import show
from src.utils.command import command
from src.versions.load import load_model, load_table_file

logger = logging.getLogger(__name__)

CHUNK_ROWS = 100_000
DEFAULT_FORMAT = TableFile()
# Stdin or stdout.
PIPE = Path("-")
# Matches 1,5 but not 1.000,5.
_DECIMAL_COMMA = r"^([^,.]*),([^,.]*)$"


def predict_file(
    model: Any,
    input_path: Path,
    output_path: Path,
    chunk_rows: int = CHUNK_ROWS,
    how: TableFile = DEFAULT_FORMAT,
    keep: Sequence[str] = (),
    pipe_format: str = "csv",
) -> int:
    """Predict each row of a table in chunks, and write the output atomically.

    Args:
        model: A fitted Pipeline that takes raw columns, from `load_model`.
        input_path: A file of any type that training reads, or `-` for stdin; columns that neither the model nor
            `keep` needs are ignored. Text and Parquet are read in chunks, other types at once.
        output_path: CSV or Parquet, or `-` for stdout, with the columns of `keep`, the column `prediction` in the
            order of the rows and, if the model has probabilities, a column `probability_<class>` in [0, 1] for each
            class.
        chunk_rows: Rows in memory at a time.
        how: Format of the file, as in `data_load.source` when the model was fitted.
        keep: Columns of the input to write unchanged.
        pipe_format: `csv` or `parquet`, for stdin and stdout.

    Returns:
        Number of rows.

    Raises:
        MissingInputError: The model is no Pipeline of stage `train`.
        DataError: The input cannot be read, a column is missing, a value is not of the kind of its column, or a column
            to keep has the name of a prediction.
        FeatureError: A feature cannot be computed.
        BrokenPipeError: The reader of stdout has closed it.
    """
    names, columns = _raw_columns(model)
    wanted = Wanted(columns, names, list(dict.fromkeys(keep)), chunk_rows, how)
    _check_kept(wanted.keep, model)
    n_rows, parquet = 0, None
    with ExitStack() as stack:
        source, label = input_path, "standard input" if input_path == PIPE else str(input_path)
        if input_path == PIPE:
            source = stack.enter_context(_copied_stdin(pipe_format))
        suffix = f".{pipe_format}" if output_path == PIPE else output_path.suffix
        kind_of(source, label)
        if suffix not in (".csv", ".parquet"):
            raise DataError(f"{output_path} must end in .csv or .parquet, or be - for standard output.")
        sink: Any = sys.stdout.buffer
        if output_path != PIPE:
            sink = stack.enter_context(stack.enter_context(atomic_path(output_path)).open("wb"))
        progress = stack.enter_context(tqdm(desc="predicting", unit=" rows", disable=None))
        for raw, kept, where, first_row in read_chunks(source, label, wanted):
            try:
                X = convert_columns(raw, columns, first_row)
            except DataError as error:
                reason = str(error).removesuffix(".")
                raise DataError(f"{where}: {reason}; correct it, or leave it empty if it is missing.") from None
            predictions = pd.concat([kept, _predict(model, X)], axis="columns")
            if suffix == ".csv":
                predictions.to_csv(sink, index=False, header=not n_rows)
            else:
                rows = pa.Table.from_pandas(predictions, preserve_index=False)
                parquet = parquet or stack.enter_context(pq.ParquetWriter(sink, rows.schema))
                parquet.write_table(rows)
            n_rows += len(raw)
            progress.update(len(raw))
        if not n_rows:
            raise DataError(f"{label} has no rows.")
        sink.flush()
    logger.info("wrote %d predictions to %s", n_rows, "standard output" if output_path == PIPE else output_path)
    return n_rows


@contextmanager
def _copied_stdin(pipe_format: str) -> Iterator[Path]:
    """Copy stdin to a temporary file, because text is read several times, and Parquet from its end."""
    if sys.stdin is None:
        raise DataError("standard input is closed.")
    with tempfile.NamedTemporaryFile(suffix=f".{pipe_format}") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield Path(file.name)


def _check_kept(keep: Sequence[str], model: Any) -> None:
    written = ["prediction", *(f"probability_{label}" for label in getattr(model, "classes_", ()))]
    if clash := [name for name in keep if name in written]:
        raise DataError(f"--keep {show(clash[0])}: a column of the predictions has this name; rename yours.")


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


@dataclass(frozen=True)
class Wanted:
    """What to read.

    Attributes:
        columns: Properties of the columns of the model.
        names: Columns of the model.
        keep: Columns to keep.
        chunk_rows: Maximum number of rows at a time.
        how: Format of the file.
    """

    columns: Columns
    names: list[str]
    keep: list[str]
    chunk_rows: int
    how: TableFile


# Rows for the model, columns to keep, the file, and the number of its rows before these.
Chunk = tuple[pd.DataFrame, pd.DataFrame, str, int]


def read_chunks(path: Path, label: str, wanted: Wanted) -> Iterator[Chunk]:
    """Yield the rows of a file, or of the Parquet parts of a folder, in chunks of at least one row.

    Args:
        label: The name of the file in error messages.
    """
    if path.is_dir():
        parts, schema = check_parts(path, label)
        _check_columns(label, schema.names, wanted)
        for part in parts:
            yield from _read_file(part, str(part), wanted, schema)
    else:
        yield from _read_file(path, label, wanted)


def _read_file(path: Path, label: str, wanted: Wanted, schema: pa.Schema | None = None) -> Iterator[Chunk]:
    kind = kind_of(path, label)
    try:
        if kind in PARQUET_SUFFIXES:
            yield from _read_parquet(path, label, wanted, schema)
        elif kind in TEXT_SUFFIXES:
            yield from _read_text(path, label, wanted, kind)
        else:
            yield from _read_at_once(path, label, wanted, kind)
    except FileNotFoundError:
        raise DataError(f"{label} is missing.") from None
    except (UnicodeError, *UNREADABLE) as error:
        reason = reason_of(error)
        if isinstance(error, UnicodeError) or "invalid UTF8" in reason:
            raise DataError(wrong_encoding(label, wanted.how, reason)) from None
        raise DataError(f"{label} cannot be read as {kind[1:]}: {reason}.") from error


def _read_parquet(path: Path, label: str, wanted: Wanted, schema: pa.Schema | None) -> Iterator[Chunk]:
    names, keep = wanted.names, wanted.keep
    with open_parquet(path) as file:
        if schema is None:
            schema = file.schema_arrow
            _check_columns(label, schema.names, wanted)
        kept_schema = pa.schema([schema.field(name) for name in keep])
        n_rows = 0
        for batch in file.iter_batches(wanted.chunk_rows, columns=list(dict.fromkeys([*names, *keep]))):
            if batch.num_rows:
                rows = pa.Table.from_batches([batch])
                kept = _as_they_are(rows.select(keep).cast(kept_schema))
                yield to_table(without_marks(rows.select(names), wanted.how.na_values), label), kept, label, n_rows
                n_rows += batch.num_rows


def _read_at_once(path: Path, label: str, wanted: Wanted, kind: str) -> Iterator[Chunk]:
    rows = read_typed(path, kind, wanted.how, {*read_as_text(wanted.columns), *wanted.keep}, label)
    _check_columns(label, rows.column_names, wanted)
    for start in range(0, rows.num_rows, wanted.chunk_rows):
        chunk = rows.slice(start, wanted.chunk_rows)
        yield to_table(chunk.select(wanted.names), label), _as_they_are(chunk.select(wanted.keep)), label, start


def _read_text(path: Path, label: str, wanted: Wanted, kind: str) -> Iterator[Chunk]:
    names, keep, how = wanted.names, wanted.keep, wanted.how
    check_text(path, how.encoding, label)
    with open_text(path, how) as raw, pa_csv.open_csv(raw, **csv_options(how, kind, {}, with_care=True)) as file:
        header = file.schema.names
    _check_columns(label, header, wanted, " Check data_load.source.separator." if len(header) == 1 else "")
    # All columns are read as text, and converted by kind: `007` of a category is not 7.
    # The last column shows whether a quote is not closed.
    checked = [name for name in header[-1:] if header.count(name) == 1]
    read = list(dict.fromkeys([*names, *keep, *checked]))
    as_text = csv_options(how, kind, dict.fromkeys(read, pa.string()), read, with_care=True)
    # In a column to keep, `NA` is text.
    as_text["convert_options"].strings_can_be_null = False
    missing = pa.array(how.missing, pa.string())
    n_rows, last = 0, pa.scalar(None)
    numbers = [
        name
        for name in names
        if how.decimal == "," and wanted.columns[name]["kind"] in ("number", "boolean")
        if not has_number_format(wanted.columns[name])
    ]
    with open_text(path, how) as raw, pa_csv.open_csv(raw, **as_text) as file:
        for batch in file:
            for start in range(0, batch.num_rows, wanted.chunk_rows):
                rows = pa.Table.from_batches([batch.slice(start, wanted.chunk_rows)])
                last = rows.column(checked[0])[-1] if checked else last
                known = [pc.if_else(pc.is_in(rows.column(name), missing), None, rows.column(name)) for name in names]
                table = to_table(pa.table(known, names=names), label)
                for name in numbers:
                    table[name] = table[name].str.replace(_DECIMAL_COMMA, r"\1.\2", regex=True)
                yield table, _as_they_are(rows.select(keep)), label, n_rows
                n_rows += rows.num_rows
    check_last_value(path, last, header[-1], n_rows, label)


def _as_they_are(rows: pa.Table) -> pd.DataFrame:
    """Convert columns to pandas without changing their types."""
    table: pd.DataFrame = rows.to_pandas(ignore_metadata=True, types_mapper=pd.ArrowDtype)
    return table


def _check_columns(label: str, found: list[str], wanted: Wanted, hint: str = "") -> None:
    names, keep = wanted.names, wanted.keep
    if missing := [name for name in names if name not in found]:
        raise DataError(f"{label}: missing column {', '.join(missing)}; the model needs {', '.join(names)}.{hint}")
    if missing := [name for name in keep if name not in found]:
        raise DataError(f"--keep {show(missing[0])}: {label} has no such column; it has {', '.join(found)}.{hint}")
    known = dict.fromkeys([*names, *keep])
    if duplicates := [name for name in known if found.count(name) > 1]:
        raise DataError(f"{label}: duplicate column {', '.join(duplicates)}; each name must occur once.")
    if extra := [name for name in found if name not in known]:
        logger.warning("%s: ignoring column %s, which the model does not use", label, ", ".join(extra))


@command
def main() -> None:
    """Predict from the command line."""
    parser = argparse.ArgumentParser(prog="python -m src.predict", description=__doc__)
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        help="raw rows: a file of any type that training reads, in the format of data_load.source, or - for stdin",
    )
    parser.add_argument("--output", type=Path, required=True, help="CSV or Parquet, or - for stdout")
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="COLUMN,…",
        help="columns of the input to write before the prediction; may be repeated",
    )
    parser.add_argument(
        "--format", choices=("csv", "parquet"), default="csv", help="format of stdin and stdout; csv by default"
    )
    parser.add_argument("--rev", help="tag, branch or commit of the model; the workspace by default")
    parser.add_argument(
        "--trust", action="store_true", help="load models/model.joblib even if it is not the one in dvc.lock"
    )
    options = parser.parse_args()
    how = load_table_file(Path.cwd(), options.rev)
    model = load_model(Path.cwd(), options.rev, trust=options.trust)
    try:
        # Names that contain a comma are quoted.
        keep = [name for option in options.keep for names in csv.reader([option], strict=True) for name in names]
    except csv.Error as error:
        raise DataError(f"--keep {options.keep} is not a list of names: {error}.") from None
    try:
        predict_file(model, options.input, options.output, how=how, keep=keep, pipe_format=options.format)
    except BrokenPipeError:
        # `| head` has read enough. Otherwise Python would fail to flush stdout at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
