import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from openpyxl import Workbook

from src.errors import DataError
from src.new_data.sniff import sniff_file


def sniff(tmp_path: Path, content: bytes, name: str = "t.csv") -> dict[str, Any]:
    path = tmp_path / name
    path.write_bytes(content)
    return {setting: value for setting, (value, _) in sniff_file(path)[0].items()}


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        (b"a,b\n1,2\n", {}),
        (b"", {}),
        (b"a\n1\n", {}),
        (b"a;b\n1;2\n", {"separator": ";"}),
        (b"a\tb\n1\t2\n", {"separator": "\t"}),
        (b"a|b\n1|2\n", {"separator": "|"}),
        (b"a;b,c;d\n1;2;3\n", {"separator": ";"}),
        (b"a;b\n1,5;2,5\n", {"separator": ";", "decimal": ","}),
        (b"a;b\n-1,5;+2,5\n1.5;x\n", {"separator": ";", "decimal": ","}),
        (b"a;b\n1.5;2,5\n-1.5;+1.5\n", {"separator": ";"}),
        (b"a;b\n1.5;2,5\n", {"separator": ";"}),
        (b'a,b\n"1,5",2\n', {}),
        ("a,b\nü,2\n".encode(), {}),
        ("a,b\nü,2\n".encode("utf-16"), {"encoding": "utf-16"}),
        (b"a,b\n" + b"1,2\n" * 500_000 + "ü,1\n".encode("cp1252"), {"encoding": "cp1252"}),
    ],
)
def test_only_settings_that_differ_from_the_default_are_guessed(
    tmp_path: Path, content: bytes, settings: dict[str, Any]
) -> None:
    assert sniff(tmp_path, content) == settings


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "ü\n"),
        ("cp1252", "Königsallee\nMüllerweg\nStraße\n"),
        ("cp1252", "prénom\nÉloïse\nFrançois\nOrléans\n"),
        ("cp1252", "Peña\nMuñoz\n"),
        ("cp1252", "it’s “fine” – 3 €\n"),
        ("cp1252", "3.5 °C\nµg\n"),
        ("cp1250", "Łódź\nłódzkie\nGdańsk\nmałopolskie\nŚwiętochłowice\n"),
        ("cp1250", "město\nPlzeň\nČeské Budějovice\nŽďár\n"),
        ("cp1251", "Москва\nКазань\nСанкт-Петербург\n"),
        ("cp1253", "Αθήνα\nΠάτρα\n"),
        ("cp932", "山田太郎\n東京都千代田区\nカタカナ\nひらがな\n"),
        ("gb18030", "姓名,部门,备注\n王小明,销售部,优秀\n李华,市场部,良好\n张伟,技术部,一般\n"),
        ("cp949", "도시,인구\n서울,9\n부산,3\n"),
        ("euc_jp", "都市,人口\n東京,13\n大阪,8\n名古屋,2\n"),
        ("koi8_r", "город,население\nМосква,12\nКазань,1\n"),
    ],
)
def test_encoding_that_is_not_utf_8_is_guessed_from_the_text(tmp_path: Path, encoding: str, text: str) -> None:
    text = f"id,name,value\n1,alpha,2.5\n{text}"
    guessed = sniff(tmp_path, text.encode(encoding))["encoding"]
    assert text.encode(encoding).decode(guessed) == text


def test_settings_come_with_their_reasons(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("größe;länge\n1,5;2.5\n1,5;x\n".encode("cp1252"))
    assert sniff_file(tmp_path / "t.csv")[0] == {
        "encoding": ("cp1252", "not UTF-8; check that accented letters are right"),
        "separator": (";", "2 of 2 rows have 2 fields"),
        "decimal": (",", "2 values like 1,5 and 1 like 1.5"),
    }


def test_tab_is_the_default_of_a_tsv(tmp_path: Path) -> None:
    assert sniff(tmp_path, b"a\tb\n1\t2\n", "t.tsv") == {}
    assert sniff(tmp_path, b"a,b\n1,2\n", "t.tsv") == {"separator": ","}


def zstd(content: bytes) -> bytes:
    compressed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return compressed


@pytest.mark.parametrize(("name", "compress"), [("t.csv.gz", gzip.compress), ("t.csv.zst", zstd)])
def test_compressed_text_is_read(tmp_path: Path, name: str, compress: Any) -> None:
    content = compress("ä;b\n1;2\n".encode("cp1252"))
    assert sniff(tmp_path, content, name) == {"encoding": "cp1252", "separator": ";"}


@pytest.mark.parametrize(("content", "name"), [(b"a;b\n1;2\n", "t.csv.gz"), (b"\xff\xfea", "t.csv")])
def test_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, content: bytes, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name} cannot be read: "):
        sniff(tmp_path, content, name)


