import io
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from src.report.visualizing import plot_confusion_matrix

LONG = [
    "Chromophobe renal cell carcinoma",
    "Mucinous cystadenocarcinoma",
    "a_very_long_class_name_without_spaces",
    "benign fibrous histiocytoma",
    "Other / not specified",
    "Invasive ductal carcinoma",
    "Squamous cell carcinoma",
    "Papillary thyroid carcinoma",
    "healthy",
    "unknown",
]


def draw(y_true: Sequence[object], y_pred: Sequence[object], classes: Sequence[object]) -> Figure:
    dtype = object if isinstance(classes[0], str) else None
    figure = plot_confusion_matrix(*(np.array(labels, dtype=dtype) for labels in (y_true, y_pred, classes)))
    figure.draw_without_rendering()
    return figure


def draw_classes(classes: list[str]) -> Figure:
    rng = np.random.default_rng(0)
    y_true, y_guessed = rng.choice(classes, 200), rng.choice(classes, 200)
    return draw(y_true, np.where(rng.random(200) < 0.8, y_true, y_guessed), classes)


def cells(figure: Figure) -> dict[tuple[int, int], str]:
    """Give the text of each cell by row and column."""
    return {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in matrix(figure)}


def matrix(figure: Figure) -> list[Text]:
    return list(figure.axes[0].texts)


def overlap(first: Text, second: Text) -> bool:
    return bool(first.get_window_extent().overlaps(second.get_window_extent()))


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, format="png")
    return buffer.getvalue()


def test_true_labels_go_down_and_predicted_labels_across() -> None:
    # Two of three true "a" are taken for "b"; no "b" is taken for "a".
    figure = draw(list("aaab"), list("abbb"), ["a", "b"])
    axes = figure.axes[0]
    assert cells(figure) == {(0, 0): "1\n33%", (0, 1): "2\n67%", (1, 0): "0\n0%", (1, 1): "1\n100%"}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("True label", "Predicted label")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    # The first row is at the top.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_classes_are_drawn_in_the_order_given() -> None:
    figure = draw(list("aaab"), list("abbb"), ["b", "a"])
    assert cells(figure) == {(0, 0): "1\n100%", (0, 1): "0\n0%", (1, 0): "2\n67%", (1, 1): "1\n33%"}


def test_shares_are_of_the_true_class_and_give_the_colour() -> None:
    figure = draw(list("aaab"), list("abbb"), ["a", "b"])
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[1 / 3, 2 / 3], [0, 1]])


def test_class_without_rows_has_no_share() -> None:
    figure = draw(["a", "a"], ["a", "b"], ["a", "b"])
    assert cells(figure)[1, 0] == cells(figure)[1, 1] == "0\n0%"


def test_title_tells_the_number_of_rows() -> None:
    assert "4 test rows" in draw(list("aaab"), list("abbb"), ["a", "b"]).axes[0].get_title()


@pytest.mark.parametrize("labels", [[0, 1], [False, True], [1.0, 2.0], ["ü", "é"]])
def test_labels_need_not_be_plain_text(labels: list[object]) -> None:
    figure = draw(labels * 2, labels * 2, labels)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [str(label) for label in labels]


def test_dollars_in_a_label_are_no_formula() -> None:
    labels = [r"$\undefined$", "$5 to $6"]
    assert len(png(draw(labels * 2, labels * 2, labels))) > 0


def test_equal_figures_are_equal_files() -> None:
    first, second = (png(draw_classes(["setosa", "versicolor", "virginica"])) for _ in range(2))
    assert first == second
    assert first.startswith(b"\x89PNG")


def test_figure_does_not_depend_on_what_was_drawn_before() -> None:
    first = png(draw_classes(["a", "b", "c"]))
    draw_classes(LONG)
    assert png(draw_classes(["a", "b", "c"])) == first


def test_module_leaves_pyplot_alone() -> None:
    code = (
        "import io, sys\n"
        "import numpy as np\n"
        "from src.report.visualizing import plot_confusion_matrix\n"
        "y = np.array(['a', 'b'], dtype=object)\n"
        "plot_confusion_matrix(y, y, y).savefig(io.BytesIO(), format='png')\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, env=os.environ, check=True)


def test_words_of_a_long_class_name_are_all_there() -> None:
    figure = draw_classes(LONG[:2])
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert ["".join(text.split()) for text in shown] == ["".join(name.split()) for name in LONG[:2]]
    assert max(len(line) for text in shown for line in text.splitlines()) <= 14


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("names", [[f"class_{number}" for number in range(20)], LONG], ids=["short", "long"])
def test_labels_side_by_side_do_not_overlap(names: list[str], n_classes: int) -> None:
    labels = draw_classes(names[:n_classes]).axes[0].get_xticklabels()
    slanted = all(label.get_rotation() for label in labels)
    assert slanted or not any(overlap(first, second) for first, second in pairwise(labels))


@pytest.mark.parametrize("n_classes", [5, 10, 20])
def test_labels_of_many_classes_are_slanted(n_classes: int) -> None:
    labels = draw_classes([f"class {number}" for number in range(n_classes)]).axes[0].get_xticklabels()
    assert {label.get_rotation() for label in labels} == {45}


@pytest.mark.parametrize("n_classes", [2, 3, 10, 20])
def test_counts_fit_into_their_cells(n_classes: int) -> None:
    classes = [f"class {number}" for number in range(n_classes)]
    # Five digits in each cell of the diagonal.
    y_true = np.repeat(classes, 10_000)
    figure = draw(y_true, y_true, classes)
    texts = matrix(figure)
    assert len(texts) == n_classes**2
    side = figure.axes[0].get_window_extent().width / n_classes
    assert max(text.get_window_extent().width for text in texts) < side
    assert max(text.get_window_extent().height for text in texts) < side


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("names", [[f"class_{number}" for number in range(20)], LONG], ids=["short", "long"])
def test_everything_is_inside_the_figure(names: list[str], n_classes: int) -> None:
    figure = draw_classes(names[:n_classes])
    drawn, page = figure.get_tightbbox(), figure.bbox_inches
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= page.width
    assert drawn.y1 <= page.height


def test_count_is_legible_on_its_colour() -> None:
    figure = draw(list("aaab"), list("abbb"), ["a", "b"])
    colours = {cell: text.get_color() for cell, text in zip(cells(figure), matrix(figure), strict=True)}
    assert colours == {(0, 0): "black", (0, 1): "white", (1, 0): "black", (1, 1): "white"}
