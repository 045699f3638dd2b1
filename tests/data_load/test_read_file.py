import bz2
import gzip
import lzma
import threading
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from src.config.data_load import TableFile
from src.data_load import read_file as module
from src.data_load import text_files
from src.data_load.read_file import read_file
from src.errors import DataError
from src.new_data.sniff import sniff_file

CSV = "a,b,c\n1,x,2024-01-31\n2.5,None,2024-02-01\n,NA,\n"


def write(tmp_path: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path, how: TableFile | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_file(path, how or TableFile())
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


def test_types_of_a_csv_are_inferred(tmp_path: Path) -> None:
    table = read_file(write(tmp_path, CSV), TableFile())
    assert [str(dtype) for dtype in table.dtypes] == ["float64", "str", "datetime64[ms]"]
    assert table["a"].tolist()[:2] == [1.0, 2.5]
    assert table.iloc[2].isna().all()


def test_the_text_none_is_a_level_unless_it_is_declared_missing(tmp_path: Path) -> None:
    path = write(tmp_path, CSV)
    assert read_file(path, TableFile())["b"].tolist()[:2] == ["x", "None"]
    assert read_file(path, TableFile(na_values=["None"]))["b"].isna().tolist() == [False, True, True]


def test_na_values_add_to_the_default_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "a\nx\n?\nNA\n")
    assert read_file(path, TableFile(na_values=["?"]))["a"].isna().tolist() == [False, True, True]
    how = TableFile(na_values=["?"], default_na_values=False)
    assert read_file(path, how)["a"].isna().tolist() == [False, True, False]


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)]
)
@pytest.mark.parametrize(("kind", "separator"), [(".csv", ","), (".tsv", "\t"), (".CSV", ",")])
def test_compressed_text_is_the_same_table(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes], kind: str, separator: str
) -> None:
    path = write(tmp_path, compress(CSV.replace(",", separator).encode()), f"t{kind}{suffix}")
    plain = read_file(write(tmp_path, CSV), TableFile())
    pd.testing.assert_frame_equal(read_file(path, TableFile()), plain)


@pytest.mark.parametrize(
    ("content", "how"),
    [
        ("a;b\n1,5;x\n", {"separator": ";", "decimal": ","}),
        ("a|b\n1.5|x\n", {"separator": "|"}),
        ("a b\n1.5 x\n", {"separator": "whitespace"}),
        ("\ufeff  a \t b \n\n   1,5   'x'\n".replace("'", '"'), {"separator": "whitespace", "decimal": ","}),
        ('# title, "\na b\r\n1.5\tx', {"separator": "whitespace", "skip_rows": 1}),
        ("a\tb\n1.5\tx\n", {"separator": "\t"}),
        ('a,b\n"1.5","x"\n', {}),
        ("\ufeffa,b\n1.5,x\n", {}),
        ("a,b\r\n1.5,x\r\n", {}),
        ("a,b\n1.5,x", {}),
    ],
)
def test_ways_to_write_a_csv(tmp_path: Path, content: str, how: dict[str, Any]) -> None:
    assert read_file(write(tmp_path, content), TableFile(**how)).to_dict("list") == {"a": [1.5], "b": ["x"]}


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16", "utf-8-sig"])
def test_other_encodings_are_read_by_their_name(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "größe,y\ncafé,x\n".encode(encoding))
    assert read_file(path, TableFile(encoding=encoding)).to_dict("list") == {"größe": ["café"], "y": ["x"]}


def test_quoted_field_may_hold_separators_quotes_and_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path, 'a,b\n"x,""y""\nz",1\n')
    assert read_file(path, TableFile())["a"].tolist() == ['x,"y"\nz']


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ('"a b" c\n"x ""y"" z" 1\n', {"a b": ['x "y" z'], "c": [1]}),
        ("a c\n5\" 7'\n", {"a": ['5"'], "c": ["7'"]}),
        ('a c\n"" NA\n', {"a": [None], "c": [None]}),
        ('"a" "c"\n"row 1" 1 2\n"row 2" 3 4\n', {"column_1": ["row 1", "row 2"], "a": [1, 3], "c": [2, 4]}),
        ("a,b c;d\n1;2 x,y\n", {"a,b": ["1;2"], "c;d": ["x,y"]}),
    ],
)
def test_fields_between_blanks(tmp_path: Path, content: str, columns: dict[str, list[Any]]) -> None:
    table = read_file(write(tmp_path, content, "t.txt"), TableFile(separator="whitespace"))
    assert {name: [None if pd.isna(value) else value for value in table[name]] for name in table} == columns


