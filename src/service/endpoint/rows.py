"""Read the rows of a request: JSON, CSV or Parquet become the columns that `predict` makes of a file."""

import contextlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from src.data.columns import Columns
from src.data.kinds import PLURALS, TEXT, convert, convert_columns
from src.data_load.arrow import to_table
from src.data_load.typed_files import regular, without_marks
from src.errors import DataError
from src.predict import Wanted, read_chunks
from src.service.endpoint.errors import RequestError
from src.service.endpoint.load import Served

SUFFIXES = {
    "text/csv": ".csv",
    "application/vnd.apache.parquet": ".parquet",
    "application/x-parquet": ".parquet",
    "application/parquet": ".parquet",
}
# Types of Arrow with values of any length.
TEXTS = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view,
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view,
)  # fmt: skip
FORMS = ("records", "columns", "dataframe_records", "dataframe_split", "inputs", "instances")
Values = dict[str, list[Any]]
# Types of JSON that a column of this kind takes as they are; others are converted as in a file.
_NUMBERS, _TEXTS, _BOOLEANS = {float, int, type(None)}, {str, type(None)}, {bool, type(None)}


def parse_json(body: bytes) -> list[Any] | dict[str, Any]:
    """Parse a request into records, or into values by column.

    Raises:
        RequestError: It is not JSON, or has no rows.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        content = _parse_large_numbers(body, error)
    if isinstance(content, dict) and len(content) >= 1:
        form = next((name for name in FORMS if isinstance(content.get(name), list | dict)), None)
        if form == "dataframe_split":
            split = content[form]
            names, data = (split.get("columns"), split.get("data")) if isinstance(split, dict) else (None, None)
            if not isinstance(names, list) or not isinstance(data, list):
                raise RequestError(422, "dataframe_split needs `columns` and `data`", field=form)
            if not all(isinstance(row, list) and len(row) == len(names) for row in data):
                raise RequestError(422, "each row of data needs a value for each column", field=form)
            if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
                raise RequestError(422, "column names must be unique strings", field=form)
            content = [dict(zip(names, row, strict=True)) for row in data]
        elif form is not None:
            content = content[form]
        else:
            content = [content]
    if isinstance(content, dict):
        columns = {name: values if isinstance(values, list) else [values] for name, values in content.items()}
        if len({len(values) for values in columns.values()}) > 1:
            raise RequestError(422, "the columns have different numbers of values")
        if not columns or not next(iter(columns.values())):
            raise RequestError(422, "the request has no rows")
        return columns
    if not isinstance(content, list):
        raise RequestError(422, "the body is a single value", allowed="rows as objects, or values by column")
    if not content:
        raise RequestError(422, "the request has no rows")
    return content


def _parse_large_numbers(body: bytes, error: orjson.JSONDecodeError) -> Any:
    """Parse what orjson refuses although it is JSON: 1e999, which is infinite, as in a file. NaN stays refused."""
    if "infinity" in str(error):
        with contextlib.suppress(ValueError, RecursionError):
            content = json.loads(body, parse_int=float, parse_constant=orjson.loads)
            # orjson refuses half a surrogate pair, too.
            json.dumps(content, ensure_ascii=False).encode()
            return content
    raise RequestError(
        400, f"the body is not JSON: {error}", allowed="JSON in UTF-8, with null for a missing value"
    ) from None


def count_rows(content: list[Any] | dict[str, Any]) -> int:
    """Return the number of rows of a parsed request."""
    return len(content) if isinstance(content, list) else len(next(iter(content.values())))


def take_columns(content: list[Any] | dict[str, Any], names: Sequence[str]) -> Values:
    """Return the values of the model's columns.

    Raises:
        RequestError: A column is missing from a row, or a row is not an object.
    """
    if isinstance(content, dict):
        for name in names:
            if name not in content:
                raise _missing(name, None, names)
        return {name: content[name] for name in names}
    try:
        return {name: [record[name] for record in content] for name in names}
    except (KeyError, TypeError, IndexError):
        for number, record in enumerate(content, 1):
            if not isinstance(record, dict):
                raise RequestError(422, "a row is not an object", row=number, value=_short(record)) from None
            for name in names:
                if name not in record:
                    raise _missing(name, number, names) from None
        raise


def convert_content(content: list[Any] | dict[str, Any], served: Served) -> pd.DataFrame:
    """Convert the rows of one request.

    Raises:
        RequestError: A column is missing, or a value is not of the kind of its column.
    """
    values = take_columns(content, served.predictor.names)
    X = convert_values(values, served)
    return convert_like_a_file(values, served) if X is None else X


def convert_values(values: Values, served: Served) -> pd.DataFrame | None:
    """Convert values that have the types of their columns; None if some do not."""
    columns = served.predictor.columns
    made: dict[str, Any] = {}
    if served.how.na_values:
        return None
    for name, column in values.items():
        kind, types = columns[name]["kind"], set(map(type, column))
        if (kind == "number" and types <= _NUMBERS) or (kind == "boolean" and types <= _BOOLEANS):
            made[name] = np.array(column, dtype=np.float64)
        elif types <= _TEXTS:
            made[name] = pd.array(column, dtype=TEXT)
        else:
            return None
    X = pd.DataFrame(made, copy=False)
    try:
        return convert_columns(X, columns)
    except DataError:
        return None


def convert_like_a_file(values: Values, served: Served) -> pd.DataFrame:
    """Convert values of one request as those of a file.

    Raises:
        RequestError: A value is not of the kind of its column.
    """
    arrays = []
    for name, column in values.items():
        for number, value in enumerate(column, 1):
            if isinstance(value, list | dict):
                raise _not_single(name, row=number, value=_short(value))
        try:
            arrays.append(pa.array(regular(column, served.how.na_values)))
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            raise RequestError(422, f"column {name!r}: {error}", field=name) from None
    raw = to_table(without_marks(pa.table(arrays, names=list(values)), served.how.na_values), "the request")
    return convert_raw(raw, served.predictor.columns)


def convert_raw(raw: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Convert raw rows.

    Raises:
        RequestError: A value is not of the kind of its column.
    """
    try:
        return convert_columns(raw, columns)
    except DataError as error:
        for name, declared in columns.items():
            if name in raw.columns and declared["kind"] != "ignore":
                invalid = convert(raw[name], declared)[1]
                if invalid is not None:
                    at = int(np.flatnonzero(invalid.to_numpy())[0])
                    value = raw[name].iloc[at]
                    raise RequestError(
                        422, str(error), field=name, row=at + 1, value=_short(value), allowed=PLURALS[declared["kind"]]
                    ) from None
        raise RequestError(422, str(error)) from None


