"""All plots of a task, as PNG files of one folder."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from src.atomic import atomic_path
from src.report.confusion import plot_confusion
from src.report.curves import plot_calibration, plot_precision_recall, plot_roc
from src.report.errors_of_numbers import plot_predicted, plot_residuals
from src.report.importance import plot_importance
from src.report.predictions import ClassPredictions, Predictions
from src.report.search import plot_search

logger = logging.getLogger(__name__)

DPI = 150


def write_plots(
    predictions: Predictions, importance: pd.DataFrame, candidates: pd.DataFrame, scoring: str, plots_dir: Path
) -> list[Path]:
    """Draw everything that there is to draw; gives the files.

    Images and not data for templates of DVC: its page loads the library that draws data
    from the internet, and shows images without.
    """
    plots_dir.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in _draw(predictions, importance, candidates, scoring):
        paths.append(plots_dir / f"{name}.png")
        with atomic_path(paths[-1]) as partial:
            figure.savefig(partial, dpi=DPI)
    logger.info("drew %d plots in %s", len(paths), plots_dir)
    return paths


def _draw(
    predictions: Predictions, importance: pd.DataFrame, candidates: pd.DataFrame, scoring: str
) -> Iterator[tuple[str, Figure]]:
    if isinstance(predictions, ClassPredictions):
        yield "confusion_matrix", plot_confusion(predictions.counts, predictions.labels)
        if predictions.is_order and predictions.is_known.any():
            yield "roc", plot_roc(predictions)
            yield "precision_recall", plot_precision_recall(predictions)
            if predictions.is_probability:
                yield "calibration", plot_calibration(predictions)
    else:
        yield "predicted_against_true", plot_predicted(predictions)
        yield "residuals", plot_residuals(predictions)
    if len(importance):
        yield "permutation_importance", plot_importance(importance, scoring)
    if search := plot_search(candidates, scoring):
        yield "search", search
