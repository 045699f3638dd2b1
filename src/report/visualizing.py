"""All figures of the report, without the global state of pyplot.

scikit-learn's displays import pyplot, and read `$` in a class name as a formula.
"""

import logging
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.image import imsave
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from src.atomic import atomic_path
from src.data.candidates import name_candidates
from src.report.inputs import list_candidates, sort_candidates
from src.report.metrics import calibration_bins
from src.report.predictions import ClassPredictions, Floats, NumberPredictions, Predictions

logger = logging.getLogger(__name__)

DPI = 120
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22", "#7f7f7f")
GREY = "#b0b0b0"
# With more classes, cells of the confusion matrix have no room for shares; beyond `MAX_CLASSES`, the rarest are merged.
MAX_WITH_SHARES, MAX_CLASSES = 12, 30
# With more classes, only the worst curves get a colour and a name.
MAX_NAMED, N_WORST = 10, 5
# More points would hide each other: hexagons coloured by count are drawn instead.
MAX_POINTS = 3000
N_FEATURES_SHOWN, N_CANDIDATES_SHOWN = 20, 30


def draw_figures(
    predictions: Predictions, shown: Predictions, importance: pd.DataFrame, candidates: pd.DataFrame, scoring: str
) -> Iterator[tuple[str, Figure]]:
    """Yield the name and the figure of each plot that the predictions allow.

    Args:
        predictions: Predictions of all test rows, for the confusion matrix.
        shown: Predictions of the same rows or of a sample, for points and curves.
    """
    if isinstance(predictions, ClassPredictions):
        yield "confusion_matrix", plot_confusion_matrix(predictions)
    if isinstance(shown, ClassPredictions):
        if shown.one_vs_rest:
            yield "roc", plot_roc(shown)
            yield "precision_recall", plot_precision_recall(shown)
        if shown.has_scores and shown.is_probability:
            yield "calibration", plot_calibration(shown)
    else:
        yield "predicted_against_true", plot_predicted(shown)
        yield "residuals", plot_residuals(shown)
    if len(importance):
        yield "permutation_importance", plot_importance(importance, scoring)
    if "mean" in candidates and candidates["mean"].notna().sum() > 1:
        yield "search", plot_search(candidates, scoring)


def write_figures(figures: Iterable[tuple[str, Figure]], plots_dir: Path) -> list[Path]:
    """Write figures as PNG files and return their paths."""
    plots_dir.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures:
        paths.append(plots_dir / f"{name}.png")
        with atomic_path(paths[-1]) as partial:
            imsave(partial, render(figure), format="png", dpi=DPI, pil_kwargs={"compress_level": 4})
    logger.info("wrote %d figures to %s", len(paths), plots_dir)
    return paths


def render(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure and crop its empty margins, in one pass where constrained layout needs several.

    Returns:
        Pixels, shape (height, width, 4).
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib does not annotate its canvases
    pixels = np.array(canvas.buffer_rgba())  # type: ignore[no-untyped-call]  # as above
    colours = pixels.view(np.uint32)[..., 0]
    is_drawn = colours != colours[0, 0]
    (top, bottom), (left, right) = (
        (int(np.argmax(used)), len(used) - int(np.argmax(used[::-1]))) for used in (is_drawn.any(1), is_drawn.any(0))
    )
    pad = DPI // 10
    return pixels[max(top - pad, 0) : bottom + pad, max(left - pad, 0) : right + pad]


def plot_confusion_matrix(predictions: ClassPredictions) -> Figure:
    """Draw true labels down, predicted labels across, and in each cell its count and share of the true class."""
    counts, names = merge_rarest(predictions.confusion, predictions.labels)
    n_classes = len(names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with_shares = n_classes <= MAX_WITH_SHARES
    cell = max(0.65, 3 / n_classes) if with_shares else 0.38
    font: dict[str, Any] = {"fontsize": "medium" if with_shares else "small", "parse_math": False}
    texts = [textwrap.fill(fit_label(name, 28), 14) if with_shares else fit_label(name, 20) for name in names]
    widest = max(len(line) for text in texts for line in text.splitlines())
    # A letter of 10 points is about 0.1 inches wide.
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if widest * 0.1 > cell else {}
    rotated = slanted if with_shares else {"rotation": 90}
    title = f"Confusion matrix, {counts.sum()} test rows"
    figure, axes = new_axes(cell * n_classes, cell * n_classes, title, "Predicted label", "True label", 3, 3, 1.5)
    axes.spines[:].set_visible(True)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(n_classes), texts, **font, **rotated)
    axes.set_yticks(range(n_classes), texts, **font)
    for row, column in np.argwhere((counts > 0) | with_shares):
        count, share = int(counts[row, column]), shares[row, column]
        text = f"{count}\n{share:.0%}" if with_shares and count else str(count)
        colour, size = "white" if share > 0.5 else "black" if count else GREY, "medium" if with_shares else 6
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
    if not with_shares:
        bar = axes.inset_axes((1.02, 0.3, 0.02, 0.4))
        figure.colorbar(image, cax=bar, label="Share of the true class", format="{x:.0%}")
    return figure


def merge_rarest(counts: NDArray[np.intp], labels: Sequence[Any]) -> tuple[NDArray[np.intp], list[Any]]:
    """Merge the classes with the fewest rows into the last row and column."""
    if len(labels) <= MAX_CLASSES:
        return counts, list(labels)
    shown = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[: MAX_CLASSES - 1])
    place = np.full(len(labels), MAX_CLASSES - 1)
    place[shown] = np.arange(MAX_CLASSES - 1)
    merged = np.zeros((MAX_CLASSES, MAX_CLASSES), dtype=counts.dtype)
    np.add.at(merged, (place[:, None], place[None, :]), counts)
    return merged, [*(labels[code] for code in shown), f"all others ({len(labels) - len(shown)})"]


