"""Where a regression errs: predicted against true, and residuals."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.report.figures import COLOURS, GREY, new_axes
from src.report.predictions import NumberPredictions
from src.report.ranking import Floats

# Beyond that points hide each other: cells with counts are drawn instead.
MAX_POINTS = 3000


def plot_predicted(predictions: NumberPredictions) -> Figure:
    """Draw predicted against true numbers."""
    y_true, y_pred = predictions.y_true, predictions.y_pred
    title = f"Predicted against true, {len(y_true)} test rows"
    figure, axes = new_axes(6.4, 5, title, "True", "Predicted")
    _scatter(figure, axes, y_true, y_pred)
    ends = [min(y_true.min(), y_pred.min()), max(y_true.max(), y_pred.max())]
    axes.plot(ends, ends, color=COLOURS[1], linestyle=":", label="perfect")
    axes.legend(loc="upper left", fontsize="small")
    return figure


def plot_residuals(predictions: NumberPredictions) -> Figure:
    """Draw true minus predicted against predicted numbers: no pattern should be seen."""
    title = f"Residuals, {len(predictions.y_true)} test rows"
    figure, axes = new_axes(6.4, 5, title, "Predicted", "True minus predicted")
    _scatter(figure, axes, predictions.y_pred, predictions.y_true - predictions.y_pred)
    axes.axhline(0, color=COLOURS[1], linestyle=":")
    return figure


def _scatter(figure: Figure, axes: Axes, x: Floats, y: Floats) -> None:
    if len(x) <= MAX_POINTS:
        axes.scatter(x, y, s=24, alpha=float(np.clip(200 / len(x), 0.25, 0.8)), color=COLOURS[0], linewidths=0)
        return
    cells = axes.hexbin(x, y, gridsize=60, mincnt=1, bins="log", cmap="viridis", linewidths=0.1)
    figure.colorbar(cells, ax=axes, label="Rows")
    axes.set_facecolor("white")
    axes.grid(color=GREY, alpha=0.3)
