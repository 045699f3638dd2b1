import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from src.config.schema import CURVES
from src.report.curves import GRID, MAX_ROWS, compute_curves, write_curves
from src.report.predictions import encode_classes
from tests.report.conftest import ODD_NAMES, make_classes, make_numbers

NO_IMPORTANCE = pd.DataFrame()


def compute(predictions: Any, importance: pd.DataFrame = NO_IMPORTANCE) -> dict[str, Any]:
    return compute_curves(predictions, predictions, importance, random_state=0)


def column(rows: list[dict[str, Any]], name: str) -> Any:
    return np.array([row[name] for row in rows])


def test_every_file_is_written_without_rows_where_there_is_nothing_to_draw(tmp_path: Path) -> None:
    write_curves(compute(make_numbers(20)), tmp_path)
    contents = {path.stem: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert sorted(contents) == sorted(CURVES)
    assert [name for name, rows in contents.items() if rows] == ["predicted_against_true"]


def test_equal_inputs_are_equal_files(tmp_path: Path) -> None:
    importance = pd.DataFrame({"feature": ODD_NAMES, "mean": 0.1, "std": 0.0})
    for folder in ("first", "second"):
        write_curves(compute(make_classes(5000, 3, ODD_NAMES), importance), tmp_path / folder)
    for name in CURVES:
        first, second = ((tmp_path / folder / f"{name}.json").read_bytes() for folder in ("first", "second"))
        assert first == second


def test_names_that_all_files_may_have_are_those_that_are_written() -> None:
    importance = pd.DataFrame({"feature": ["a"], "mean": 0.1, "std": 0.0})
    assert {*compute(make_classes(90, 3), importance), *compute(make_numbers(9))} == set(CURVES)


def test_confusion_matrix_has_a_row_for_each_test_row() -> None:
    predictions = make_classes(200, 3)
    rows = compute(predictions)["confusion_matrix"]
    found = Counter((row["true_label"], row["predicted_label"]) for row in rows)
    labels = predictions.labels
    pairs = zip(predictions.y_true, predictions.y_pred, strict=True)
    assert found == Counter((labels[true], labels[predicted]) for true, predicted in pairs)


@pytest.mark.parametrize(("n_rows", "n_classes"), [(100_000, 2), (100_000, 200)])
def test_large_confusion_matrix_keeps_its_shares_and_every_cell(n_rows: int, n_classes: int) -> None:
    predictions = make_classes(n_rows, n_classes)
    rows = compute(predictions)["confusion_matrix"]
    # At most 30 by 30 cells have one row each beside what is in proportion.
    assert len(rows) <= MAX_ROWS + 900
    if n_classes == 2:
        shares = Counter(row["true_label"] == row["predicted_label"] for row in rows)
        assert shares[True] / len(rows) == pytest.approx((predictions.y_true == predictions.y_pred).mean(), abs=0.01)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_area_under_a_curve_is_the_mean_over_the_classes(n_classes: int) -> None:
    predictions = make_classes(5000, n_classes)
    curves = compute(predictions)
    each = predictions.one_vs_rest
    roc = np.trapezoid(column(curves["roc"], "true_positive_rate"), column(curves["roc"], "false_positive_rate"))
    assert roc == pytest.approx(np.mean([roc_auc_score(one.y_true, one.y_score) for one in each]), abs=0.005)
    precision = column(curves["precision_recall"], "precision")
    expected = np.mean([average_precision_score(one.y_true, one.y_score) for one in each])
    assert precision.mean() == pytest.approx(expected, abs=0.01)
    assert len(precision) == len(GRID)


def test_perfect_scores_give_perfect_curves() -> None:
    labels = np.array(["a", "b", "a", "b"])
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    curves = compute(encode_classes(labels, labels, scores, np.array(["a", "b"]), is_probability=True))
    assert curves["roc"][0] == {"false_positive_rate": 0, "true_positive_rate": 0}
    assert set(column(curves["roc"][1:], "true_positive_rate")) == {1}
    assert set(column(curves["precision_recall"], "precision")) == {1}


def test_one_true_class_and_labels_only_have_fewer_curves() -> None:
    a = np.array(["a", "a"])
    scores = np.array([[0.8, 0.2], [0.3, 0.7]])
    known = np.array(["a", "b"])
    assert list(compute(encode_classes(a, a, scores, known, is_probability=True))) == [
        "confusion_matrix",
        "calibration",
    ]
    assert list(compute(encode_classes(a, a, scores[:, :0], known, is_probability=False))) == ["confusion_matrix"]


def test_few_rows_of_a_regression_are_all_drawn_and_of_many_a_sample() -> None:
    few, many = make_numbers(50), make_numbers(20_000)
    rows = compute(few)["predicted_against_true"]
    np.testing.assert_allclose(column(rows, "true_value"), few.y_true, rtol=1e-5)
    np.testing.assert_allclose(column(rows, "predicted_value"), few.y_pred, rtol=1e-5)
    assert len(compute(many)["predicted_against_true"]) == MAX_ROWS


def test_most_important_columns_are_listed() -> None:
    importance = pd.DataFrame({"feature": [f"c{i}" for i in range(50)], "mean": np.linspace(1, 0, 50), "std": 0.0})
    rows = compute(make_numbers(5), importance)["permutation_importance"]
    assert (len(rows), rows[0]) == (20, {"column": "c0", "drop_of_score": 1.0})


def test_no_name_ends_the_script_of_the_page_of_dvc() -> None:
    names = ["</script><script>alert(1)</script>", "<!--", "n" * 500]
    labels = {row["true_label"] for row in compute(make_classes(30, 3, names))["confusion_matrix"]}
    assert len(labels) == 3
    assert not any("<" in label for label in labels)
    assert max(map(len, labels)) <= 60
