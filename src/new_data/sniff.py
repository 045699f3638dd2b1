"""Guess the format of a file: encoding, separator, lines before the header, decimal mark, codes with leading zeros."""

import codecs
import io
import re
from pathlib import Path
from typing import Any

from charset_normalizer import from_bytes

from src.data_load.layout import Layout, find_layout
from src.data_load.read_file import kind_of
from src.data_load.text_files import TEXT_SUFFIXES, UNREADABLE, check_text, opener_of
from src.data_load.typed_files import EXCEL_SUFFIXES, open_workbook, read_cells
from src.errors import DataError
from src.text import one_line, show

# The sample ends after so many lines, or after so many characters, but not before its first lines.
SAMPLE_LINES, SAMPLE_LETTERS, FIRST_LINES = 1000, 1_000_000, 20
# The first of them that fits best is used; a single blank is read faster than any white space.
SEPARATORS = (",", ";", "\t", "|", " ", "whitespace")
BLANKS = SEPARATORS[-2:]
# At least this fraction of lines must have as many fields as the header.
REGULAR = 0.9
# Common encodings of spreadsheets, most common first; short texts often fit several of them.
ENCODINGS = ("cp1252", "cp1250", "cp1251", "cp1253", "cp932", "gb18030", "big5", "cp949", "euc_jp", "koi8_r")
BLOCK_BYTES = 2**20

# Settings of `data_load.source` that are not the default, each with the reason.
Settings = dict[str, tuple[Any, str]]


def sniff_file(path: Path) -> tuple[Settings, set[str]]:
    """Guess the format of a text file or an Excel workbook; other types need no settings.

    Returns:
        Settings of `data_load.source` that are not the default, each with the reason, and the names of columns with
        codes such as 007.

    Raises:
        DataError: The file cannot be read.
    """
    if not path.exists():
        raise DataError(f"{path} is missing.")
    kind = kind_of(path, str(path))
    try:
        if kind in TEXT_SUFFIXES:
            return _sniff_text(path, kind)
        if kind in EXCEL_SUFFIXES:
            return _sniff_excel(path), set()
    except UnicodeError:
        raise DataError(f"{path} cannot be read: it is not text in a known encoding; save it as UTF-8.") from None
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read: {one_line(str(error), 300)}.") from None
    return {}, set()


def _sniff_text(path: Path, kind: str) -> tuple[Settings, set[str]]:
    opener, _ = opener_of(path)
    encoding = _guess_encoding(path)
    check_text(path, encoding, str(path))
    with io.TextIOWrapper(io.BufferedReader(opener(path)), encoding=encoding) as text:
        sample = _take_sample(text)
    settings: Settings = {}
    if encoding != "utf-8":
        settings["encoding"] = (encoding, "not UTF-8; check that accented letters are right")
    default = "\t" if kind == ".tsv" else ","
    separator, layout = _guess_separator(sample, default)
    if layout.n_before:
        settings["skip_rows"] = (layout.n_before, _describe_header(layout))
    if separator != default:
        regular = f"{layout.n_regular} of {len(layout.rows)} rows have {layout.n_fields} fields"
        settings["separator"] = (separator, regular)
    fields = [field for row in layout.rows for field in row]
    n_commas = sum(bool(re.fullmatch(r"[-+]?(\d+|\d{1,3}(\.\d{3})+),\d+", field)) for field in fields)
    n_points = sum(bool(re.fullmatch(r"[-+]?\d+\.\d+", field)) for field in fields)
    if separator != "," and n_commas > n_points:
        settings["decimal"] = (",", f"{n_commas} values like 1,5 and {n_points} like 1.5")
    # R writes no name for the names of rows.
    names = ["column_1", *layout.header] if layout.has_row_names else layout.header
    codes = {
        name
        for position, name in enumerate(names)
        if any(position < len(row) and re.fullmatch(r"0\d+", row[position]) for row in layout.rows)
    }
    return settings, codes


def _take_sample(text: io.TextIOWrapper) -> list[str]:
    lines, n_letters = list[str](), 0
    for line in text:
        lines.append(line)
        n_letters += len(line)
        if len(lines) >= SAMPLE_LINES or (n_letters > SAMPLE_LETTERS and len(lines) >= FIRST_LINES):
            break
    return lines


def _guess_separator(lines: list[str], default: str) -> tuple[str, Layout]:
    """Choose the separator that splits the header and the rows into the same number of fields."""
    best, best_score = None, None
    for separator in SEPARATORS:
        layout = find_layout(lines, separator)
        has_header = len(layout.header) == layout.n_fields or (separator == "whitespace" and layout.has_row_names)
        is_regular = layout.n_regular >= REGULAR * len(layout.rows)
        if layout.n_fields < 2 or not has_header or not is_regular:
            continue
        # Two blanks side by side are not an empty field.
        if separator == " " and not all(map(all, [layout.header, *layout.rows])):
            continue
        first_rows = all(len(row) == layout.n_fields for row in layout.rows[:3])
        score = (separator not in BLANKS, first_rows, -layout.n_before, separator == default, layout.n_fields)
        if best_score is None or score > best_score:
            best, best_score = (separator, layout), score
    if best:
        return best
    first = lines[0] if lines else ""
    frequent = max(SEPARATORS[:4], key=lambda mark: (first.count(mark), mark == default))
    return frequent, find_layout(lines, frequent)


def _describe_header(layout: Layout) -> str:
    return (
        f"line {layout.n_before + 1} seems to be the header: {', '.join(show(name, 30) for name in layout.header[:3])}"
    )


def _sniff_excel(path: Path) -> Settings:
    settings: Settings = {}
    with open_workbook(path, str(path)) as book:
        for position, sheet in enumerate(map(str, book.sheet_names)):
            grid = read_cells(book, sheet, n_rows=SAMPLE_LINES)
            if not (grid != "").any(axis=None):
                continue
            if position:
                settings["sheet"] = (sheet, "the first sheet that is not empty")
            cells = grid.map(lambda cell: str(cell).replace("\t", " ").replace('"', ""))
            rows = ["\t".join(row) for row in cells.itertuples(index=False, name=None)]
            layout = find_layout(rows, "\t")
            if layout.n_before:
                settings["skip_rows"] = (layout.n_before, _describe_header(layout))
            break
    return settings


def _guess_encoding(path: Path) -> str:
    opener, _ = opener_of(path)
    with io.BufferedReader(opener(path)) as file:
        first = file.peek(4)[:4]
        if first in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
            return "utf-32"
        if first[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        while block := file.read(BLOCK_BYTES) + file.readline():
            try:
                block.decode()
            except UnicodeDecodeError:
                break
        else:
            return "utf-8"
    # Short texts of accented letters fit too many encodings; repetition and plain lines help.
    sample = b"".join(sorted(block.splitlines(keepends=True), key=bytes.isascii)[:SAMPLE_LINES]) * 5
    fits = {
        encoding: match.chaos
        for match in from_bytes(sample, cp_isolation=list(ENCODINGS))
        for encoding in match.could_be_from_charset
        if encoding in ENCODINGS
    }
    return min(fits, key=lambda encoding: (fits[encoding], ENCODINGS.index(encoding)), default=ENCODINGS[0])
