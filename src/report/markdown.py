"""Markdown that reads well as plain text too."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Write a table whose columns are aligned.

    Args:
        header: Names of the columns.
        rows: Cells, escaped already.
        numbers: Places of the columns that are aligned to the right.
    """
    widths = [max(3, *map(_width, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * (width - 1) + (":" if place in numbers else "-") for place, width in enumerate(widths)]
    return "\n".join(_line(cells, widths, numbers) for cells in (header, rule, *rows))


def _line(cells: Sequence[str], widths: Sequence[int], numbers: Sequence[int]) -> str:
    padded = []
    for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        space = " " * (width - _width(cell))
        padded.append(space + cell if place in numbers else cell + space)
    return "| " + " | ".join(padded) + " |"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def code(name: Any) -> str:
    r"""Show a name of the user's as it is, in a cell of a table or in a sentence.

    >>> code("a|b")
    '`a\\|b`'
    """
    text = " ".join(str(name).split()).replace("|", r"\|") or " "
    ticks = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{ticks} {text} {ticks}" if "`" in text else f"{ticks}{text}{ticks}"


def text(words: Any) -> str:
    r"""Show words of unknown origin as they are: no formula, link, table or tag.

    >>> text("costs $5 | <b>*new*</b>")
    'costs \\$5 \\| \\<b>\\*new\\*\\</b>'
    """
    return re.sub(r"([\\`*\[\]<|$~]|\b_|_\b)", r"\\\1", " ".join(str(words).split()))
