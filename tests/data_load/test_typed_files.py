import gzip
import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from src.config.data_load import TableFile
from src.data.files import read_table, write_table
from src.data_load.infer import infer_columns
from src.data_load.read_file import read_file
from src.errors import DataError

DEFAULT = TableFile()
DAY = datetime.fromisoformat("2024-01-31")
TABLE = pd.DataFrame(
    {
        "n": [1.5, None, 3.0],
        "k": [1, 2, 3],
        "city ü": ["Köln", None, '<b>"x"</b>'],
        "code": ["007", "7", "None"],
        "flag": [True, False, True],
        "day": pd.to_datetime(["2024-01-31", "2024-02-01", "2024-12-24"]).astype("datetime64[us]"),
    }
)


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_lines(tmp_path: Path, *records: object, name: str = "t.jsonl") -> Path:
    return write(tmp_path, name, "".join(f"{json.dumps(record)}\n" for record in records))


def write_excel(path: Path, **sheets: list[list[Any]]) -> Path:
    book = Workbook(write_only=True)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def write_stream(path: Path, rows: pa.Table) -> Path:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, rows.schema) as stream:
        stream.write_table(rows)
    return path


def refusal(path: Path, how: TableFile = DEFAULT) -> str:
    with pytest.raises(DataError) as caught:
        read_file(path, how)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


