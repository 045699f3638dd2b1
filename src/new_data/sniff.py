"""Guess the format of a text file: encoding, separator, decimal mark, codes with leading zeros."""

import codecs
import csv
import io
import itertools
import re
from pathlib import Path
from typing import Any

from charset_normalizer import from_bytes

from src.data_load.read_file import TEXT_SUFFIXES, UNREADABLE, opener_of
from src.errors import DataError

SAMPLE_LINES = 1000
SEPARATORS = (",", ";", "\t", "|")
# Common encodings of spreadsheets, most common first; short texts often fit several of them.
ENCODINGS = ("cp1252", "cp1250", "cp1251", "cp1253", "cp932", "gb18030", "big5", "cp949", "euc_jp", "koi8_r")
BLOCK_BYTES = 2**20


def sniff_text(path: Path) -> tuple[dict[str, tuple[Any, str]], set[str]]:
    """Guess the format of a text file; Parquet needs no settings.

    Returns:
        Settings of `data_load.source` that are not the default, each with the reason, and the names of columns with
        codes such as 007.

    Raises:
        DataError: The file cannot be read.
    """
    opener, kind = opener_of(path)
    if path.is_dir() or kind not in TEXT_SUFFIXES:
        return {}, set()
    try:
        encoding = _guess_encoding(path)
        with io.TextIOWrapper(io.BufferedReader(opener(path)), encoding=encoding) as text:
            sample = list(itertools.islice(text, SAMPLE_LINES))
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except (UnicodeError, *UNREADABLE) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    settings: dict[str, tuple[Any, str]] = {}
    if encoding != "utf-8":
        settings["encoding"] = (encoding, "not UTF-8; check that accented letters are right")
    header, default = sample[0] if sample else "", "\t" if kind == ".tsv" else ","
    separator = max(SEPARATORS, key=lambda mark: (header.count(mark), mark == default))
    if separator != default and separator in header:
        settings["separator"] = (separator, "the most frequent one in the first line")
    rows = list(csv.reader(sample[1:], delimiter=separator))
    fields = [field for row in rows for field in row]
    n_commas = sum(bool(re.fullmatch(r"[-+]?\d+,\d+", field)) for field in fields)
    n_points = sum(bool(re.fullmatch(r"[-+]?\d+\.\d+", field)) for field in fields)
    if separator != "," and n_commas > n_points:
        settings["decimal"] = (",", f"{n_commas} values like 1,5 and {n_points} like 1.5")
    codes = {
        name
        for position, name in enumerate(next(csv.reader([header], delimiter=separator), []))
        if any(position < len(row) and re.fullmatch(r"0\d+", row[position]) for row in rows)
    }
    return settings, codes


def _guess_encoding(path: Path) -> str:
    opener, _ = opener_of(path)
    with io.BufferedReader(opener(path)) as file:
        if file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        while lines := file.readlines(BLOCK_BYTES):
            try:
                b"".join(lines).decode()
            except UnicodeDecodeError:
                break
        else:
            return "utf-8"
    # Short texts of accented letters fit too many encodings; repetition and plain lines help.
    sample = b"".join(sorted(lines, key=bytes.isascii)[:SAMPLE_LINES]) * 5
    fits = {
        encoding: match.chaos
        for match in from_bytes(sample, cp_isolation=list(ENCODINGS))
        for encoding in match.could_be_from_charset
        if encoding in ENCODINGS
    }
    return min(fits, key=lambda encoding: (fits[encoding], ENCODINGS.index(encoding)), default=ENCODINGS[0])