def test_wrong_number_of_fields_between_blanks_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a b\n1 2\n\n3 4 5\n", "t.txt")
    assert "row 3 has 3 fields instead of 2." in refusal(path, TableFile(separator="whitespace"))
    path = write(tmp_path, "a b\ncaf\xe9 2\n".encode("latin-1"), "t.txt")
    assert " is not valid utf-8 (" in refusal(path, TableFile(separator="whitespace"))


def test_quoted_line_ends_may_cross_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 64)
    path = write(tmp_path, "a,b\n" + '"one\ntwo\nthree",1\n' * 50)
    table = read_file(path, TableFile())
    assert table["a"].unique().tolist() == ["one\ntwo\nthree"]
    assert len(table) == 50


def test_type_is_inferred_from_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 64)
    path = write(tmp_path, "a,b\n" + "1,1\n" * 200 + "x,1.5\n")
    assert [str(dtype) for dtype in read_file(path, TableFile()).dtypes] == ["str", "float64"]


def test_columns_can_be_read_as_text(tmp_path: Path) -> None:
    path = write(tmp_path, "zip,n\n007,007\n")
    assert read_file(path, TableFile(), as_text=["zip", "gone"]).to_dict("list") == {"zip": ["007"], "n": [7]}


def test_times_of_day_stay_text(tmp_path: Path) -> None:
    assert read_file(write(tmp_path, "a,b\n09:30,1\n"), TableFile())["a"].tolist() == ["09:30"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", " is empty."),
        ("a,b\n", " has no rows below its header."),
        ("a,b\n1,2\n3\n", ": row 3 has 1 field instead of 2."),
        ("a,b\n1,2\n3,4,5\n", ": row 3 has 3 fields instead of 2."),
        ('a,b\n"1,2\n', ": row 2 has 1 field instead of 2; a quote in it is not closed."),
        ("a,b,a,b\n1,2,3,4\n", ": column 'a', 'b' appears more than once; give each column its own name."),
        (b"a,b\ncaf\xe9,2\n", " is not valid utf-8 (column 'a'); set data_load.source.encoding to its encoding"),
        (b"caf\xe9,b\n1,2\n", " is not valid utf-8 ("),
    ],
)
def test_invalid_table_is_refused_in_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in refusal(write(tmp_path, content))


SECRET = "".join(f"{number},secret,{'xy'[number % 2]}\n" for number in range(40))


@pytest.mark.parametrize("n_rows", [1, 20, 40])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_quote_that_is_not_closed_is_refused_without_the_rows(
    tmp_path: Path, n_rows: int, compress: Callable[[bytes], bytes]
) -> None:
    """Without this check, pyarrow reads the rest of the file as one value, such as the name of a class."""
    lines = SECRET.splitlines(keepends=True)
    for end in ("\n", ""):
        lines[n_rows - 1] = lines[n_rows - 1].replace(",y", ',"y').replace(",x", ',"x').rstrip("\n") + "\n"
        text = "a,b,target\n" + "".join(lines).rstrip("\n") + end
        if not end and n_rows == 40:
            continue
        name = "t.csv" if compress is bytes else "t.csv.gz"
        message = refusal(write(tmp_path, compress(text.encode()), name))
        assert message == (
            f": a quote in column 'target' of row {n_rows + 1} is not closed, so that all lines below it belong to its "
            "value; close it, or double it if it is part of the text."
        )


@pytest.mark.parametrize("text", ['a,b\n1,"x\ny"\n', 'a,b\n1,"x\ny"', 'a,b\n1,"x\n"\r\n', 'a,b\n1,"x\n"""\n\n'])
def test_last_value_may_have_several_lines(tmp_path: Path, text: str) -> None:
    assert read_file(write(tmp_path, text), TableFile())["b"][0].startswith("x\n")
    utf_16 = write(tmp_path, text.encode("utf-16"))
    assert read_file(utf_16, TableFile(encoding="utf-16"))["b"][0].startswith("x\n")


