from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.text import Text

from src.config.schema import FIGURES
from src.report import visualizing
from src.report.predictions import ClassPredictions, NumberPredictions, encode_classes
from src.report.visualizing import (
    draw_figures,
    fit_label,
    plot_calibration,
    plot_confusion_matrix,
    plot_importance,
    plot_precision_recall,
    plot_predicted,
    plot_residuals,
    plot_roc,
    plot_search,
    render,
    write_figures,
)
from tests.report.conftest import ODD_NAMES, make_classes, make_numbers

CURVES = [plot_roc, plot_precision_recall, plot_calibration]
NO_CANDIDATES = NO_IMPORTANCE = pd.DataFrame()


def make_importance(n: int) -> pd.DataFrame:
    names = (ODD_NAMES + [f"column {number}" for number in range(n)])[:n]
    return pd.DataFrame({"feature": names, "mean": np.linspace(0.3, -0.02, n), "std": 0.05})


def make_candidates(n: int) -> pd.DataFrame:
    table = pd.DataFrame({"estimator": ["logreg", "my.own.Forest"] * n, "C": [0.1, None] * n}).head(n)
    return table.assign(max_iter=1000, mean=np.linspace(0.9, 0.8, n), std=0.01, rank=np.arange(1, n + 1))


def figures(n_rows: int, n_classes: int) -> Iterator[Figure]:
    predictions = make_classes(n_rows, n_classes, ODD_NAMES)
    yield plot_confusion_matrix(predictions)
    yield from (draw(predictions) for draw in CURVES)
    yield plot_importance(make_importance(n_classes), "f1_macro")
    yield plot_search(make_candidates(n_classes), "f1_macro")
    yield plot_predicted(make_numbers(n_rows))
    yield plot_residuals(make_numbers(n_rows))


def drawn(figure: Figure) -> Figure:
    figure.draw_without_rendering()
    return figure


def from_counts(counts: Any, labels: list[str]) -> ClassPredictions:
    """Return predictions with this confusion matrix."""
    y_true, y_pred = (np.repeat(codes.ravel(), counts.ravel()) for codes in np.indices(counts.shape))
    return ClassPredictions(labels, len(labels), y_true, y_pred, np.empty((len(y_true), 0)), is_probability=False)


def cells(figure: Figure) -> dict[tuple[int, int], str]:
    """Return the text of each cell by row and column."""
    texts = figure.axes[0].texts
    return {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in texts}


