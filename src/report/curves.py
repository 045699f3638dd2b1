"""Curves of a classifier: ROC, precision-recall and calibration."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from src.report.figures import COLOURS, GREY, add_legend, fit_label, new_axes
from src.report.metrics import calibration_bins
from src.report.predictions import ClassPredictions
from src.report.ranking import Floats

# With more classes only the worst have a colour and a name.
MAX_NAMED, N_WORST = 10, 5
MAX_POINTS = 1000


class Curve(NamedTuple):
    """The curve of one class, and the area under it."""

    label: Any
    area: float
    x: Floats
    y: Floats


def plot_roc(predictions: ClassPredictions) -> Figure:
    """Draw the ROC curve of each class against the rest."""
    figure, axes = _square("ROC", "False positive rate", "True positive rate", predictions)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="chance")
    curves = [
        Curve(predictions.labels[each.code], each.roc_auc, each.false_positive_rate, each.recall)
        for each in predictions.separations
    ]
    _draw(figure, axes, curves, "AUC", predictions.n_classes)
    return figure


def plot_precision_recall(predictions: ClassPredictions) -> Figure:
    """Draw precision against recall of each class against the rest."""
    figure, axes = _square("Precision and recall", "Recall", "Precision", predictions)
    if predictions.n_classes == 2:
        for each in predictions.separations:
            axes.axhline(each.prevalence, color=GREY, linestyle=":", label=f"chance ({each.prevalence:.3f})")
    curves = [
        Curve(predictions.labels[each.code], each.average_precision, each.recall, each.precision)
        for each in predictions.separations
    ]
    _draw(figure, axes, curves, "AP", predictions.n_classes, drawstyle="steps-pre")
    return figure


def plot_calibration(predictions: ClassPredictions) -> Figure:
    """Draw what was promised against what came true, and below how often it was promised."""
    mean, came_true, rows = calibration_bins(predictions)
    if predictions.n_classes == 2:
        of, kept = f"Probability of {fit_label(predictions.labels[1], 24)}", "Share of rows of this class"
    else:
        of, kept = "Probability of the predicted class", "Share of rows that are right"
    title = f"Calibration, {int(rows.sum())} test rows"
    figure, axes = new_axes(5.6, 6.2, title, "", kept)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfect")
    axes.plot(mean, came_true, marker="o", color=COLOURS[0], label="model")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(loc="upper left", fontsize="small", frameon=False)
    axes.tick_params(labelbottom=False)
    below = figure.add_subplot(4, 1, 4, sharex=axes)
    # One above the other, the counts low.
    grid = figure.add_gridspec(2, 1, height_ratios=(4, 1))
    axes.set_subplotspec(grid[0])
    below.set_subplotspec(grid[1])
    below.bar(mean, rows, width=0.03, color=COLOURS[0])
    # A single row must be seen beside thousands.
    below.set_yscale("log")
    below.set_ylim(0.7, rows.max() * 2)
    below.yaxis.set_major_locator(LogLocator(numticks=4))
    below.yaxis.set_major_formatter("{x:.0f}")
    below.yaxis.set_minor_formatter(NullFormatter())
    below.set_ylabel("Rows")
    below.set_xlabel(of, parse_math=False)
    below.spines[["top", "right"]].set_visible(False)
    return figure


def _square(what: str, x_label: str, y_label: str, predictions: ClassPredictions) -> tuple[Figure, Axes]:
    figure, axes = new_axes(8, 5, f"{what}, {len(predictions.y_true)} test rows", x_label, y_label)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    return figure, axes


def _draw(figure: Figure, axes: Axes, curves: list[Curve], area: str, n_classes: int, **style: Any) -> None:
    named, title = curves, None if n_classes == 2 else "each class against the rest"
    if len(curves) > MAX_NAMED:
        named = sorted(curves, key=lambda curve: curve.area)[:N_WORST]
        title = f"the {len(named)} worst of {n_classes} classes\nagainst the rest"
        for curve in curves:
            axes.plot(*_thin(curve.x, curve.y), color=GREY, linewidth=0.8, alpha=0.7, **style)
    for place, (colour, curve) in enumerate(zip(COLOURS, named, strict=False)):
        label = f"{fit_label(curve.label, 24)} ({area} {curve.area:.3f})"
        # Of curves that are alike the first are seen beside the last.
        width = 1.5 + 0.4 * (len(named) - 1 - place)
        axes.plot(*_thin(curve.x, curve.y), color=colour, linewidth=width, label=label, **style)
    add_legend(figure, axes, title)


def _thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Keep points that are evenly far from each other along the curve, and both ends."""
    if len(x) <= MAX_POINTS:
        return x, y
    way = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.searchsorted(way, np.linspace(0, way[-1], MAX_POINTS))
    kept = np.unique(np.concatenate([[0], np.minimum(kept, len(x) - 1), [len(x) - 1]]))
    return x[kept], y[kept]
