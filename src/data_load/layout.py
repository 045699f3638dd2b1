"""Find the header of a text table, and split its lines into fields."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

# A field in quotes may have this many lines.
MAX_LINES_OF_FIELD = 100
MAX_LINES_BEFORE_HEADER = 100
FIELD_BETWEEN_BLANKS = re.compile(r'"((?:[^"]|"")*)"(?!\S)|(\S+)')
YEAR = re.compile(r"(1[89]|20)\d\d")


@dataclass(frozen=True)
class Layout:
    """How lines look with a separator.

    Attributes:
        n_before: Number of lines before the header.
        header: Fields of the header.
        rows: Fields of each line below it; empty lines are left out.
        n_fields: Number of fields that most lines have.
    """

    n_before: int
    header: list[str]
    rows: list[list[str]]
    n_fields: int

    @property
    def n_regular(self) -> int:
        """Number of rows with `n_fields` fields."""
        return sum(len(row) == self.n_fields for row in self.rows)

    @property
    def has_row_names(self) -> bool:
        """Whether each row begins with a name of its own that has no field in the header, as R writes tables."""
        names = [row[0] for row in self.rows]
        return bool(names) and len(self.header) == self.n_fields - 1 and len(set(names)) == len(names)


def find_layout(lines: Sequence[str], separator: str) -> Layout:
    """Find the header among lines: the first one with as many fields as most lines have, unless it is a title.

    Args:
        lines: The first lines of a file.
        separator: A character, or `whitespace`.
    """
    # A byte order mark is not part of the first name.
    records = _split([line.removeprefix("\ufeff") for line in lines], separator)
    counts = Counter(len(fields) for _, fields in records)
    n_fields, n_usual = counts.most_common(1)[0] if counts else (0, 0)
    at = 0
    if n_fields > 1 and 2 * n_usual >= len(records):
        candidates = range(min(len(records), MAX_LINES_BEFORE_HEADER))
        right = (at for at in candidates if len(records[at][1]) == n_fields and not _is_title(records, at))
        at = next(right, 0)
        if at and not _holds_names(records, at):
            at = 0
    header = records[at][1] if records else []
    return Layout(records[at][0] if at else 0, header, [fields for _, fields in records[at + 1 :]], n_fields)


def _split(lines: Sequence[str], separator: str) -> list[tuple[int, list[str]]]:
    """Return the fields of each record, and the number of lines before it."""
    records, start = list[tuple[int, list[str]]](), 0
    while start < len(lines):
        end, is_open = start + 1, lines[start].count('"') % 2
        while is_open and end < min(len(lines), start + MAX_LINES_OF_FIELD):
            is_open ^= lines[end].count('"') % 2
            end += 1
        # A quote that is never closed is part of the text, such as 5" of a screw.
        if is_open:
            end = start + 1
        record = lines[start:end]
        if any(line.strip() for line in record):
            records.append((start, _split_record(record, separator)))
        start = end
    return records


def _split_record(lines: Sequence[str], separator: str) -> list[str]:
    line = "".join(lines)
    if separator == "whitespace":
        return [quoted or plain for quoted, plain in FIELD_BETWEEN_BLANKS.findall(line)]
    if '"' in line:
        try:
            return next(csv.reader(lines, delimiter=separator))
        except csv.Error:
            pass  # A field is larger than 128 kB.
    return line.rstrip("\r\n").split(separator)


def _is_title(records: Sequence[tuple[int, list[str]]], at: int) -> bool:
    """Return whether a line is a title or a comment that happens to have as many fields as the header."""
    first, *others = records[at][1]
    if re.match(r"\s*#[#\s]", first) or 2 * sum(not field.strip() for field in others) > len(others):
        return True
    below = records[at + 1][1] if at + 1 < len(records) else []
    # Blanks follow the commas of a sentence.
    return bool(below) and _has_blanks(others) and not _has_blanks(below[1:])


def _has_blanks(fields: Sequence[str]) -> bool:
    return any(field.startswith(" ") for field in fields)


def _holds_names(records: Sequence[tuple[int, list[str]]], at: int) -> bool:
    """Return whether the fields look like names of columns; these may be years, but are not in a row again."""
    fields = records[at][1]
    others = [field for field in fields if field.strip() and not any(letter.isalpha() for letter in field)]
    are_names = len(others) < len(fields) and all(YEAR.fullmatch(field.strip()) for field in others)
    return are_names and not any(row == fields for _, row in records[at + 1 :])