def y_labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def legend_of(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def overlap(first: Text, second: Text) -> bool:
    return bool(first.get_window_extent().overlaps(second.get_window_extent()))


# --- all of them ---


@pytest.mark.parametrize(("n_rows", "n_classes"), [(10, 2), (10, 3), (300, 12), (5000, 45)])
def test_everything_is_inside_the_figure(n_rows: int, n_classes: int) -> None:
    for figure in figures(n_rows, n_classes):
        drawn(figure)
        box, page = figure.get_tightbbox(), figure.bbox_inches
        # A hair beyond the edge is no letter.
        assert min(box.x0, box.y0) > -0.02, figure.axes[0].get_title()
        assert box.x1 < page.width + 0.02, figure.axes[0].get_title()
        assert box.y1 < page.height + 0.02, figure.axes[0].get_title()


@pytest.mark.parametrize("n_classes", [2, 30])
def test_labels_of_rows_do_not_overlap(n_classes: int) -> None:
    for figure in figures(300, n_classes):
        labels = drawn(figure).axes[0].get_yticklabels()
        assert not any(overlap(first, second) for first, second in pairwise(labels)), figure.axes[0].get_title()


def names_of(predictions: Any, n_features: int, n_candidates: int) -> list[str]:
    figures = draw_figures(
        predictions, predictions, make_importance(n_features), make_candidates(n_candidates), "f1_macro"
    )
    return [name for name, _ in figures]


def test_list_of_figures_has_all_that_are_drawn() -> None:
    drawn = {*names_of(make_classes(200, 3), 4, 3), *names_of(make_classes(200, 2), 4, 3)}
    assert sorted(drawn | {*names_of(make_numbers(50), 4, 3)}) == sorted(FIGURES)


def test_equal_inputs_are_equal_files(tmp_path: Path) -> None:
    def write(folder: str) -> dict[str, bytes]:
        drawn = draw_figures(
            make_classes(200, 3, ODD_NAMES),
            make_classes(200, 3, ODD_NAMES),
            make_importance(4),
            make_candidates(3),
            "f1_macro",
        )
        paths = write_figures(drawn, tmp_path / folder)
        paths += write_figures(
            draw_figures(make_numbers(5000), make_numbers(5000), NO_IMPORTANCE, NO_CANDIDATES, "r2"), tmp_path / folder
        )
        assert sorted(paths) == sorted((tmp_path / folder).iterdir())
        return {path.name: path.read_bytes() for path in paths}

    first = write("first")
    list(figures(100, 12))
    assert write("second") == first
    assert all(content.startswith(b"\x89PNG") for content in first.values())


def test_empty_margins_are_cropped() -> None:
    pixels = render(plot_roc(make_classes(50, 2)))
    is_drawn = (pixels != 255).any(axis=2)
    edges = [np.argmax(used) for axis in (0, 1) for used in (is_drawn.any(axis), is_drawn.any(axis)[::-1])]
    assert edges == [visualizing.DPI // 10] * 4


def test_figures_are_not_registered_with_pyplot(tmp_path: Path) -> None:
    write_figures(
        draw_figures(make_classes(20, 3), make_classes(20, 3), make_importance(3), make_candidates(3), "f1_macro"),
        tmp_path,
    )
    assert pyplot.get_fignums() == []


# --- which are drawn ---


def test_figures_of_a_classification() -> None:
    assert names_of(make_classes(50, 3), 2, 2) == [
        "confusion_matrix", "roc", "precision_recall", "calibration", "permutation_importance", "search",
    ]  # fmt: skip


def test_figures_of_a_regression() -> None:
    assert names_of(make_numbers(50), 2, 2) == [
        "predicted_against_true", "residuals", "permutation_importance", "search",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("y_true", "n_scores", "is_probability", "expected"),
    [
        ("ab", 2, False, ["confusion_matrix", "roc", "precision_recall"]),
        ("ab", 0, False, ["confusion_matrix"]),
        ("yz", 2, True, ["confusion_matrix"]),
        ("aa", 2, True, ["confusion_matrix", "calibration"]),
    ],
    ids=["decision values", "labels only", "unknown labels only", "one true class"],
)
def test_figures_without_data_are_left_out(
    y_true: str, n_scores: int, is_probability: bool, expected: list[str]
) -> None:
    labels, scores = np.array(["a", "b"]), np.array([[0.8, 0.2], [0.3, 0.7]])[:, :n_scores]
    predictions = encode_classes(np.array(list(y_true)), labels, scores, labels, is_probability=is_probability)
    assert names_of(predictions, 0, 1) == expected


# --- the confusion matrix ---


def test_true_labels_go_down_and_predicted_labels_across() -> None:
    # Two of three true "a" are predicted as "b"; no "b" is predicted as "a".
    figure = drawn(plot_confusion_matrix(from_counts(np.array([[1, 2], [0, 1]]), ["a", "b"])))
    axes = figure.axes[0]
    assert cells(figure) == {(0, 0): "1\n33%", (0, 1): "2\n67%", (1, 0): "0", (1, 1): "1\n100%"}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("True label", "Predicted label")
    assert y_labels(figure) == ["a", "b"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    # The first row is at the top.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert "4 test rows" in axes.get_title()
    np.testing.assert_allclose(axes.images[0].get_array(), [[1 / 3, 2 / 3], [0, 1]])
    # Legible on its colour.
    assert [text.get_color() for text in axes.texts] == ["black", "white", visualizing.GREY, "white"]


def test_class_without_rows_has_no_share() -> None:
    assert cells(plot_confusion_matrix(from_counts(np.array([[1, 1], [0, 0]]), ["a", "b"])))[1, 0] == "0"


@pytest.mark.parametrize("n_classes", [2, 12, 13, 30])
def test_counts_fit_into_their_cells(n_classes: int) -> None:
    counts = np.full((n_classes, n_classes), 12_345 if n_classes < 12 else 1_234)
    figure = drawn(plot_confusion_matrix(from_counts(counts, [f"class {number}" for number in range(n_classes)])))
    texts = list(figure.axes[0].texts)
    assert len(texts) == n_classes**2
    side = figure.axes[0].get_window_extent().width / n_classes
    assert max(text.get_window_extent().width for text in texts) < side
    assert max(text.get_window_extent().height for text in texts) < side


def test_rarest_of_many_classes_are_merged() -> None:
    counts = np.diag(np.arange(100, 0, -1))
    counts[99, 98] = 7
    figure = drawn(plot_confusion_matrix(from_counts(counts, [f"class {number}" for number in range(100)])))
    labels = y_labels(figure)
    assert len(labels) == 30
    assert [" ".join(label.split()) for label in labels[-2:]] == ["class 28", "all others (71)"]
    shown = cells(figure)
    assert shown[0, 0] == "100"
    # 71 + 70 + … + 1 on the diagonal, and the errors among them.
    assert shown[29, 29] == str(71 * 72 // 2 + 7)
    assert sum(int(text) for text in shown.values()) == counts.sum()


@pytest.mark.parametrize("n_classes", [2, 3, 4, 30])
@pytest.mark.parametrize("names", [[], ODD_NAMES], ids=["short", "odd"])
def test_labels_side_by_side_do_not_overlap(names: list[str], n_classes: int) -> None:
    predictions = make_classes(50, n_classes, names)
    labels = drawn(plot_confusion_matrix(predictions)).axes[0].get_xticklabels()
    slanted = all(label.get_rotation() == 45 for label in labels)
    assert not (slanted and n_classes == 30)
    assert slanted or not any(overlap(first, second) for first, second in pairwise(labels))


# --- curves ---


def test_curve_of_the_second_of_two_classes_is_drawn_with_its_area() -> None:
    predictions = encode_classes(
        np.array(["a", "a", "b", "b"]), np.array(["a", "b", "b", "b"]),
        np.array([[0.8, 0.2], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]]), np.array(["a", "b"]), is_probability=True,
    )  # fmt: skip
    roc, precision_recall = plot_roc(predictions), plot_precision_recall(predictions)
    assert legend_of(roc) == ["chance", "b (AUC 0.750)"]
    x, y = (np.asarray(values).tolist() for values in roc.axes[0].lines[1].get_data())
    assert (x, y) == ([0, 0, 0.5, 0.5, 1], [0, 0.5, 0.5, 1, 1])
    assert legend_of(precision_recall) == ["chance (0.500)", "b (AP 0.833)"]


def test_each_of_few_classes_has_its_curve_and_name() -> None:
    assert [text.rpartition(" (")[0] for text in legend_of(plot_roc(make_classes(100, 3)))] == [
        "", "class 00", "class 01", "class 02",
    ]  # fmt: skip


def test_only_the_worst_of_many_classes_are_named() -> None:
    predictions = make_classes(5000, 30)
    areas = {each.label: each.roc_auc for each in predictions.one_vs_rest}
    worst = sorted(areas, key=lambda label: areas[label])[:5]
    figure = plot_roc(predictions)
    assert legend_of(figure)[1:] == [f"{label} (AUC {areas[label]:.3f})" for label in worst]
    # Chance, all in grey, and the worst in colour.
    assert len(figure.axes[0].lines) == 1 + 30 + 5


def test_calibration_shows_how_many_rows_each_point_has() -> None:
    figure = plot_calibration(make_classes(500, 3))
    above, below = figure.axes
    assert sum(bar.get_height() for bar in below.patches) == 500
    assert above.get_ylabel() == "Observed accuracy"
    assert "class 01" in plot_calibration(make_classes(500, 2)).axes[1].get_xlabel()


# --- residuals ---


def test_few_rows_are_points_and_many_are_cells_with_counts() -> None:
    few, many = plot_residuals(make_numbers(3000)), plot_residuals(make_numbers(50_000))
    assert len(few.axes[0].collections[0].get_offsets()) == 3000
    assert many.axes[0].collections[0].get_array().sum() == 50_000
    assert many.axes[1].get_ylabel() == "Rows"


def test_residual_is_true_minus_predicted() -> None:
    figure = plot_residuals(NumberPredictions(np.array([5.0, 1.0]), np.array([4.0, 3.0])))
    assert np.asarray(figure.axes[0].collections[0].get_offsets()).tolist() == [[4.0, 1.0], [3.0, -2.0]]


# --- importance and search ---


def test_most_important_columns_are_drawn_from_the_top() -> None:
    figure = drawn(plot_importance(make_importance(40), "r2"))
    assert len(figure.axes[0].patches) == 20
    assert "20 of 40 columns" in figure.axes[0].get_title()
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]
    assert y_labels(figure)[1] == "U+1F40D python"


def test_candidates_are_named_by_the_parameters_that_differ() -> None:
    figure = plot_search(make_candidates(3), "f1_macro")
    assert y_labels(drawn(figure)) == ["logreg", "Forest", "logreg"]
    assert figure.axes[0].get_xlabel().startswith("f1_macro")


def test_each_candidate_is_drawn_at_its_score_with_its_spread() -> None:
    figure = plot_search(make_candidates(3).assign(std=[0.01, 0.02, None]), "f1_macro")
    bars = [(container.lines[0].get_xdata(), container.lines[0].get_ydata()) for container in figure.axes[0].containers]
    assert [(list(x), list(y)) for x, y in bars] == [([0.9, 0.8], [0, 2]), ([pytest.approx(0.85)], [1])]
    segments = figure.axes[0].containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(segments, [[[0.89, 0], [0.91, 0]], [[0.8, 2], [0.8, 2]]])


def test_best_of_many_candidates_are_drawn() -> None:
    figure = plot_search(make_candidates(100).iloc[::-1], "f1_macro")
    assert len(y_labels(drawn(figure))) == 30
    assert y_labels(figure)[0].startswith("logreg")
    assert "best 30 of 100" in figure.axes[0].get_title()


@pytest.mark.parametrize("means", [[], [0.5], [None, 0.5]])
def test_search_without_two_scores_has_no_figure(means: list[float]) -> None:
    candidates = make_candidates(len(means)).assign(mean=means)
    assert [name for name, _ in draw_figures(make_numbers(9), make_numbers(9), make_importance(0), candidates, "r2")][
        2:
    ] == []


# --- labels ---


@pytest.mark.parametrize("label", [*ODD_NAMES, 1.5, True, None])
def test_label_fits_on_one_line(label: Any) -> None:
    text = fit_label(label, 20)
    assert 0 < len(text) <= 20
    assert "\n" not in text


@pytest.mark.parametrize("positive", ["yes", 1, True, "a<b>", "$x$"])
def test_positive_class_is_in_the_titles_of_its_curves(positive: Any) -> None:
    two = replace(make_classes(40, 2), labels=[positive, "other"], positive_code=0)
    for draw in (plot_roc, plot_precision_recall, plot_calibration):
        assert f" of {positive}, 40 test rows" in drawn(draw(two)).axes[0].get_title()
    assert drawn(plot_calibration(two)).axes[1].get_xlabel() == f"Probability of {positive}"
    assert any(str(positive) in text.get_text() for text in plot_roc(two).axes[0].get_legend().get_texts())
    three = make_classes(40, 3)
    assert plot_roc(three).axes[0].get_title() == "ROC curve, 40 test rows"
