"""The confusion matrix, from 2 classes to hundreds."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from src.report.figures import fit_labels, new_axes

# With more classes a cell has room for its count alone; the rarest beyond that share one.
MAX_WITH_SHARES, MAX_CLASSES = 12, 30
OTHERS = "all others"


def plot_confusion(counts: NDArray[np.int64], labels: Sequence[Any]) -> Figure:
    """Draw true labels down and predicted labels across.

    Args:
        counts: Rows of each pair of labels, shape (n_labels, n_labels).
        labels: In the order to draw.

    Returns:
        A figure whose cells hold the count and its share of the true class.
    """
    n_rows = int(counts.sum())
    counts, names = _lump(counts, labels)
    n_classes = len(names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    roomy = n_classes <= MAX_WITH_SHARES
    side = 2.2 + (0.9 if roomy else 0.45) * n_classes
    title = f"Confusion matrix, {n_rows} test rows"
    figure, axes = new_axes(side + 0.8, side, title, "Predicted label", "True label")
    axes.spines[["top", "right"]].set_visible(True)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    texts = [textwrap.fill(name, 14) for name in fit_labels(names, 28)]
    widest = max(len(line) for text in texts for line in text.splitlines())
    # More than ten letters do not fit under a cell side by side.
    side_by_side = n_classes <= 4 and widest <= 10
    slanted: dict[str, Any] = {} if side_by_side else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    size: dict[str, Any] = {"fontsize": "medium" if roomy else "small"}
    axes.set_xticks(range(n_classes), texts, parse_math=False, **size, **slanted)
    axes.set_yticks(range(n_classes), texts, parse_math=False, **size)
    for row, column in np.argwhere((counts > 0) | roomy):
        count, share = int(counts[row, column]), shares[row, column]
        axes.text(
            column,
            row,
            f"{count}\n{share:.0%}" if roomy else str(count),
            ha="center",
            va="center",
            fontsize="medium" if roomy else 6,
            color="white" if share > 0.5 else "black",
        )
    figure.colorbar(image, ax=axes, label="Share of the true class", format="{x:.0%}", shrink=0.8)
    return figure


def _lump(counts: NDArray[np.int64], labels: Sequence[Any]) -> tuple[NDArray[np.int64], list[Any]]:
    """Let the rarest classes share the last row and column."""
    if len(labels) <= MAX_CLASSES:
        return counts, list(labels)
    kept = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[: MAX_CLASSES - 1])
    place = np.full(len(labels), MAX_CLASSES - 1)
    place[kept] = np.arange(MAX_CLASSES - 1)
    lumped = np.zeros((MAX_CLASSES, MAX_CLASSES), dtype=counts.dtype)
    np.add.at(lumped, (place[:, None], place[None, :]), counts)
    return lumped, [*(labels[code] for code in kept), f"{OTHERS} ({len(labels) - MAX_CLASSES + 1})"]