def plot_roc(predictions: ClassPredictions) -> Figure:
    """Draw the ROC curve of the positive of two classes, else of each class against the rest."""
    figure, axes = _new_curve_axes("ROC curve", "False positive rate", "True positive rate", predictions)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="chance")
    curves = [(each.label, each.roc_auc, *each.roc) for each in predictions.one_vs_rest]
    _draw_curves(axes, curves, "AUC", predictions.n_classes)
    return figure


def plot_precision_recall(predictions: ClassPredictions) -> Figure:
    """Draw precision against recall of the positive of two classes, else of each class against the rest."""
    figure, axes = _new_curve_axes("Precision-recall curve", "Recall", "Precision", predictions)
    if predictions.n_classes == 2:
        for each in predictions.one_vs_rest:
            chance = each.y_true.mean()
            axes.axhline(chance, color=GREY, linestyle=":", label=f"chance ({chance:.3f})")
    curves = [(each.label, each.average_precision, *each.recall_precision) for each in predictions.one_vs_rest]
    _draw_curves(axes, curves, "AP", predictions.n_classes, drawstyle="steps-post")
    return figure


def _new_curve_axes(title: str, x_label: str, y_label: str, predictions: ClassPredictions) -> tuple[Figure, Axes]:
    title = f"{title}{_of_positive(predictions)}, {len(predictions.y_true)} test rows"
    # Below the axes there is room for the legend.
    figure, axes = new_axes(4.6, 4.2, title, x_label, y_label, bottom=4.2)
    # No curve lies on the frame.
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    return figure, axes


def _of_positive(predictions: ClassPredictions) -> str:
    """Name the positive class in a title."""
    return f" of {fit_label(predictions.positive, 24)}" if predictions.n_classes == 2 else ""


def _draw_curves(
    axes: Axes, curves: list[tuple[Any, float, Floats, Floats]], area_name: str, n_classes: int, **style: Any
) -> None:
    """Draw curves, given as label, area, x and y."""
    named, title = curves, None if n_classes == 2 else "each class against the rest"
    if len(curves) > MAX_NAMED:
        named = sorted(curves, key=lambda curve: curve[1])[:N_WORST]
        title = f"the {len(named)} worst of {n_classes} classes,\neach against the rest"
        for _, _, x, y in curves:
            axes.plot(x, y, color=GREY, linewidth=0.8, alpha=0.7, **style)
    # Where curves coincide, each stays visible beneath the next one.
    step = min(2, 6 / len(named))
    for place, (colour, (label, area, x, y)) in enumerate(zip(COLOURS, named, strict=False)):
        width = 1.5 + step * (len(named) - 1 - place)
        text = f"{fit_label(label, 24)} ({area_name} {area:.3f})"
        axes.plot(x, y, color=colour, linewidth=width, label=text, **style)
    small: dict[str, Any] = {"fontsize": "small", "title_fontsize": "small", "frameon": False}
    legend = axes.legend(loc="upper left", bbox_to_anchor=(0, -0.14), title=title, alignment="left", **small)
    for entry in legend.get_texts():
        # A `$` in a class name does not start a formula.
        entry.set_parse_math(False)


def plot_calibration(predictions: ClassPredictions) -> Figure:
    """Draw the observed share against the predicted probability, and below it the number of rows of each point."""
    predicted, observed, n_rows = calibration_bins(predictions)
    if predictions.n_classes == 2:
        x_label, y_label = f"Probability of {fit_label(predictions.positive, 24)}", "Observed share"
    else:
        x_label, y_label = "Probability of the predicted class", "Observed accuracy"
    title = f"Calibration{_of_positive(predictions)}, {n_rows.sum()} test rows"
    figure, axes = new_axes(4.6, 4.2, title, "", y_label, bottom=2.2)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfect")
    axes.plot(predicted, observed, marker="o", color=COLOURS[0], label="model")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="upper left", fontsize="small", frameon=False)
    axes.tick_params(labelbottom=False)
    box, height = axes.get_position(), figure.get_figheight()
    below = figure.add_axes((box.x0, 1 / height, box.width, 1 / height), sharex=axes)
    below.bar(predicted, n_rows, width=0.03, color=COLOURS[0])
    # On a linear scale a single row is invisible beside thousands.
    below.set(yscale="log", ylim=(0.7, n_rows.max() * 2))
    below.yaxis.set_major_locator(LogLocator(numticks=4))
    below.yaxis.set_minor_locator(NullLocator())
    below.yaxis.set_major_formatter("{x:.0f}")
    below.set_ylabel("Rows")
    below.set_xlabel(x_label, parse_math=False)
    below.spines[["top", "right"]].set_visible(False)
    return figure


