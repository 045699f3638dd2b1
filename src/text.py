"""Show long or multi-line values and errors on one line, and align tables."""

from collections.abc import Collection, Sequence


def show(value: object, length: int = 80) -> str:
    """Show the start of a value on one line."""
    return one_line(repr(value), length)


def one_line(text: str, length: int) -> str:
    """Cut a text, and escape line breaks and other characters that cannot be printed."""
    cut = text if len(text) <= length else f"{text[: length - 1]}…"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in cut)


def message_of(error: BaseException) -> str:
    """Return the message of an error without line breaks, or the name of its class if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def format_table(rows: Sequence[Sequence[str]], flexible: Collection[int], width: int = 100) -> str:
    """Align texts in columns, and cut the longest texts of some columns until each line fits.

    Args:
        rows: Header and lines, of the same length.
        flexible: Indices of the columns that may be cut. The first column counts half, since it names the line.
        width: Maximum length of a line.
    """
    rows = [[one_line(cell, 1000) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > width and any(widths[index] > 1 for index in flexible):
        widths[max(flexible, key=lambda index: widths[index] / (1 if index else 2))] -= 1
    lines = (
        "  ".join(one_line(cell, size).ljust(size) for cell, size in zip(row, widths, strict=True)) for row in rows
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)
