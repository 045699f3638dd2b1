import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from src.report.confusion import plot_confusion
from src.report.curves import plot_calibration, plot_precision_recall, plot_roc
from src.report.errors_of_numbers import plot_predicted, plot_residuals
from src.report.figures import fit_label, fit_labels
from src.report.importance import plot_importance
from src.report.plots import write_plots
from src.report.predictions import NumberPredictions, describe_classes
from src.report.search import describe_candidate, list_params, plot_search, read_candidates
from src.train.model import Candidate
from src.train.search import Result, make_results_table
from tests.report.conftest import ODD_NAMES, make_classes, make_numbers

CURVES = [plot_roc, plot_precision_recall, plot_calibration]
NO_CANDIDATES = pd.DataFrame()


def make_importance(n: int) -> pd.DataFrame:
    names = (ODD_NAMES + [f"column {number}" for number in range(n)])[:n]
    return pd.DataFrame({"feature": names, "mean": np.linspace(0.3, -0.02, n), "std": 0.05})


def make_candidates(n: int) -> pd.DataFrame:
    table = pd.DataFrame({"estimator": ["logreg", "my.own.Forest"] * n, "C": [0.1, None] * n}).head(n)
    return table.assign(max_iter=1000, mean=np.linspace(0.9, 0.8, n), std=0.01, rank=np.arange(1, n + 1))


def figures(n_rows: int, n_classes: int) -> Iterator[Figure]:
    predictions = make_classes(n_rows, n_classes, ODD_NAMES)
    yield plot_confusion(predictions.counts, predictions.labels)
    yield from (draw(predictions) for draw in CURVES)
    yield plot_importance(make_importance(n_classes), "f1_macro")
    search = plot_search(make_candidates(n_classes), "f1_macro")
    assert search is not None
    yield search
    yield plot_predicted(make_numbers(n_rows))
    yield plot_residuals(make_numbers(n_rows))


def drawn(figure: Figure) -> Figure:
    figure.draw_without_rendering()
    return figure


def cells(figure: Figure) -> dict[tuple[int, int], str]:
    """Give the text of each cell by row and column."""
    texts = figure.axes[0].texts
    return {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in texts}


def y_labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def overlap(first: Text, second: Text) -> bool:
    return bool(first.get_window_extent().overlaps(second.get_window_extent()))


# --- all of them ---


@pytest.mark.parametrize(("n_rows", "n_classes"), [(10, 2), (10, 3), (300, 12), (5000, 30), (5000, 45)])
def test_everything_is_inside_the_figure(n_rows: int, n_classes: int) -> None:
    for figure in figures(n_rows, n_classes):
        drawn(figure)
        box, page = figure.get_tightbbox(), figure.bbox_inches
        # A hair beyond the edge is no letter.
        assert min(box.x0, box.y0) > -0.02, figure.axes[0].get_title()
        assert box.x1 < page.width + 0.02, figure.axes[0].get_title()
        assert box.y1 < page.height + 0.02, figure.axes[0].get_title()


@pytest.mark.parametrize("n_classes", [2, 12, 30])
def test_labels_of_rows_do_not_overlap(n_classes: int) -> None:
    for figure in figures(300, n_classes):
        labels = drawn(figure).axes[0].get_yticklabels()
        assert not any(overlap(first, second) for first, second in pairwise(labels)), figure.axes[0].get_title()


def test_equal_inputs_are_equal_files_whatever_was_drawn_before(tmp_path: Path) -> None:
    def write(folder: str) -> dict[str, bytes]:
        predictions, importance = make_classes(200, 3, ODD_NAMES), make_importance(4)
        paths = write_plots(predictions, importance, make_candidates(3), "f1_macro", tmp_path / folder)
        paths += write_plots(make_numbers(5000), importance, NO_CANDIDATES, "r2", tmp_path / folder)
        return {path.name: path.read_bytes() for path in paths}

    first = write("first")
    list(figures(100, 12))
    assert write("second") == first
    assert all(content.startswith(b"\x89PNG") for content in first.values())


