import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from src.errors import DataError
from src.train.folds import Fold, make_folds, sort_by_time, subsample_fold
from tests.train.tables import make_config, make_table

TABLE = make_table(gaps=False)
Y = TABLE["target"].to_numpy()


def folds(kind: str, y: NDArray[Any] = Y, table: pd.DataFrame = TABLE, **changes: Any) -> list[Fold]:
    columns = {"time": {"column": "day"}, "group": {"column": "clinic"}}
    return make_folds(table, y, make_config(split={"kind": kind} | columns.get(kind, {}), **changes))


@pytest.mark.parametrize("kind", ["stratified", "random", "group"])
def test_every_row_is_scored_once_and_never_by_a_fit_on_it(kind: str) -> None:
    made = folds(kind)
    assert len(made) == 3
    assert sorted(np.concatenate([test for _, test in made])) == list(range(90))
    assert all(sorted([*train, *test]) == list(range(90)) for train, test in made)


@pytest.mark.parametrize("kind", ["stratified", "random", "group", "time"])
def test_same_seed_makes_the_same_folds(kind: str) -> None:
    table = TABLE.sort_values("day", ignore_index=True)
    for first, second in zip(folds(kind, table=table), folds(kind, table=table), strict=True):
        np.testing.assert_array_equal(first[1], second[1])


def test_stratified_folds_keep_the_class_ratio() -> None:
    assert all(np.unique(Y[test], return_counts=True)[1].tolist() == [10, 10, 10] for _, test in folds("stratified"))


def test_no_group_is_in_both_parts_of_a_fold() -> None:
    clinics = TABLE["clinic"]
    assert all(set(clinics[train]).isdisjoint(clinics[test]) for train, test in folds("group"))


def test_rows_without_a_group_form_one_group() -> None:
    table = TABLE.assign(clinic=TABLE["clinic"].where(TABLE["clinic"] != "a"))
    gaps = np.flatnonzero(table["clinic"].isna())
    assert all(set(gaps) <= set(train) or set(gaps) <= set(test) for train, test in folds("group", table=table))


def test_time_folds_are_scored_on_newer_rows() -> None:
    table = sort_by_time(TABLE, make_config(split={"kind": "time", "column": "day"})).reset_index(drop=True)
    made = folds("time", table["target"].to_numpy(), table)
    assert len(made) == 3
    assert all(table["day"][train].max() < table["day"][test].min() for train, test in made)


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_time_folds_never_split_a_date(fraction: float) -> None:
    config = make_config(split={"kind": "time", "column": "day"})
    # Seven rows per date: no boundary of four equal parts of 90 rows falls between two dates.
    days = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(90) // 7, "D")
    table = TABLE.assign(day=days)
    made = [subsample_fold(fold, fraction, Y, config) for fold in make_folds(table, Y, config)]
    assert [test.tolist() for _, test in made] == [list(range(24, 46)), list(range(46, 68)), list(range(68, 90))]
    assert all(table["day"][train].max() < table["day"][test].min() for train, test in made)
    assert [len(train) for train, _ in made] == [round(fraction * n_rows) for n_rows in (21, 42, 63)]


def test_too_few_dates_are_an_error() -> None:
    table = TABLE.assign(day=pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(90) // 45, "D"))
    expected = r"'day': fold 1 of train\.cv = 3 has no row to fit on that is older than 2026-01-01.*lower train\.cv"
    with pytest.raises(DataError, match=expected):
        folds("time", table=table)


def test_rows_are_sorted_only_for_a_split_by_time() -> None:
    assert sort_by_time(TABLE, make_config(split={"kind": "random"})) is TABLE


def test_class_with_fewer_rows_than_folds_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    y = np.array(["common"] * 88 + ["rare"] * 2, dtype=object)
    assert len(folds("stratified", y)) == 3
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (
            logging.WARNING,
            "fewer rows than train.cv = 3 folds of class 'rare' (2): some folds are scored without it",
        )
    ]


def test_class_of_one_row_is_an_error() -> None:
    y = np.array(["common"] * 89 + ["rare"], dtype=object)
    with pytest.raises(DataError, match=r"^too few rows of class 'rare' \(1\): cross-validation needs at least 2"):
        folds("stratified", y)


def test_too_few_rows_are_an_error() -> None:
    with pytest.raises(
        DataError, match=r"^4 training rows are too few for train\.cv = 3 folds; at least 6 are needed\."
    ):
        folds("random", Y[:4], TABLE[:4])


def test_only_rare_classes_are_an_error() -> None:
    y = np.array([f"class {number // 2}" for number in range(12)], dtype=object)
    with pytest.raises(DataError, match=r"^every class has fewer rows than train\.cv = 3"):
        folds("stratified", y, TABLE[:12])


def test_fewer_groups_than_folds_are_an_error() -> None:
    with pytest.raises(DataError, match=r"'clinic' has 2 groups of training rows, fewer than train\.cv = 3"):
        folds("group", table=TABLE.assign(clinic=["a", "b"] * 45))


def test_subsample_keeps_every_class_and_all_rows_to_score() -> None:
    fold = (np.arange(60), np.arange(60, 90))
    y = np.array(["rare"] * 3 + ["common"] * 87, dtype=object)
    for seed in range(5):
        config = make_config()
        config = config.model_copy(update={"base": config.base.model_copy(update={"random_state": seed})})
        train, test = subsample_fold(fold, 0.2, y, config)
        assert set(train) < set(fold[0])
        assert sorted(train) == list(train)
        assert 12 <= len(train) <= 14
        assert (y[train] == "rare").sum() >= 2
        assert test is fold[1]


def test_subsample_of_numbers_has_the_exact_size() -> None:
    config = make_config("ridge", task="regression")
    first, second = (subsample_fold((np.arange(60), np.arange(60, 90)), 0.2, np.arange(90.0), config) for _ in range(2))
    assert len(first[0]) == len(set(first[0])) == 12
    assert first[0].tolist() == second[0].tolist() != list(range(12))


def test_subsample_of_all_rows_is_the_fold_itself() -> None:
    fold = (np.arange(60), np.arange(60, 90))
    assert subsample_fold(fold, 1.0, Y, make_config()) is fold


def test_subsample_has_at_least_one_row() -> None:
    config = make_config("ridge", task="regression")
    assert len(subsample_fold((np.arange(60), np.arange(60, 90)), 0.001, np.arange(90.0), config)[0]) == 1


def test_subsample_of_a_time_fold_keeps_the_newest_rows() -> None:
    fold = (np.arange(60), np.arange(60, 90))
    train, test = subsample_fold(fold, 0.5, Y, make_config(split={"kind": "time", "column": "day"}))
    assert train.tolist() == list(range(30, 60))
    assert test is fold[1]
