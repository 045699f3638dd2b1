"""Guess the format of a text file: encoding, separator, decimal mark, codes with leading zeros."""

import codecs
import csv
import io
import itertools
import re
from pathlib import Path
from typing import Any

from charset_normalizer import from_bytes

from src.data_load.read_file import TEXT_SUFFIXES, UNREADABLE, check_text, find_header, opener_of
from src.errors import DataError
from src.text import one_line

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
        check_text(path, encoding, str(path))
        with io.TextIOWrapper(io.BufferedReader(opener(path)), encoding=encoding) as text:
            sample = list(itertools.islice(text, SAMPLE_LINES))
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except UnicodeError:
        raise DataError(f"{path} cannot be read: it is not text in a known encoding; save it as UTF-8.") from None
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read: {one_line(str(error), 300)}.") from None
    settings: dict[str, tuple[Any, str]] = {}
    if encoding != "utf-8":
        settings["encoding"] = (encoding, "not UTF-8; check that accented letters are right")
    default = "\t" if kind == ".tsv" else ","
    separator, n_before = _guess_separator(sample, default)
    if n_before:
        settings["skip_rows"] = (n_before, f"the first {n_before} lines have fewer fields than the others")
    sample = sample[n_before:]
    header = sample[0] if sample else ""
    if separator != default and separator in header:
        settings["separator"] = (separator, f"the most frequent one in the {'header' if n_before else 'first line'}")
    try:
        names, *rows = csv.reader(sample, delimiter=separator)
    except (csv.Error, ValueError):
        # A field is larger than 128 kB, or there are no lines.
        names, rows = [], []
    fields = [field for row in rows for field in row]
    n_commas = sum(bool(re.fullmatch(r"[-+]?\d+,\d+", field)) for field in fields)
    n_points = sum(bool(re.fullmatch(r"[-+]?\d+\.\d+", field)) for field in fields)
    if separator != "," and n_commas > n_points:
        settings["decimal"] = (",", f"{n_commas} values like 1,5 and {n_points} like 1.5")
    codes = {
        name
        for position, name in enumerate(names)
        if any(position < len(row) and re.fullmatch(r"0\d+", row[position]) for row in rows)
    }
    return settings, codes


def _guess_separator(lines: list[str], default: str) -> tuple[str, int]:
    """Guess the separator, and the number of lines before the header."""
    first = lines[0] if lines else ""
    separator = max(SEPARATORS, key=lambda mark: (first.count(mark), mark == default))
    if separator in first and not find_header(lines, separator):
        return separator, 0
    for separator in sorted(SEPARATORS, key=lambda mark: mark != default):
        if n_before := find_header(lines, separator):
            return separator, n_before
    # As many blanks in each line, but not two side by side.
    n_blanks = {line.rstrip().count(" ") for line in lines}
    if len(lines) > 1 and len(n_blanks) == 1 and n_blanks != {0} and not any("  " in line for line in lines):
        return " ", 0
    return default, 0


def _guess_encoding(path: Path) -> str:
    opener, _ = opener_of(path)
    with io.BufferedReader(opener(path)) as file:
        first = file.peek(4)[:4]
        if first in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
            return "utf-32"
        if first[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
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
