from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from src.service.monitoring.compare import (
    Comparison,
    compare_columns,
    compare_errors,
    compare_levels,
    decide,
    stability_index,
    summarize_columns,
)
from src.service.monitoring.joint import compare_rows
from tests.service.monitoring.simulated import judge, make_reference, make_rows


def shift_number(rows: pd.DataFrame, rng: np.random.Generator) -> None:  # noqa: ARG001 - all changes take both
    rows["number 4"] += 0.5


def use_new_level(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows.loc[rng.random(len(rows)) < 0.15, "category 2"] = "new"


def lose_values(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows.loc[rng.random(len(rows)) < 0.2, "number 4"] = np.nan


def test_windows_without_drift_rarely_give_an_alarm() -> None:
    # 1,000 windows gave 17 alarms, and 36 without a smallest effect; 5 % are allowed.
    alarms = 0
    for trial in range(60):
        rng = np.random.default_rng([7, trial])
        reference = make_reference(make_rows(2000, rng), make_rows(400, rng))
        alarms += any(each.is_drift for each in judge(reference, make_rows(200, rng), min_effect=0))
    assert alarms <= 6


@pytest.mark.parametrize(
    ("change", "name"), [(shift_number, "number 4"), (use_new_level, "category 2"), (lose_values, "number 4")]
)
def test_drift_in_one_of_twenty_columns_is_found(
    change: Callable[[pd.DataFrame, np.random.Generator], None], name: str
) -> None:
    # Each was found in 100 of 100 trials.
    for trial in range(5):
        rng = np.random.default_rng([3, trial])
        reference, rows = make_reference(make_rows(2000, rng), make_rows(400, rng)), make_rows(1000, rng)
        change(rows, rng)
        assert {each.name for each in judge(reference, rows) if each.is_drift and each.subject == "column"} == {name}


def test_joint_test_finds_what_no_column_shows() -> None:
    rng = np.random.default_rng(0)
    reference, rows = make_reference(make_rows(2000, rng), make_rows(400, rng)), make_rows(1000, rng)
    # Each column keeps its distribution.
    rows = rows.assign(**{name: rng.permutation(rows[name]) for name in ("number 0", "number 4", "number 8")})
    assert {each.subject for each in judge(reference, rows) if each.is_drift} == {"joint"}


def test_joint_test_gives_the_same_answer_again() -> None:
    rng = np.random.default_rng(0)
    reference, rows = make_reference(make_rows(500, rng), make_rows(100, rng)), make_rows(300, rng)
    assert compare_rows(reference, rows, 1) == compare_rows(reference, rows, 1)


def test_joint_test_needs_rows() -> None:
    rng = np.random.default_rng(0)
    assert compare_rows(make_reference(make_rows(500, rng), make_rows(100, rng)), make_rows(10, rng), 1) is None


def test_dates_and_unrecorded_columns_give_no_alarm() -> None:
    rng = np.random.default_rng(0)
    reference = make_reference(make_rows(500, rng), make_rows(100, rng))
    rows = make_rows(300, rng)[["number 1", "city"]]
    assert [each.name for each in compare_columns(reference, rows)] == ["number 1", "city"]


def test_p_values_are_corrected_by_holm() -> None:
    p_values = (0.01, 0.04, 0.03)
    found = decide([Comparison("column", str(p), "", "", p, 0.5) for p in p_values], 0.05, 0.1)
    assert [each.p_adjusted for each in found] == pytest.approx([0.03, 0.06, 0.06])
    assert [each.is_drift for each in found] == [True, False, False]


def test_small_effect_is_no_drift_however_certain() -> None:
    (found,) = decide([Comparison("column", "a", "", "", 1e-9, 0.09)], 0.05, 0.1)
    assert not found.is_drift


def test_sparse_levels_are_pooled() -> None:
    before, now = np.array([50, 50, *[1] * 40]), np.array([50, 50, *[0] * 40])
    p, effect = compare_levels(before, now)
    assert 0 < p < 1e-4
    assert effect == pytest.approx(0.5 - 50 / 140)
    assert compare_levels(np.array([5, 0]), np.array([0, 0])) == (1.0, 0.0)


def test_only_more_errors_are_drift() -> None:
    rng = np.random.default_rng(0)
    reference = make_reference(make_rows(100, rng), make_rows(100, rng), losses=[0.0, 1.0] * 50)
    assert compare_errors(reference, np.ones(100)).p < 1e-6
    assert compare_errors(reference, np.zeros(100)).p > 0.99
    numbers = reference.model_copy(update={"task": "regression"})
    assert compare_errors(numbers, rng.random(100) + 1).p < 1e-6


def test_summary_has_missing_unseen_and_outside_shares() -> None:
    rng = np.random.default_rng(0)
    reference, rows = make_reference(make_rows(500, rng), make_rows(100, rng)), make_rows(100, rng)
    rows["category 0"] = pd.Series(["level 0"] * 90 + ["new"] * 10, dtype=rows["category 0"].dtype)
    rows["number 4"] = [*[0.0] * 50, *[1e9] * 25, *[np.nan] * 25]
    found = {each.name: each for each in summarize_columns(reference, rows)}
    assert found["category 0"].unseen == pytest.approx(0.1)
    assert found["number 4"].missing_now == pytest.approx(0.25)
    assert found["number 4"].outside == pytest.approx(1 / 3)
    assert found["city"].unseen is None


def test_stability_index_of_equal_shares_is_zero() -> None:
    assert stability_index(np.array([10, 20]), np.array([10, 20])) == pytest.approx(0)
    assert stability_index(np.array([10, 20]), np.array([0, 0])) is None
