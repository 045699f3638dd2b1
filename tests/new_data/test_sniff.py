import gzip
from pathlib import Path
from typing import Any

import pytest

from src.errors import DataError
from src.new_data.sniff import sniff_text


def sniff(tmp_path: Path, content: bytes, name: str = "t.csv") -> dict[str, Any]:
    path = tmp_path / name
    path.write_bytes(content)
    return sniff_text(path)[0]


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        (b"a,b\n1,2\n", {}),
        (b"", {}),
        (b"a;b\n1;2\n", {"separator": ";"}),
        (b"a\tb\n1\t2\n", {"separator": "\t"}),
        (b"a|b\n1|2\n", {"separator": "|"}),
        (b"a;b\n1,5;2,5\n", {"separator": ";", "decimal": ","}),
        (b"a;b\n1.5;2,5\n1.5;1.5\n", {"separator": ";"}),
        ("a,b\nü,2\n".encode(), {}),
        ("a,b\nü,2\n".encode("cp1252"), {"encoding": "cp1252"}),
        ("a,b\nü,2\n".encode("utf-16"), {"encoding": "utf-16"}),
        (b"a,b\n" + b"1,2\n" * 500_000 + "ü,1\n".encode("cp1252"), {"encoding": "cp1252"}),
    ],
)
def test_only_what_differs_from_a_usual_csv_is_told(tmp_path: Path, content: bytes, settings: dict[str, Any]) -> None:
    assert sniff(tmp_path, content) == settings


def test_tab_is_usual_in_a_tsv(tmp_path: Path) -> None:
    assert sniff(tmp_path, b"a\tb\n1\t2\n", "t.tsv") == {}
    assert sniff(tmp_path, b"a,b\n1,2\n", "t.tsv") == {"separator": ","}


def test_compressed_text_is_looked_into(tmp_path: Path) -> None:
    assert sniff(tmp_path, gzip.compress(b"a;b\n1;2\n"), "t.csv.gz") == {"separator": ";"}


def test_what_is_not_what_it_is_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv\.gz cannot be read: "):
        sniff(tmp_path, b"a;b\n1;2\n", "t.csv.gz")


def test_parquet_and_folders_need_no_look(tmp_path: Path) -> None:
    assert sniff(tmp_path, b"PAR1", "t.parquet") == {}
    assert sniff_text(tmp_path) == ({}, {}, set())


def test_zeros_in_front_make_a_code(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("zip,n,share\n01234,0,0.5\n99999,1,0\n")
    assert sniff_text(path)[2] == {"zip"}