@pytest.mark.parametrize("text", ['"a,b\n1,2\n', '"a"b,c', '"' + SECRET])
def test_header_that_does_not_end_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(write(tmp_path, text)) == " has no complete line; is there a quote that is not closed?"


def test_message_shows_no_row(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b,target\n" + SECRET + "1,top,secret,x\n")
    assert refusal(path) == " cannot be read as a table: row 42 has 4 fields instead of 3."


@pytest.mark.parametrize(
    ("before", "n_lines"),
    [("Report of 2024\n", 1), ("Report, of 2024\n\n", 2), ("# a\n# b\n# c, d\n", 3), ("\n\nReport\n", 3)],
)
def test_lines_before_the_header_can_be_skipped(tmp_path: Path, before: str, n_lines: int) -> None:
    path = write(tmp_path, before + "a,b,target\n" + SECRET)
    hint = f"; if its header is line {n_lines + 1}, set data_load.source.skip_rows: {n_lines}."
    assert refusal(path).endswith(hint)
    table = read_file(path, TableFile(skip_rows=n_lines))
    assert (list(table.columns), len(table)) == (["a", "b", "target"], 40)


def test_more_lines_can_be_skipped_than_are(tmp_path: Path) -> None:
    path = write(tmp_path, "Report\n# more\na,b,target\n" + SECRET)
    assert refusal(path, TableFile(skip_rows=1)).endswith(
        "; if its header is line 3, set data_load.source.skip_rows: 2."
    )


@pytest.mark.parametrize(
    "text", ["a,b\n" + "1,2,3\n" * 9, "long,header,of,a\n" + "1,2,3\n" * 9, "a,b\n1,2\n3\n", "a\nb,c\n" + "d\n" * 9]
)
def test_no_lines_are_skipped_without_a_reason(tmp_path: Path, text: str) -> None:
    assert "skip_rows" not in refusal(write(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(range(256)), " is a zip archive or an Excel workbook: rename it to .xlsx, or "),
        (b"\xd0\xcf\x11\xe0" + bytes(range(256)), " is an old or encrypted Excel workbook: save its table as "),
        (b"PAR1" + bytes(100), " is Parquet: rename it to .parquet."),
        (gzip.compress(CSV.encode(), mtime=0), " is compressed by gzip: rename it to .csv.gz."),
        (b'{"a": 1}\n{"a": 2}\n', " is JSON: rename it to .jsonl if each line is an object, else save it as CSV."),
        (b'[{"a": 1}]', " is a JSON array: write one object a line to a .jsonl file, or save it as CSV."),
        (b"<!DOCTYPE html>\n<html>", " is a web page: check the address that it was downloaded from."),
        (b"version https://git-lfs.github.com/spec/v1\n", " is a pointer of Git LFS: run `git lfs pull`."),
        *((CSV.encode(encoding), " is not utf-8 text: it has many zero bytes; if it is text, set data_load.source.enc")
          for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")),
    ],
)  # fmt: skip
def test_file_of_another_type_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path, content)
    assert refusal(path).startswith(message)
    if b"\0" not in content or not message.startswith(" is not"):
        with pytest.raises(DataError) as caught:
            sniff_file(path)
        assert str(caught.value).startswith(f"{path}{message}")


@pytest.mark.parametrize("encoding", ["utf-16", "ascii"])
def test_wrong_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "a,b\ncafé,2\n")
    assert f" is not valid {encoding} (" in refusal(path, TableFile(encoding=encoding))


@pytest.mark.parametrize("name", ["t.sav", "t", "t.csv.zip", "t.parquet.gz", "t.xlsx.gz"])
def test_unknown_file_type_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    assert (
        "must end in .csv, .tsv, .txt, .jsonl, .ndjson, .parquet, .pq, .feather, .arrow, .xlsx, and text and JSON may "
        "also end in .gz"
    ) in refusal(write(tmp_path, "a,b\n", name))


