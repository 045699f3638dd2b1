"""How a text of rows seems to be written: separator, decimal mark, encoding, codes with zeros in front."""

import codecs
import csv
import itertools
import re
from pathlib import Path
from typing import Any

from src.data_load.read_file import TEXT_SUFFIXES, UNREADABLE, opener_of
from src.errors import DataError

SAMPLE_LINES = 1000
SEPARATORS = (",", ";", "\t", "|")
# Of encodings that take any bytes at all, the most common one.
FALLBACK_ENCODING = "cp1252"


def sniff_text(path: Path) -> tuple[dict[str, Any], dict[str, str], set[str]]:
    """Look at the beginning of a file, and at all its bytes for the encoding.

    Args:
        path: A table of any format; of Parquet nothing is to be guessed.

    Returns:
        Settings that differ from the defaults of `data_load.source`, why each, and the
        columns whose numbers have zeros in front.
    """
    compressed, kind = opener_of(path)
    if path.is_dir() or kind not in TEXT_SUFFIXES:
        return {}, {}, set()
    settings, why = {}, {}
    encoding = _encoding(path)
    if encoding != "utf-8":
        settings["encoding"], why["encoding"] = encoding, "the bytes are not UTF-8"
    try:
        with compressed(path) as raw, codecs.getreader(encoding)(raw) as text:
            sample = list(itertools.islice(text, SAMPLE_LINES))
    except (UnicodeError, *UNREADABLE) as error:
        # The bytes were not all looked at where the first of them told the encoding.
        raise DataError(f"{path} cannot be read: {error}.") from None
    usual = "\t" if kind == ".tsv" else ","
    header = sample[0] if sample else ""
    separator = max(SEPARATORS, key=lambda mark: (header.count(mark), mark == usual))
    if separator != usual and separator in header:
        settings["separator"] = separator
        why["separator"] = f"the first line holds {header.count(separator)} of {separator!r}"
    rows = list(csv.reader(sample[1:], delimiter=separator))
    fields = [field for row in rows for field in row]
    with_comma = sum(bool(re.fullmatch(r"[-+]?\d+,\d+", field)) for field in fields)
    with_point = sum(bool(re.fullmatch(r"[-+]?\d+\.\d+", field)) for field in fields)
    if separator != "," and with_comma > with_point:
        settings["decimal"], why["decimal"] = ",", f"{with_comma} fields are like 1,5 and {with_point} like 1.5"
    names = next(csv.reader([header], delimiter=separator), [])
    codes = {
        name
        for position, name in enumerate(names)
        if any(position < len(row) and re.fullmatch(r"0\d+", row[position]) for row in rows)
    }
    return settings, why, codes


def _encoding(path: Path) -> str:
    opener, _ = opener_of(path)
    try:
        with opener(path) as file:
            start = file.read(4)
            if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return "utf-16"
            decoder = codecs.getincrementaldecoder("utf-8")()
            decoder.decode(start)
            while block := file.read(2**20):
                decoder.decode(block)
    except UnicodeDecodeError:
        return FALLBACK_ENCODING
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    return "utf-8"
