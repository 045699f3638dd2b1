"""How a text of rows is read, at training and at prediction alike, and what its faults are called."""

import lzma
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from src.config.data_load import TableFile

# What a damaged file raises: that of gzip and of xz is no OSError.
UNREADABLE = (pa.ArrowInvalid, EOFError, OSError, zlib.error, lzma.LZMAError)
# A row may not be longer than a block.
BLOCK_BYTES = 8 * 2**20


def csv_options(
    how: TableFile, kind: str, types: Mapping[str, pa.DataType], only: Iterable[str] = (), with_care: bool = False
) -> dict[str, Any]:
    """Say to pyarrow how a text is written.

    Args:
        how: As the settings say it.
        kind: Suffix of the file, without that of a compression.
        types: Types of columns that are not to be told by the text.
        only: Columns to read, by default all.
        with_care: Whether a quoted line end may lie across blocks.
    """
    usual = "\t" if kind == ".tsv" else ","
    return {
        "read_options": pa_csv.ReadOptions(encoding=how.encoding, block_size=BLOCK_BYTES, use_threads=not with_care),
        "parse_options": pa_csv.ParseOptions(
            delimiter=usual if how.separator == "auto" else how.separator, newlines_in_values=with_care
        ),
        "convert_options": pa_csv.ConvertOptions(
            column_types=types,
            include_columns=list(only),
            null_values=how.missing,
            strings_can_be_null=True,
            decimal_point=how.decimal,
        ),
    }


def wrong_encoding(name: str, how: TableFile, what: str) -> str:
    """Tell that bytes are not of the encoding, and which setting says another."""
    return (
        f"{name} is not all {how.encoding} ({what}); set data_load.source.encoding to what it is, as cp1252 or latin-1."
    )


def first_line(error: Exception) -> str:
    """Tell an error in one line; pyarrow's go on with the row."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