ROWS = b"a,b,target\n" + b"1,2,x\n" * 20
EUROPEAN = b"a;target\n" + b"1,5;x\n" * 20


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        (b"Report of 2024\n" + ROWS, {"skip_rows": 1}),
        (b'"a\nb",b,y\n' + b"1,2,x\n" * 20, {}),
        (b'"a;\r\nb\r\nc";"b";y\n' + b"1;2;x\n" * 20, {"separator": ";"}),
        (b'b,"a\nb",y\n' + b"1,2,x\n" * 20, {}),
        (b'Screws of 5"\n' + ROWS, {"skip_rows": 1}),
        (b'Report of "2024"\n"a\nb",b,y\n' + b"1,2,x\n" * 20, {"skip_rows": 1}),
        (b"# a\n# b\n# c, d\n" + ROWS, {"skip_rows": 3}),
        (b"Report; of 2024\n\n" + ROWS.replace(b",", b";"), {"skip_rows": 2, "separator": ";"}),
        (ROWS.replace(b",", b" "), {"separator": " "}),
        (b"a,b\n" + b"row,1,2\n" * 20, {}),
        (b"a title\n" + b"one two three\n" * 20, {}),
        (ROWS.decode().encode("utf-32"), {"encoding": "utf-32"}),
        # Titles and comments with separators.
        (b"Report, for 2024, in EUR, net\n" + ROWS, {"skip_rows": 1}),
        (b"Report, for 2024\na,target\n" + b"1,x\n" * 20, {"skip_rows": 1}),
        (b"# made, today\na,target\n" + b"1,x\n" * 20, {"skip_rows": 1}),
        (b"#a,target\n" + b"1,x\n" * 20, {}),
        (b"Report 2024,,\n,,\n" + ROWS, {"skip_rows": 2}),
        (b"\n\n" + ROWS, {}),
        (b"Report, of 2024\n# b,c\n\n" + EUROPEAN, {"skip_rows": 3, "separator": ";", "decimal": ","}),
        (b"Sales,Q1\n" + EUROPEAN, {"skip_rows": 1, "separator": ";", "decimal": ","}),
        (b'"Source","World, Bank"\n\n"name","code","1960"\n' + b'"x","y","1.5"\n' * 20, {"skip_rows": 2}),
        ("\ufeff# c, d\n".encode() + ROWS, {"skip_rows": 1}),
        ('\ufeff"a,1",b,target\n'.encode() + b"1,2,x\n" * 20, {}),
        (b"sep=;\n" + EUROPEAN, {"skip_rows": 1, "separator": ";", "decimal": ","}),
        # The names of rows of R have no name.
        (b'"a b" "target"\n' + b"".join(b'"row %d" 1.5 "x"\n' % row for row in range(20)), {"separator": "whitespace"}),
        (b"a target\n" + b"".join(b"%d 1.5 x\n" % row for row in range(20)), {"separator": "whitespace"}),
        # One or more blanks.
        (b"  a  b\ttarget \n" + b"  1  2   x\n" * 20, {"separator": "whitespace"}),
        (b"a target\n" + b'"New  York" x\nParis y\n' * 20, {"separator": " "}),
        (b"a target\n" + b'"New York"  x\nParis y\n' * 20, {"separator": "whitespace"}),
        (
            b"# made by x\n\n a   target\n" + b" 1,5   x\n" * 20,
            {"skip_rows": 2, "separator": "whitespace", "decimal": ","},
        ),
        # Marks and thousands do not hide the decimal comma.
        (b"a;target\n" + b"14,17;x\n" * 19 + b"k.A.;x\n-;y\n", {"separator": ";", "decimal": ","}),
        (b"a;target\n" + b"1.234,50;x\n" * 20, {"separator": ";", "decimal": ","}),
        (b"day time;target\n" + b"2024-01-01 10:00;x\n" * 20, {"separator": ";"}),
        (b"name;text\n" + b"x;yes, it is\n" * 20, {"separator": ";"}),
        (ROWS + b"1," + b"x" * 200_000 + b",x\n", {}),
    ],
)
def test_lines_before_the_header_and_blanks_are_recognised(
    tmp_path: Path, content: bytes, settings: dict[str, Any]
) -> None:
    assert sniff(tmp_path, content) == settings


def test_file_in_no_known_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv cannot be read: it is not text in a known encoding; save it as UTF-8"):
        sniff(tmp_path, bytes(range(1, 256)) * 40)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv is missing\."):
        sniff_file(tmp_path / "gone.csv")


def test_nothing_is_guessed_of_parquet_and_folders(tmp_path: Path) -> None:
    assert sniff(tmp_path, b"PAR1", "t.parquet") == {}
    assert sniff_file(tmp_path) == ({}, set())


def test_columns_with_leading_zeros_are_codes(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("zip,n,share,short\n01234,0,0.5\n99999,1,0\n")
    assert sniff_file(path)[1] == {"zip"}


def test_code_is_found_below_a_name_of_two_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('"zip\ncode",n\n01234,0\n99999,1\n')
    assert sniff_file(path)[1] == {"zip\ncode"}


def write_excel(path: Path, **sheets: list[list[Any]]) -> Path:
    book = Workbook(write_only=True)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_sheet_and_header_of_excel_are_found(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["Report, of 2024"], [], ["a\nb", None, "target"], *[[1, 'x"', "y"]] * 20]
    path = write_excel(tmp_path / "t.xlsx", Cover=[], Data=rows, More=[["z"]])
    assert sniff_file(path) == (
        {
            "sheet": ("Data", "the first sheet that is not empty"),
            "skip_rows": (2, "line 3 seems to be the header: 'a\\nb', '', 'target'"),
        },
        set(),
    )
    assert sniff_file(write_excel(tmp_path / "u.xlsx", Data=rows[2:], More=[["z"]])) == ({}, set())


def test_sample_ends_early_in_wide_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.new_data.sniff.SAMPLE_LETTERS", 1000)
    content = b"a;target\n" + b"1,5;x\n" * 500 + b"1.5;x\n" * 5000
    assert sniff(tmp_path, content)["decimal"] == ","
