"""Render the content of the report as one web page that needs no other file and no network."""

import base64
import itertools
import os
import struct
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from src.data.headline import Headline, short_number
from src.report.content import Code, Report, pieces
from src.report.visualizing import DPI

TEMPLATE = "report.html.j2"
# CSS pixels per inch.
CSS_DPI = 96


def write_page(report: Report, path: Path) -> str:
    """Write the page as HTML, with the figures embedded.

    Args:
        path: Where the page will be, for links to other files.
    """
    return render_page(TEMPLATE, path, report=report, scale=place_on_scale(report.headline))


def render_page(template: str, path: Path, folder: Path | None = None, **content: Any) -> str:
    """Render a template that looks like the report.

    Args:
        path: Where the page will be, for links to other files.
        folder: Folder of the template, if it extends that of the report.
        content: Variables of the template; `report.sections` holds blocks.
    """
    environment = Environment(
        loader=FileSystemLoader([*([folder] if folder else []), Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": short_number,
        "pieces": pieces,
        "groupby_kind": lambda blocks: itertools.groupby(blocks, lambda block: type(block).__name__),
        "data_uri": data_uri,
        "css_size": css_size,
        "link": partial(os.path.relpath, start=path.parent),
    }
    environment.tests |= {"code": lambda piece: isinstance(piece, Code)}
    return environment.get_template(template).render(**content)


def data_uri(path: Path) -> str:
    """Encode a PNG file as a URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def css_size(path: Path) -> tuple[int, int]:
    """Read the width and height of a PNG file, in CSS pixels."""
    with path.open("rb") as file:
        # The first chunk of a PNG file begins with both.
        width, height = struct.unpack(">II", file.read(24)[16:])
    return width * CSS_DPI // DPI, height * CSS_DPI // DPI


def place_on_scale(headline: Headline | None) -> dict[str, float]:
    """Place the headline metric, its interval and the baseline on a scale.

    Returns:
        Position of each in percent; empty if one of them is undefined.
    """
    if headline is None or headline.interval is None or headline.baseline is None:
        return {}
    low, high = headline.interval
    known = {"value": headline.value, "low": low, "high": high, "baseline": headline.baseline}
    start, end = min(known.values()), max(known.values())
    # A share, such as the accuracy, is shown on the scale of all shares.
    if not headline.is_loss and start >= 0 and end <= 1:
        start, end = 0.0, 1.0
    return {name: round(100 * (value - start) / ((end - start) or 1), 2) for name, value in known.items()}
