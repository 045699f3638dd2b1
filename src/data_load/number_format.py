"""Find the format of numbers that are text, such as `$1,234.50` or `1.234,50 €`."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from src.data.kinds import MISSING, TEXT, VARIANTS, convert

# A sign or a parenthesis, what is before the number, the number, and what is after it.
_PARTS = re.compile(
    r"^\s*\(?\s*[-+]?\s*([^\d\s.,'()+-]{0,8})(\s*)[-+]?(\d[\d.,' ]*|[.,]\d+)-?\s*([^\d.,'()+-]{0,12}?)\s*\)?\s*$"
)
_DIGIT = re.compile(r"\d")
CURRENCIES = ("EUR", "USD", "CHF", "GBP", "PLN", "SEK", "NOK", "DKK", "CZK", "Rs")
MAX_LEVELS = 10_000
# Text with at least this fraction of numbers is a column of numbers with a few other values.
MOSTLY = 0.9


def has_digits(levels: pd.Series) -> bool:
    """Return whether a value has a digit. Without one, no number or date needs to be looked for, which takes longer."""
    return any(map(_DIGIT.search, map(str, levels)))


@dataclass(frozen=True)
class NumberFormat:
    """Format of the numbers of a column.

    Attributes:
        options: `decimal`, `thousands` and `unit` as far as they are needed.
        others: Values that are no numbers.
        is_ambiguous: Whether `1,234` could also be the other of 1234 and 1.234.
    """

    options: dict[str, Any]
    others: list[str]
    is_ambiguous: bool = False


def find_number_format(levels: pd.Series, decimal: str = ".") -> NumberFormat | None:
    """Find the one format in which (almost) all different values of a column are numbers.

    Args:
        levels: Different values as text.
        decimal: Decimal mark of the file, which decides if `1,234` may be either.

    Returns:
        None if more than one in ten values are no numbers, or the formats contradict each other.
    """
    values = pd.Series(levels.dropna().unique(), dtype=TEXT)
    texts = [text for text in map(_plain, values.head(MAX_LEVELS).tolist()) if text.strip().lower() not in MISSING]
    # Letters before a number make it a code, such as P001, but not in `kr 1,50`.
    matches = [match for text in texts if (match := _PARTS.match(text))]
    if not any(match[2] and set(match[3].strip()) & set(".,") for match in matches):
        matches = [match for match in matches if not match[1] or _is_currency(match[1])]
    if len(matches) < 2 or len(texts) - len(matches) > (1 - MOSTLY) * len(texts) + 1:
        return None
    units = {unit for match in matches for unit in (match[1], match[4].strip()) if unit}
    if len(units) > 1:
        return None
    unit = next(iter(units), "")
    decimals, groups, either = _find_marks(match[3].strip() for match in matches)
    # A phone number is in groups, too.
    if groups and any(re.match(r"0[\d' ]", match[3]) for match in matches):
        return None
    for mark in sorted(either - decimals - groups):
        # Prices have cents, or thousands.
        (decimals if mark == decimal and not decimals and not _is_currency(unit) else groups).add(mark)
    if len(decimals) > 1 or len(groups) > 1 or decimals & groups:
        return None
    options: dict[str, Any] = {}
    if unit or groups or decimals - {"."}:
        # Written out, because the default is the decimal mark of the file.
        options["decimal"] = "," if "," in decimals or "." in groups else "."
        options |= {"thousands": groups.pop()} if groups else {}
        options |= {"unit": unit} if unit else {}
    _, wrong = convert(values, {"kind": "number", **options})
    others = [] if wrong is None else values[wrong].tolist()
    if len(others) > (1 - MOSTLY) * len(values) + 1:
        return None
    return NumberFormat(options, others, is_ambiguous=bool(either))


def _is_currency(unit: str) -> bool:
    return unit in CURRENCIES or any(unicodedata.category(letter) == "Sc" for letter in unit)


def _plain(text: str) -> str:
    for variants, plain in VARIANTS.items():
        text = re.sub(f"[{variants}]", plain, text)
    return text


def _find_marks(numbers: Iterable[str]) -> tuple[set[str], set[str], set[str]]:
    """List the decimal marks, the marks of thousands, and those that may be either, as in `1,234`."""
    decimals, groups, either = set[str](), set[str](), set[str]()
    for number in numbers:
        marks = re.sub(r"\d", "", number)
        groups |= set(marks) & {"'", " "}
        points = [mark for mark in marks if mark in ".,"]
        if len(set(points)) == 2:
            decimals.add(points[-1])
            groups |= set(points[:-1])
        elif len(points) > 1:
            groups.add(points[-1])
        elif points and (set(marks) & {"'", " "} or not re.fullmatch(r"[1-9]\d{0,2}[.,]\d{3}", number)):
            decimals.add(points[-1])
        else:
            either |= set(points)
    return decimals, groups, either - decimals - groups
