"""What every figure shares: made by value, with no global state of matplotlib."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22", "#7f7f7f")
GREY = "#b0b0b0"


def new_axes(width: float, height: float, title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """Make a figure of one plot, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    # The canvas of its own keeps pyplot and its list of open figures out.
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize="medium", parse_math=False)
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)
    for locator_axis in (axes.xaxis, axes.yaxis):
        locator_axis.set_major_locator(MaxNLocator(6))
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def add_legend(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """Put the legend to the right, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    place: dict[str, Any] = {"loc": "outside right upper", "alignment": "left", "frameon": False}
    legend = figure.legend(handles, labels, fontsize="small", title=title, title_fontsize="small", **place)
    for text in legend.get_texts():
        # A $ in a class name is no formula.
        text.set_parse_math(False)


def fit_label(label: Any, width: int) -> str:
    """Make a name fit: one line, only letters that the font has, its start and its end.

    >>> fit_label("a_very_long_name_of_a_column", 15)
    'a_very_…_column'
    >>> fit_label(chr(0x1F40D), 15)
    'U+1F40D'
    """
    text = " ".join(str(label).split())
    text = "".join(letter if ord(letter) in _letters() else f"U+{ord(letter):04X}" for letter in text) or "(empty)"
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[-end:]}"


def fit_labels(labels: Sequence[Any], width: int) -> list[str]:
    """Make names fit, and tell apart those that come out alike."""
    fitted = [fit_label(label, width) for label in labels]
    return [
        f"{text} ({fitted[: place + 1].count(text)})" if fitted.count(text) > 1 else text
        for place, text in enumerate(fitted)
    ]


@cache
def _letters() -> frozenset[int]:
    # The font that comes with matplotlib: the same on every machine.
    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())