WRITERS: dict[str, Callable[[Path], object]] = {
    ".jsonl": lambda path: TABLE.to_json(path, orient="records", lines=True, date_format="iso", date_unit="s"),
    ".ndjson.gz": lambda path: TABLE.to_json(path, orient="records", lines=True, date_format="iso", date_unit="s"),
    ".feather": TABLE.to_feather,
    ".arrow": lambda path: write_stream(path, pa.Table.from_pandas(TABLE, preserve_index=False)),
    ".parquet": TABLE.to_parquet,
    ".xlsx": lambda path: TABLE.to_excel(path, index=False),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_table_is_the_same_from_any_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tänö 😀{suffix}"
    WRITERS[suffix](path)
    table = read_file(path, DEFAULT)
    table["day"] = table["day"].astype(TABLE["day"].dtype)
    pd.testing.assert_frame_equal(table, TABLE)


def test_texts_of_json_that_look_like_dates_can_stay_texts(tmp_path: Path) -> None:
    path = write_lines(tmp_path, {"a": "2024-01-31", "b": "2024-01-31"}, {"a": None, "b": None})
    table = read_file(path, DEFAULT, as_text=["b"])
    assert [str(dtype) for dtype in table.dtypes] == ["datetime64[s]", "str"]
    assert table["b"][0] == "2024-01-31"


MIXED = [{"a": 1, "b": "2024-01-31"}, {"a": "x"}, {"a": 2.5}, {"a": 3.0}, {"a": True}, {"a": None}]


def test_values_of_several_types_are_text(tmp_path: Path) -> None:
    table = read_file(write_lines(tmp_path, *MIXED), DEFAULT)
    assert table["a"].tolist()[:5] == ["1", "x", "2.5", "3", "True"]
    assert table["a"].isna().tolist() == [False] * 5 + [True]
    assert str(table["b"].dtype) == "datetime64[s]"
    excel = write_excel(tmp_path / "t.xlsx", S=[["a"], *([row["a"]] for row in MIXED[:5]), [DAY]])
    assert read_file(excel, DEFAULT)["a"].tolist() == [*table["a"].tolist()[:5], "2024-01-31 00:00:00"]


@pytest.mark.parametrize("suffix", [".jsonl", ".xlsx"])
def test_marks_among_numbers_are_missing_values(tmp_path: Path, suffix: str) -> None:
    values: list[Any] = [1.5, "k.A.", -999, 4]
    path = tmp_path / f"t{suffix}"
    if suffix == ".xlsx":
        write_excel(path, S=[["a", "b"], *([value, "k.A."] for value in values)])
    else:
        write_lines(tmp_path, *({"a": value, "b": "k.A."} for value in values))
    assert read_file(path, DEFAULT)["a"].tolist() == ["1.5", "k.A.", "-999", "4"]
    table = read_file(path, TableFile(na_values=["k.A.", "-999"]))
    assert table["a"].isna().tolist() == [False, True, True, False]
    assert table["a"].sum() == 5.5
    assert table["b"].isna().all()


def test_marks_apply_to_typed_columns_of_any_kind(tmp_path: Path) -> None:
    columns = {
        "number": pa.array([-9, 1]),
        "text": pa.array(["-9", "x"]),
        "category": pa.array(["-9", "x"]).dictionary_encode(),
        "view": pa.array(["-9", "x"]).cast(pa.string_view()),
        "bytes": pa.array([b"-9", b"x"], pa.binary_view()),
        "half": pa.array(np.array([-9, 1], np.float16)),
        "decimal": pa.array([Decimal(-9), Decimal(1)], pa.decimal32(3)),
        "list": pa.array([[-9], [1]]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = read_file(tmp_path / "t.parquet", TableFile(na_values=["-9", "?"]))
    assert table.isna().sum().to_dict() == {**dict.fromkeys(columns, 1), "list": 0}
    assert read_file(tmp_path / "t.parquet", DEFAULT).notna().all(axis=None)


NESTED = {
    "list": pa.array([[1], None, [2, 3]]),
    "struct": pa.array([{"x": 1}, None, {"x": None}]),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "deep": pa.array([[[("a", 1)]], None, []], pa.list_(pa.map_(pa.string(), pa.int64()))),
    "n": pa.array([1, 2, 3]),
}


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".jsonl", ".arrow"])
def test_nested_columns_are_ignored_with_a_word_and_can_be_written(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, rows = tmp_path / f"t{suffix}", pa.table(NESTED)
    if suffix == ".jsonl":
        nested = [{"x": 1}, [1, "x"], None, {}]
        write_lines(tmp_path, *({"list": [1, 2], "struct": {"x": 1}, "map": value, "n": 1} for value in nested))
    elif suffix == ".parquet":
        pq.write_table(rows, path)
    else:
        pa_feather.write_feather(rows, str(path)) if suffix == ".feather" else write_stream(path, rows)
    table = read_file(path, DEFAULT)
    with caplog.at_level(logging.WARNING):
        kinds = {name: column["kind"] for name, column in infer_columns(table, {}).items()}
    assert kinds == {**dict.fromkeys(table.columns, "ignore"), "n": "number"}
    assert caplog.text.count("holds lists or other objects") == len(table.columns) - 1
    write_table(table, tmp_path / "written.parquet")
    written = read_table(tmp_path / "written.parquet", "data_load")
    pd.testing.assert_frame_equal(written.isna(), table.isna())


def test_empty_struct_can_be_written(tmp_path: Path) -> None:
    table = read_file(write_lines(tmp_path, {"a": {}, "n": 1}), DEFAULT)
    write_table(table, tmp_path / "written.parquet")


GOOD = '{"a": 1}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", " is empty."),
        ('[{"a": 1}, {"a": 2}]', ": line 1 is a JSON array, not an object; write one object a line."),
        ('[\n{"a": 1},\n{"a": 2}\n]', ": line 1 begins a JSON array; write one object a line."),
        (GOOD + "\n" + '{"a":\n', ": line 3 is not a JSON object: Expecting value; write one object a line."),
        (GOOD + "1\n", ": line 2 is a JSON single value, not an object"),
        (GOOD + '{"a": 1, "a": 2}\n', ": line 2 is not a JSON object: a key appears more than once"),
        (GOOD.encode() + b'{"a": "caf\xe9"}\n', "JSON must be UTF-8"),
        (b'{"a": "caf\xe9"}\n', "JSON must be UTF-8"),
    ],
)
def test_wrong_line_of_json_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in refusal(write(tmp_path, "t.jsonl", content))
    compressed = content.encode() if isinstance(content, str) else content
    assert (message in refusal(write(tmp_path, "t.jsonl.gz", gzip.compress(compressed)))) == bool(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:0], " is empty."),
        (lambda content: content[: len(content) // 2], " is incomplete: it does not end as an Arrow file does"),
        (lambda content: content[:8] + content[len(content) // 2 :], " cannot be read as "),
        (lambda content: b"a,b\n" + content, " is no Arrow file."),
    ],
)
def test_damaged_arrow_is_refused(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    TABLE.to_feather(tmp_path / "t.feather")
    (tmp_path / "t.feather").write_bytes(change((tmp_path / "t.feather").read_bytes()))
    assert message in refusal(tmp_path / "t.feather")


def test_damaged_bytes_of_arrow_never_crash(tmp_path: Path) -> None:
    path = tmp_path / "t.feather"
    pa_feather.write_feather(pa.table({"a": ["x", None]}), str(path), compression="uncompressed")
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        with suppress(DataError):
            read_file(path, DEFAULT)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pa_feather.write_feather(pa.table([[1], [2]], names=["a", "a"]), str(tmp_path / "t.feather"))
    write_excel(tmp_path / "t.xlsx", S=[["a", "a"], [1, 2]])
    for name in ("t.feather", "t.xlsx"):
        assert refusal(tmp_path / name) == ": column 'a' appears more than once; give each column its own name."


def test_cells_of_excel_are_read_by_their_types(tmp_path: Path) -> None:
    rows = [["day", "time", "n", "m", "", 2024], [DAY, time(9, 30), 1, "NA", "x", 1], [None] * 6]
    table = read_file(write_excel(tmp_path / "t.xlsx", S=[*rows, [None, None, 2.5, "y", "z", 2]]), DEFAULT)
    assert list(table.columns) == ["day", "time", "n", "m", "column_5", "2024"]
    assert table.iloc[0].dropna().tolist() == [pd.Timestamp(2024, 1, 31), "09:30:00", 1.0, "x", 1]
    assert table["n"].tolist() == [1.0, 2.5]


def test_rows_before_the_header_and_the_sheet_can_be_set(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_excel(tmp_path / "t.xlsx", Notes=[["x"], [1]], Data=[["Report"], [None], ["a", "b"], [1, "y"]])
    assert read_file(path, TableFile(sheet="Data", skip_rows=2)).to_dict("list") == {"a": [1], "b": ["y"]}
    assert caplog.text == ""
    assert read_file(path, DEFAULT).to_dict("list") == {"x": [1]}
    assert "reading the first of its sheets 'Notes', 'Data'; data_load.source.sheet is not set" in caplog.text
    assert refusal(path, TableFile(sheet="data")) == (
        " has no sheet 'data'; set data_load.source.sheet to one of 'Notes', 'Data'."
    )


def test_empty_sheet_is_refused(tmp_path: Path) -> None:
    path = write_excel(tmp_path / "t.xlsx", Cover=[], Data=[["a"], [1]])
    message = ": its sheet 'Cover' is empty; set data_load.source.sheet to one of 'Cover', 'Data'."
    assert refusal(path) == message
    assert refusal(write_excel(tmp_path / "u.xlsx", S=[["a", "b"]])) == " has no rows below its header."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", " is empty."),
        (b"\xd0\xcf\x11\xe0\xa1", " is an old or encrypted Excel workbook: save its table as .xlsx without a password"),
        (b"a,b\n1,2\n", " is no Excel workbook, or a damaged one: "),
        (b"PK\x03\x04" + bytes(100), " is no Excel workbook, or a damaged one: "),
    ],
)
def test_file_that_is_no_workbook_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    assert refusal(write(tmp_path, "t.xlsx", content)).startswith(message)


@pytest.mark.parametrize(("name", "hint"), [("t.xls", "save an old Excel"), ("t.json", "one object a line, in .jsonl")])
def test_similar_file_types_are_explained(tmp_path: Path, name: str, hint: str) -> None:
    assert hint in refusal(write(tmp_path, name, "{}"))


def test_excel_without_its_extra_is_one_line_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_excel(tmp_path / "t.xlsx", S=[["a"], [1]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert refusal(path) == (
        ": openpyxl, the extra `excel`, is not installed: run `.venv/bin/python -m pip install 'openpyxl>=3.1.5,<4'`, "
        "or save the table as CSV."
    )