def plot_predicted(predictions: NumberPredictions) -> Figure:
    """Draw predicted against true numbers."""
    y_true, y_pred = predictions.y_true, predictions.y_pred
    figure, axes = new_axes(5, 4.2, f"Predicted against true, {len(y_true)} test rows", "True", "Predicted")
    _scatter(figure, axes, y_true, y_pred)
    ends = [min(y_true.min(), y_pred.min()), max(y_true.max(), y_pred.max())]
    axes.plot(ends, ends, color=COLOURS[1], linestyle=":", label="perfect")
    axes.legend(loc="upper left", fontsize="small")
    return figure


def plot_residuals(predictions: NumberPredictions) -> Figure:
    """Draw true minus predicted against predicted numbers."""
    residuals = predictions.y_true - predictions.y_pred
    title = f"Residuals, {len(residuals)} test rows"
    figure, axes = new_axes(5, 4.2, title, "Predicted", "True minus predicted")
    _scatter(figure, axes, predictions.y_pred, residuals)
    axes.axhline(0, color=COLOURS[1], linestyle=":")
    return figure


def _scatter(figure: Figure, axes: Axes, x: Floats, y: Floats) -> None:
    if len(x) <= MAX_POINTS:
        axes.scatter(x, y, s=24, alpha=float(np.clip(200 / len(x), 0.25, 0.8)), color=COLOURS[0], linewidths=0)
        return
    cells = axes.hexbin(x, y, gridsize=60, mincnt=1, bins="log", cmap="viridis", linewidths=0.1)
    figure.colorbar(cells, ax=axes, label="Rows")
    axes.grid(color=GREY, alpha=0.3)


def plot_importance(importance: pd.DataFrame, scoring: str) -> Figure:
    """Draw the most important columns, with the standard deviation over the repeats."""
    shown = importance.head(N_FEATURES_SHOWN)
    of_all = f" of {len(importance)}" if len(importance) > len(shown) else ""
    title = f"Permutation importance, {len(shown)}{of_all} columns"
    figure, axes = new_axes(5, 0.5 + 0.28 * len(shown), title, f"Drop of {scoring} when shuffled", "", left=5.3)
    axes.barh(range(len(shown)), shown["mean"], xerr=shown["std"], color=COLOURS[0], ecolor="black", capsize=2)
    axes.set_yticks(range(len(shown)), [fit_label(name, 36) for name in shown["feature"]], parse_math=False)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.axvline(0, color="black", linewidth=0.8)
    return figure


def plot_search(candidates: pd.DataFrame, scoring: str) -> Figure:
    """Draw the score of the chosen candidate and the best others, with the standard deviation over the folds."""
    scored = sort_candidates(candidates[candidates["mean"].notna()])
    shown = scored.head(N_CANDIDATES_SHOWN)
    best_of = f"best {len(shown)} of {len(scored)}" if len(scored) > len(shown) else f"{len(shown)}"
    x_label = f"{scoring}, mean ± standard deviation over the folds"
    title = f"Search: {best_of} candidates"
    figure, axes = new_axes(5, 0.5 + 0.28 * len(shown), title, x_label, "", left=7.3)
    for colour, (_, rows) in zip(COLOURS * len(shown), shown.groupby("estimator", sort=False), strict=False):
        spread = rows["std"].fillna(0)
        axes.errorbar(rows["mean"], rows.index, xerr=spread, marker="o", color=colour, capsize=2, linestyle="")
    names = [fit_label(name, 60) for name in name_candidates(list_candidates(scored))[: len(shown)]]
    axes.set_yticks(range(len(shown)), names, parse_math=False, fontsize="small")
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    return figure


def new_axes(
    width: float, height: float, title: str, x_label: str, y_label: str, left: float = 1.3, bottom: float = 0.8,
    right: float = 0.8,
) -> tuple[Figure, Axes]:  # fmt: skip
    """Make axes of a given size in inches, with margins for the longest labels, which `render` crops."""
    page_width, page_height = left + width + right, bottom + height + 0.5
    figure = Figure(figsize=(page_width, page_height), dpi=DPI)
    axes = figure.add_axes((left / page_width, bottom / page_height, width / page_width, height / page_height))
    axes.set_title(title, fontsize="medium", parse_math=False)
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def fit_label(label: Any, width: int) -> str:
    """Shorten a name to one line, keeping its start and its end; letters that the font has not become code points.

    >>> fit_label("a_very_long_name_of_a_column", 15)
    'a_very_…_column'
    >>> fit_label(chr(0x1F40D), 15)
    'U+1F40D'
    """
    text = " ".join(str(label).split())
    text = "".join(letter if ord(letter) in _font_letters() else f"U+{ord(letter):04X}" for letter in text) or "(empty)"
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[-end:]}"


@cache
def _font_letters() -> frozenset[int]:
    # This font comes with matplotlib, so it is the same on every machine.
    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())