@pytest.mark.parametrize("name", ["t.parquet", "t.csv.gz", "t.csv.xz", "t.csv.bz2", "t.csv.zst"])
def test_file_that_does_not_match_its_suffix_is_refused(tmp_path: Path, name: str) -> None:
    assert " cannot be read as a table: " in refusal(write(tmp_path, "a,b\n1,2\n", name))


@pytest.mark.parametrize(
    ("suffix", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zst", zstd)]
)
def test_damaged_file_is_refused_wherever_a_byte_flipped(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    content = compress(CSV.encode() + b"1,y,2024-02-01\n" * 50)
    refusals = []
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path = write(tmp_path, bytes(damaged), f"t.csv.{suffix}")
        # Not each flip is an error: the time in gzip's header means nothing, and zstd may have no checksum.
        for read in (partial(read_file, how=TableFile()), sniff_file):
            try:
                read(path)
            except DataError as error:
                refusals.append(str(error))
    assert any(" cannot be read as a table: " in refusal for refusal in refusals)
    assert any(" cannot be read: " in refusal for refusal in refusals)


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.csv") == " is missing."


def test_columns_without_a_name_are_named_by_position(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = read_file(write(tmp_path, ",a,\n1,2,3\n"), TableFile())
    assert table.to_dict("list") == {"column_1": [1], "a": [2], "column_3": [3]}
    assert "columns without a name are called column_1, column_3" in caplog.text


STRANGE = ["a b", "a[b]", "😀", "index", "__index_level_0__", "prediction", 'quo"te', "line\nend", "größe", "None"]


def test_any_column_names_are_kept(tmp_path: Path) -> None:
    table = pd.DataFrame([range(len(STRANGE))], columns=STRANGE)
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet", index=False)
    for name in ("t.csv", "t.parquet"):
        pd.testing.assert_frame_equal(read_file(tmp_path / name, TableFile()), table)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize(("first", "dtype"), [(2**60, "Int64"), (-(2**60), "Int64"), (2**53, "Int64"), (5, "float64")])
def test_large_integers_stay_exact_beside_missing_values(tmp_path: Path, name: str, first: int, dtype: str) -> None:
    integers = pa.array([first + 1, None, first - 1])
    rows = pa.table({"a": [1, 2, 3], "id": integers, "b": [4, 5, 6]})
    pq.write_table(rows, tmp_path / name) if name.endswith("parquet") else pa_csv.write_csv(rows, tmp_path / name)
    table = read_file(tmp_path / name, TableFile())
    assert [*map(str, table.dtypes)] == ["int64", dtype, "int64"]
    assert table["id"].dropna().tolist() == [first + 1, first - 1]
    assert table["id"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("values", "scale", "dtype"),
    [
        ([2**60 + 1, 1], 0, "int64"),
        ([2**60 + 1, None], 0, "Int64"),
        ([7, None], 0, "float64"),
        ([2**100, 1], 0, "float64"),
        ([None, None], 0, "float64"),
        ([7, 1], 2, "float64"),
    ],
)
def test_whole_decimals_are_integers_if_large(tmp_path: Path, values: list[int | None], scale: int, dtype: str) -> None:
    decimals = pa.array([value if value is None else Decimal(value) for value in values], pa.decimal128(38, scale))
    pq.write_table(pa.table({"id": decimals}), tmp_path / "t.parquet")
    column = read_file(tmp_path / "t.parquet", TableFile())["id"]
    assert column.dtype == dtype
    assert column.dropna().tolist() == [value for value in values if value is not None]


@pytest.mark.parametrize("kind", [pa.decimal32, pa.decimal64, pa.decimal128, pa.decimal256])
def test_decimals_of_any_width_are_read(tmp_path: Path, kind: Callable[[int, int], pa.DataType]) -> None:
    digits = {pa.decimal32: 9, pa.decimal64: 18, pa.decimal128: 38, pa.decimal256: 76}[kind]
    values = [Decimal(7), None]
    rows = {"whole": pa.array(values, kind(digits, 0)), "part": pa.array(values, kind(digits, 2))}
    pq.write_table(pa.table({**rows, "none": pa.nulls(2, kind(digits, 0))}), tmp_path / "t.parquet")
    table = read_file(tmp_path / "t.parquet", TableFile())
    assert [*map(str, table.dtypes)] == ["float64"] * 3
    assert table.iloc[0].tolist()[:2] == [7.0, 7.0]


def test_ten_thousand_columns_are_read(tmp_path: Path) -> None:
    names = [f"a_column_of_the_name_{position}" for position in range(10_000)]
    path = write(tmp_path, ",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    table = read_file(path, TableFile())
    assert list(table.columns) == names


def test_types_of_parquet_are_converted_to_those_of_pandas(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "decimal": pa.array([1, None], pa.decimal128(5, 2)),
            "day": pa.array([19_000, None], pa.date32()),
            "clock": pa.array([3600, None], pa.time32("s")),
            "nothing": pa.nulls(2),
            "level": pa.array(["x", None]).dictionary_encode(),
            "__index_level_0__": [7, 8],
        }
    )
    pq.write_table(rows, tmp_path / "t.parquet")
    table = read_file(tmp_path / "t.parquet", TableFile())
    assert [str(dtype) for dtype in table.dtypes] == [
        "float64",
        "datetime64[ms]",
        "str",
        "float64",
        "category",
        "int64",
    ]
    assert table.iloc[1, :5].isna().all()
    assert table["clock"][0] == "01:00:00.000"


def test_index_written_by_pandas_is_a_column(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="row")).to_parquet(tmp_path / "t.parquet")
    assert read_file(tmp_path / "t.parquet", TableFile()).to_dict("list") == {"a": [1, 2], "row": ["x", "y"]}


def parts(tmp_path: Path, **tables: dict[str, list[Any]]) -> Path:
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder


def test_parts_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = parts(tmp_path, b={"a": [3.5], "b": ["z"]}, a={"a": [1, 2], "b": ["x", "y"]})
    (folder / "_SUCCESS").touch()
    (folder / ".part.crc").touch()
    (folder / "sub").mkdir()
    pq.write_table(pa.table({"a": [4], "b": [None]}), folder / "sub" / "c.parquet")
    table = read_file(folder, TableFile())
    assert table["a"].tolist() == [1.0, 2.0, 3.5, 4.0]
    assert table["b"].tolist()[:3] == ["x", "y", "z"]


def test_folder_without_parts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty").startswith(" has no Parquet files")


def test_parts_with_different_columns_are_refused(tmp_path: Path) -> None:
    folder = parts(tmp_path, a={"a": [1], "b": [1]}, b={"a": [1], "c": [1]})
    with pytest.raises(DataError, match=r"only one of .*b\.parquet and .*a\.parquet has column b, c; "):
        read_file(folder, TableFile())


def test_parts_with_different_types_are_refused(tmp_path: Path) -> None:
    assert "the types of its parts do not match: " in refusal(parts(tmp_path, a={"a": [1]}, b={"a": ["x"]}))


def test_values_that_do_not_suit_the_type_of_other_parts_are_refused(tmp_path: Path) -> None:
    folder = parts(tmp_path, a={"a": [0.5]}, b={"a": [2**60 + 1]})
    with pytest.raises(DataError, match=r"do not match: .*b\.parquet: column 'a' cannot become double \(Integer value"):
        read_file(folder, TableFile())


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("how", ["append", "replace"])
def test_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    table = pd.DataFrame({"a": np.arange(10.0), "b": "x"})
    table.to_parquet(path) if name.endswith("parquet") else table.to_csv(path, index=False)
    really_read = module._read

    def read_and_disturb(*arguments: Any) -> pa.Table:
        rows = really_read(*arguments)
        content = path.read_bytes()

        def disturb() -> None:
            if how == "replace":
                (tmp_path / "new").write_bytes(content)
                (tmp_path / "new").replace(path)
            else:
                with path.open("ab") as file:
                    file.write(b"1.0,y\n")

        writer = threading.Thread(target=disturb)
        writer.start()
        writer.join()
        return rows

    monkeypatch.setattr(module, "_read", read_and_disturb)
    assert refusal(path) == " changed while it was read; run again when it is complete."