def test_modules_leave_pyplot_alone(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from src.report.plots import write_plots\n"
        "from tests.report.conftest import make_classes\n"
        "from tests.report.test_plots import make_candidates, make_importance\n"
        "importance, candidates = make_importance(3), make_candidates(3)\n"
        f"write_plots(make_classes(20, 3), importance, candidates, 'f1_macro', Path({str(tmp_path)!r}))\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], env=os.environ, check=True)


# --- which are drawn ---


def names_of(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


def test_classification_has_its_plots(tmp_path: Path) -> None:
    paths = write_plots(make_classes(50, 3), make_importance(2), make_candidates(2), "f1_macro", tmp_path / "plots")
    assert names_of(paths) == [
        "confusion_matrix", "roc", "precision_recall", "calibration", "permutation_importance", "search",
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(path.name for path in paths)


def test_regression_has_its_plots(tmp_path: Path) -> None:
    paths = write_plots(make_numbers(50), make_importance(2), make_candidates(2), "r2", tmp_path)
    assert names_of(paths) == ["predicted_against_true", "residuals", "permutation_importance", "search"]


def test_what_cannot_be_drawn_is_left_out(tmp_path: Path) -> None:
    decisions = describe_classes(
        np.array(["a", "b"]), np.array(["a", "b"]), np.array([[1.0, -1.0], [-1.0, 1.0]]), np.array(["a", "b"]),
        is_probability=False,
    )  # fmt: skip
    paths = write_plots(decisions, make_importance(0), NO_CANDIDATES, "f1_macro", tmp_path)
    assert names_of(paths) == ["confusion_matrix", "roc", "precision_recall"]


def test_rows_of_unseen_labels_alone_are_drawn_as_far_as_possible(tmp_path: Path) -> None:
    unseen = describe_classes(
        np.array(["y", "z"]), np.array(["a", "b"]), np.array([[0.8, 0.2], [0.3, 0.7]]), np.array(["a", "b"]),
        is_probability=True,
    )  # fmt: skip
    assert names_of(write_plots(unseen, make_importance(0), NO_CANDIDATES, "f1_macro", tmp_path)) == [
        "confusion_matrix"
    ]


# --- the confusion matrix ---


def test_true_labels_go_down_and_predicted_labels_across() -> None:
    # Two of three true "a" are taken for "b"; no "b" is taken for "a".
    figure = drawn(plot_confusion(np.array([[1, 2], [0, 1]]), ["a", "b"]))
    axes = figure.axes[0]
    assert cells(figure) == {(0, 0): "1\n33%", (0, 1): "2\n67%", (1, 0): "0\n0%", (1, 1): "1\n100%"}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("True label", "Predicted label")
    assert y_labels(figure) == ["a", "b"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    # The first row is at the top.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert "4 test rows" in axes.get_title()
    np.testing.assert_allclose(axes.images[0].get_array(), [[1 / 3, 2 / 3], [0, 1]])
    # Legible on its colour.
    assert [text.get_color() for text in axes.texts] == ["black", "white", "black", "white"]


def test_class_without_rows_has_no_share() -> None:
    assert cells(plot_confusion(np.array([[1, 1], [0, 0]]), ["a", "b"]))[1, 0] == "0\n0%"


@pytest.mark.parametrize("n_classes", [2, 3, 12, 13, 30])
def test_counts_fit_into_their_cells(n_classes: int) -> None:
    counts = np.full((n_classes, n_classes), 12_345)
    figure = drawn(plot_confusion(counts, [f"class {number}" for number in range(n_classes)]))
    texts = list(figure.axes[0].texts)
    assert len(texts) == n_classes**2
    side = figure.axes[0].get_window_extent().width / n_classes
    assert max(text.get_window_extent().width for text in texts) < side
    assert max(text.get_window_extent().height for text in texts) < side


def test_rarest_of_many_classes_share_a_row_and_a_column() -> None:
    counts = np.diag(np.arange(100, 0, -1))
    counts[99, 98] = 7
    figure = drawn(plot_confusion(counts, [f"class {number}" for number in range(100)]))
    labels = y_labels(figure)
    assert len(labels) == 30
    assert [" ".join(label.split()) for label in labels[-2:]] == ["class 28", "all others (71)"]
    shown = cells(figure)
    assert shown[0, 0] == "100"
    # 71 + 70 + … + 1 on the diagonal, and those that are taken for each other.
    assert shown[29, 29] == str(71 * 72 // 2 + 7)
    assert sum(int(text) for text in shown.values()) == counts.sum()


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("names", [[], ODD_NAMES], ids=["short", "odd"])
def test_labels_side_by_side_do_not_overlap(names: list[str], n_classes: int) -> None:
    predictions = make_classes(50, n_classes, names)
    labels = drawn(plot_confusion(predictions.counts, predictions.labels)).axes[0].get_xticklabels()
    slanted = all(label.get_rotation() for label in labels)
    assert slanted or not any(overlap(first, second) for first, second in pairwise(labels))


# --- curves ---


def test_curve_of_the_second_of_two_classes_is_drawn_with_its_area() -> None:
    predictions = describe_classes(
        np.array(["a", "a", "b", "b"]), np.array(["a", "b", "b", "b"]),
        np.array([[0.8, 0.2], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]]), np.array(["a", "b"]), is_probability=True,
    )  # fmt: skip
    roc, precision_recall = plot_roc(predictions), plot_precision_recall(predictions)
    assert legend(roc) == ["chance", "b (AUC 0.750)"]
    x, y = (np.asarray(values).tolist() for values in roc.axes[0].lines[1].get_data())
    assert (x, y) == ([0, 0, 0.5, 0.5, 1], [0, 0.5, 0.5, 1, 1])
    assert legend(precision_recall) == ["chance (0.500)", "b (AP 0.833)"]


def test_every_one_of_few_classes_has_its_curve_and_name() -> None:
    assert [text.rpartition(" (")[0] for text in legend(plot_roc(make_classes(100, 3)))] == [
        "", "class 00", "class 01", "class 02",
    ]  # fmt: skip


def test_of_many_classes_the_worst_are_named() -> None:
    predictions = make_classes(5000, 30)
    areas = {predictions.labels[each.code]: each.roc_auc for each in predictions.separations}
    worst = sorted(areas, key=lambda label: areas[label])[:5]
    figure = plot_roc(predictions)
    assert legend(figure)[1:] == [f"{label} (AUC {areas[label]:.3f})" for label in worst]
    # Chance, all in grey, and the worst in colour.
    assert len(figure.axes[0].lines) == 1 + 30 + 5


def test_curve_of_many_rows_is_drawn_with_few_points_and_both_ends() -> None:
    (_, line) = plot_roc(make_classes(200_000, 2)).axes[0].lines
    x, y = (np.asarray(values) for values in line.get_data())
    assert len(x) <= 1002
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.abs(np.diff(x)).max() < 0.01


def test_calibration_shows_promises_and_how_many_there_were() -> None:
    figure = plot_calibration(make_classes(500, 3))
    above, below = figure.axes
    assert sum(bar.get_height() for bar in below.patches) == 500
    assert above.get_ylabel() == "Share of rows that are right"
    assert "class 01" in plot_calibration(make_classes(500, 2)).axes[1].get_xlabel()


# --- numbers ---


def test_few_rows_are_points_and_many_are_cells_with_counts() -> None:
    few, many = plot_residuals(make_numbers(3000)), plot_residuals(make_numbers(200_000))
    assert len(few.axes[0].collections[0].get_offsets()) == 3000
    assert many.axes[0].collections[0].get_array().sum() == 200_000
    assert many.axes[1].get_ylabel() == "Rows"


def test_residual_is_true_minus_predicted() -> None:
    figure = plot_residuals(NumberPredictions(np.array([5.0, 1.0]), np.array([4.0, 3.0])))
    assert np.asarray(figure.axes[0].collections[0].get_offsets()).tolist() == [[4.0, 1.0], [3.0, -2.0]]


# --- importance and search ---


def test_most_important_columns_are_drawn_from_the_top() -> None:
    figure = plot_importance(make_importance(40), "r2")
    assert len(figure.axes[0].patches) == 20
    assert "20 of 40 columns" in figure.axes[0].get_title()
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]
    assert y_labels(drawn(figure))[1] == "U+1F40D python"


def test_candidates_are_named_by_what_tells_them_apart() -> None:
    figure = plot_search(make_candidates(3), "f1_macro")
    assert figure is not None
    assert y_labels(drawn(figure)) == ["logreg C=0.1 (1)", "Forest", "logreg C=0.1 (2)"]
    assert figure.axes[0].get_xlabel().startswith("f1_macro")


def test_best_of_many_candidates_are_drawn() -> None:
    figure = plot_search(make_candidates(100), "f1_macro")
    assert figure is not None
    assert len(y_labels(drawn(figure))) == 30
    assert "best 30 of 100" in figure.axes[0].get_title()


def test_nothing_is_a_value_of_a_parameter_and_rows_of_halving_are_no_parameter(tmp_path: Path) -> None:
    path, found = tmp_path / "cv_results.csv", []
    for n_rows, params in enumerate([{"max_depth": None}, {"max_depth": 3}, {"metric": "nan"}], 1):
        found.append(Result(Candidate("random_forest", params), (0.5,), n_rows))
    make_results_table(found, halving=True).to_csv(path, index=False)
    candidates = read_candidates(path)
    assert list_params(candidates) == ["max_depth", "metric"]
    names = [describe_candidate(row) for _, row in candidates.iterrows()]
    assert names == ["random_forest max_depth=null", "random_forest max_depth=3", "random_forest metric=nan"]


@pytest.mark.parametrize("content", ["", "estimator,mean,std,rank\n", "estimator,mean,std,rank\nlogreg,,,\n"])
def test_no_search_has_no_plot(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cv_results.csv"
    path.write_text(content)
    assert plot_search(read_candidates(path), "f1_macro") is None


# --- labels ---


@pytest.mark.parametrize("label", [*ODD_NAMES, 1.5, True, None])
def test_label_fits_on_one_line(label: Any) -> None:
    text = fit_label(label, 20)
    assert 0 < len(text) <= 20
    assert "\n" not in text


def test_labels_that_come_out_alike_are_told_apart() -> None:
    assert fit_labels(["a" * 50, "a" * 60, "b"], 9) == ["aaaa…aaaa (1)", "aaaa…aaaa (2)", "b"]
