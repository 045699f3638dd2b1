"""Render the content of the report as a model card in Markdown (Mitchell et al. 2019)."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.report.content import Block, Code, Items, Link, Picture, Report, Table, Text, pieces


def write_card(report: Report, path: Path) -> str:
    """Write the card as Markdown.

    Args:
        path: Where the card will be, for links to other files.
    """
    title = f"# Model card: {text(report.table_name)}, predicting {text(report.target)}"
    blocks = [title, inline(report.verdict), inline(report.winner)]
    for name, content in report.sections.items():
        blocks += [f"## {name}", *(_render(block, path.parent) for block in content)]
    return "\n\n".join(blocks) + "\n"


def _render(block: Block, folder: Path) -> str:
    if isinstance(block, Items):
        return "\n".join(f"- {inline(item)}" for item in block.texts)
    if isinstance(block, Table):
        return table(block.header, [[inline(cell) for cell in row] for row in block.rows], block.numbers)
    if isinstance(block, Picture):
        return f"![{block.title}]({os.path.relpath(block.path, folder)})\n{text(block.caption)}"
    if isinstance(block, Link):
        return f"[{text(block.text)}]({os.path.relpath(block.path, folder)})"
    return inline(block)


def inline(content: Text) -> str:
    """Format a text with names as code."""
    return "".join(code(piece) if isinstance(piece, Code) else _escape(piece) for piece in pieces(content))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Write a Markdown table with aligned columns.

    Args:
        rows: Cells, escaped already.
        numbers: Indices of the right-aligned columns.
    """
    widths = [max(3, *map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * (width - 1) + (":" if place in numbers else "-") for place, width in enumerate(widths)]
    lines = []
    for cells in (header, rule, *rows):
        padded = [
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(padded)} |")
    return "\n".join(lines)


def code(name: Any) -> str:
    r"""Format a name as code, for a table or a sentence.

    >>> code("a|b")
    '`a\\|b`'
    """
    content = " ".join(str(name).split()).replace("|", r"\|") or " "
    ticks = "`" * (max((len(run) for run in re.findall("`+", content)), default=0) + 1)
    return f"{ticks} {content} {ticks}" if "`" in content else f"{ticks}{content}{ticks}"


def text(words: Any) -> str:
    r"""Escape text for Markdown.

    >>> text("costs $5 | <b>*new*</b>")
    'costs \\$5 \\| \\<b>\\*new\\*\\</b>'
    """
    return _escape(" ".join(str(words).split()))


def _escape(words: str) -> str:
    # Spaces at the ends separate a piece from the next one.
    return re.sub(r"([\\`*\[\]<|$~]|\b_|_\b)", r"\\\1", re.sub(r"\s+", " ", words))
