"""Figures: made by value, with no global state of matplotlib."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix


def plot_confusion_matrix(y_true: NDArray[Any], y_pred: NDArray[Any], classes: NDArray[Any]) -> Figure:
    """Draw true labels down and predicted labels across.

    Args:
        y_true: Labels, shape (n_samples,).
        y_pred: Predicted labels, shape (n_samples,).
        classes: All labels in the order to draw, shape (n_classes,).

    Returns:
        A figure whose cells hold the count and its share of the true class.
    """
    counts = confusion_matrix(y_true, y_pred, labels=classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n_classes = len(classes)
    side = 2.2 + 0.9 * n_classes
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    # The canvas of its own keeps pyplot and its list of open figures out.
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    labels = [textwrap.fill(str(label), 14) for label in classes]
    widest = max(len(line) for label in labels for line in label.splitlines())
    # More than ten letters do not fit under a cell side by side.
    side_by_side = n_classes <= 4 and widest <= 10
    slanted: dict[str, Any] = {} if side_by_side else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    # A $ in a class name is no formula.
    axes.set_xticks(range(n_classes), labels, parse_math=False, **slanted)
    axes.set_yticks(range(n_classes), labels, parse_math=False)
    axes.set_xlabel("Predicted label")
    axes.set_ylabel("True label")
    axes.set_title(f"Confusion matrix, {len(y_true)} test rows", fontsize="medium")
    for row in range(n_classes):
        for column in range(n_classes):
            axes.text(
                column,
                row,
                f"{counts[row, column]}\n{shares[row, column]:.0%}",
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.5 else "black",
            )
    figure.colorbar(image, ax=axes, label="Share of the true class", format="{x:.0%}", shrink=0.8)
    return figure
