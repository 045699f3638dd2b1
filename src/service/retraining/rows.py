"""Add labelled rows to the user's own table."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from src.atomic import atomic_path
from src.config.data_load import FileSource
from src.config.schema import Config
from src.data.columns import declared_columns, read_as_text, recorded_columns
from src.data.kinds import holds_text
from src.data.target import prepare_target
from src.data_load.infer import infer_columns
from src.data_load.read_file import kind_of, read_file
from src.data_load.text_files import TEXT_SUFFIXES, open_plain, opener_of
from src.data_load.typed_files import PARQUET_SUFFIXES
from src.data_load.validate import check_table
from src.errors import DataError
from src.text import one_line

MAX_NAMES = 500


def add_rows(config: Config, new: Path) -> int:
    """Append the rows of a file to the table at `data_load.external_path`, except those that it has already.

    Rows are compared by their converted values. The bytes of the former rows stay the same in a text file.

    Args:
        config: All settings, of the repository in the working directory.
        new: A file with the columns of the table, in any order, which is read as the table is.

    Returns:
        Number of rows that were added.

    Raises:
        DataError: The table is not a CSV, TSV, text or Parquet file, or the new rows do not fit it.
    """
    source, path = check_appendable(config), config.data_load.external_path
    declared, recorded = declared_columns(config), recorded_columns(config)
    known = recorded | declared
    rows = [read_file(file, source, read_as_text(known)) for file in (path, new)]
    _compare_columns(rows[0], rows[1], new)
    rows[1] = rows[1][list(rows[0].columns)]
    added = rows[1][~_find_known(rows[0], rows[1], config, new)]
    if len(added):
        _append_parquet(path, added) if _is_parquet(path) else _append_text(path, added, source)
    return len(added)


def check_appendable(config: Config) -> FileSource:
    """Return the source of the table if rows can be appended to it.

    Raises:
        DataError: The table is not the user's own, or it is a folder, compressed, or neither text nor Parquet.
    """
    source, path = config.data_load.source, config.data_load.external_path
    if not isinstance(source, FileSource):
        raise DataError(
            f"data_load.source has kind {source.kind!r}, to which no rows can be added; set up a table of your own by "
            "`make new-data FILE=…`."
        )
    if not path.exists():
        raise DataError(f"{path} is missing; restore it by `dvc pull`.")
    is_plain_text = not path.is_dir() and kind_of(path, str(path)) in TEXT_SUFFIXES and opener_of(path)[0] is open_plain
    if path.is_dir() or not (is_plain_text or _is_parquet(path)) or source.separator == "whitespace":
        raise DataError(
            f"rows cannot be added to {path}: it must be one Parquet file, or a text file with separators that is not "
            "compressed. Add them yourself, then run `make pipeline`."
        )
    return source


def _is_parquet(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in PARQUET_SUFFIXES


def _compare_columns(table: pd.DataFrame, new: pd.DataFrame, path: Path) -> None:
    """Raise DataError unless both tables have the same columns."""
    parts = {"lacks": set(table.columns) - set(new.columns), "has also": set(new.columns) - set(table.columns)}
    problems = [f"{verb} {', '.join(map(repr, sorted(names)))}" for verb, names in parts.items() if names]
    if problems:
        raise DataError(
            f"{path} {one_line(' and '.join(problems), MAX_NAMES)}; new rows need exactly the columns of the table."
        )


def _find_known(table: pd.DataFrame, new: pd.DataFrame, config: Config, path: Path) -> "pd.Series[bool]":
    """Return which new rows the table has already, after a check of all new values."""
    target, task = config.base.target_column, config.base.task
    declared, recorded = declared_columns(config), recorded_columns(config)
    columns = infer_columns(table.drop(columns=target), recorded | declared)
    if n_missing := int(new[target].isna().sum()):
        raise DataError(f"{path}: {n_missing} of {len(new)} rows have no {target!r}; label or omit them.")
    if holds_text(table[target]) != holds_text(new[target]):
        raise DataError(f"{path}: column {target!r} holds texts here or in the table, and other values there.")
    try:
        check_table(new, columns, declared, recorded, config)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    labelled = table[table[target].notna()]
    # Equal values have equal hashes only in columns of one dtype.
    together, _ = prepare_target(
        pd.concat([labelled, new], ignore_index=True), target, task, "error", declared.get(target, {})
    )
    hashes = pd.util.hash_pandas_object(check_table(together, columns, declared, recorded, config), index=False)
    n_known = len(labelled)
    return pd.Series(hashes[n_known:].isin(hashes[:n_known]).to_numpy(), index=new.index)


def _append_text(path: Path, rows: pd.DataFrame, source: FileSource) -> None:
    separator = source.separator
    if separator == "auto":
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
    content = path.read_bytes()
    # These write a byte order mark at the beginning of each text.
    if source.encoding.lower().replace("_", "-") in ("utf-16", "utf-32", "utf-8-sig"):
        raise DataError(f"rows cannot be added to {path} in {source.encoding}; save it as utf-8.")
    end = "" if content.decode(source.encoding).endswith("\n") else "\n"
    text = rows.to_csv(sep=separator, decimal=source.decimal, header=False, index=False, lineterminator="\n")
    with atomic_path(path) as temporary:
        temporary.write_bytes(content + f"{end}{text}".encode(source.encoding))


def _append_parquet(path: Path, rows: pd.DataFrame) -> None:
    table = pq.read_table(path)
    try:
        new = pa.Table.from_pandas(rows, preserve_index=False).cast(table.schema.remove_metadata())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DataError(f"the new rows do not fit the types of {path}: {one_line(str(error), MAX_NAMES)}.") from None
    with atomic_path(path) as temporary:
        pq.write_table(pa.concat_tables([table, new.replace_schema_metadata(table.schema.metadata)]), temporary)