def read_table(body: bytes, suffix: str, served: Served, max_rows: int, max_bytes: int) -> pd.DataFrame:
    """Read and convert the rows of a CSV or Parquet request.

    Args:
        max_bytes: Largest size of Parquet's values.

    Raises:
        RequestError: It cannot be read, is too large, or a value is not of the kind of its column.
    """
    names = served.predictor.names
    if suffix == ".parquet":
        _check_parquet(body, names, max_rows, max_bytes)
    wanted = Wanted(served.predictor.columns, names, [], max_rows + 1, served.how)
    chunks: list[pd.DataFrame] = []
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(body)
        file.flush()
        try:
            for raw, *_ in read_chunks(Path(file.name), "the request", wanted):
                chunks.append(raw)
                if sum(map(len, chunks)) > max_rows:
                    raise too_many_rows(max_rows)
        except DataError as error:
            raise RequestError(422, str(error)) from None
    if not chunks:
        raise RequestError(422, "the request has no rows")
    return convert_raw(chunks[0] if len(chunks) == 1 else pd.concat(chunks, ignore_index=True), wanted.columns)


def too_many_rows(max_rows: int) -> RequestError:
    """Return the error for a request with more rows than `serve.max_rows`."""
    return RequestError(413, "the request has too many rows", allowed=f"at most {max_rows} rows")


def too_large(what: str, max_bytes: int) -> RequestError:
    """Return the error for a request with more bytes than `serve.max_body_mb`."""
    return RequestError(413, f"{what} is too large", {"connection": "close"}, allowed=f"at most {max_bytes} bytes")


def _check_parquet(body: bytes, names: Sequence[str], max_rows: int, max_bytes: int) -> None:
    """Check the size of a file whose values may be far larger than the file."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(body))
        if metadata.num_rows > max_rows:
            raise too_many_rows(max_rows)
        n_bytes = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
        texts = []
        for column in metadata.schema.to_arrow_schema():
            if column.name in names:
                kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
                if pa.types.is_nested(kind) or pa.types.is_fixed_size_binary(kind):
                    raise _not_single(column.name)
                if any(is_text(kind) for is_text in TEXTS):
                    texts.append(column.name)
        if texts and n_bytes <= max_bytes:
            # As a dictionary, a text that all rows have takes its space once; as a column of pandas, once a row.
            with pq.ParquetFile(pa.BufferReader(body), metadata=metadata, read_dictionary=texts) as file:
                table = file.read(texts, use_threads=False)
            # A name that occurs twice, which is refused later, is no dictionary.
            columns = (column for column in table.columns if pa.types.is_dictionary(column.type))
            chunks = (chunk for column in columns for chunk in column.chunks)
            sizes = (pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() for chunk in chunks)
            n_bytes = max(n_bytes, sum(size or 0 for size in sizes))
    # A damaged file may have names of columns that are no text.
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise RequestError(422, f"the body is not Parquet: {error}") from None
    if n_bytes > max_bytes:
        raise too_large("the decompressed body", max_bytes)


def _not_single(name: str, **details: Any) -> RequestError:
    return RequestError(
        422, f"column {name!r} holds an array or object", field=name, **details, allowed="a single value"
    )


def _missing(name: str, row: int | None, names: Sequence[str]) -> RequestError:
    return RequestError(
        422, f"column {name!r} is missing; write null for a missing value", field=name, row=row, allowed=list(names)
    )


def _short(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    # JSON has no infinite numbers.
    is_plain = isinstance(plain, int) or (isinstance(plain, float) and np.isfinite(plain))
    return plain if is_plain else f"{plain}"[:100]
