import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from src.errors import DataError
from src.train.folds import Fold, make_folds, sort_by_time, thin_out
from tests.train.tables import make_config, make_table

TABLE = make_table(gaps=False)
Y = TABLE["target"].to_numpy()


def folds(kind: str, y: NDArray[Any] = Y, table: pd.DataFrame = TABLE, **changes: Any) -> list[Fold]:
    columns = {"time": {"column": "day"}, "group": {"column": "clinic"}}
    return make_folds(table, y, make_config(split={"kind": kind} | columns.get(kind, {}), **changes))


@pytest.mark.parametrize("kind", ["stratified", "random", "group"])
def test_every_row_is_scored_once_by_a_fit_that_has_not_seen_it(kind: str) -> None:
    cut = folds(kind)
    assert len(cut) == 3
    assert sorted(np.concatenate([test for _, test in cut])) == list(range(90))
    assert all(sorted([*train, *test]) == list(range(90)) for train, test in cut)


@pytest.mark.parametrize("kind", ["stratified", "random", "group", "time"])
def test_same_seed_cuts_the_same(kind: str) -> None:
    table = TABLE.sort_values("day", ignore_index=True)
    for first, second in zip(folds(kind, table=table), folds(kind, table=table), strict=True):
        np.testing.assert_array_equal(first[1], second[1])


def test_stratified_folds_keep_the_ratio_of_the_classes() -> None:
    assert all(np.unique(Y[test], return_counts=True)[1].tolist() == [10, 10, 10] for _, test in folds("stratified"))


def test_no_group_is_on_both_sides() -> None:
    clinics = TABLE["clinic"]
    assert all(set(clinics[train]).isdisjoint(clinics[test]) for train, test in folds("group"))


def test_rows_without_a_group_are_one_group() -> None:
    table = TABLE.assign(clinic=TABLE["clinic"].where(TABLE["clinic"] != "a"))
    gaps = np.flatnonzero(table["clinic"].isna())
    assert all(set(gaps) <= set(train) or set(gaps) <= set(test) for train, test in folds("group", table=table))


def test_by_time_a_fold_is_scored_on_newer_rows_than_it_was_fitted_on() -> None:
    table = sort_by_time(TABLE, make_config(split={"kind": "time", "column": "day"}))
    cut = folds("time", table["target"].to_numpy(), table)
    assert len(cut) == 3
    assert all(table["day"][train].max() < table["day"][test].min() for train, test in cut)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_by_time_no_row_of_a_date_that_is_scored_is_fitted_on(share: float) -> None:
    config = make_config(split={"kind": "time", "column": "day"})
    # Seven rows a day, which no border of 90 rows in four parts falls between.
    days = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(90) // 7, "D")
    table = TABLE.assign(day=days)
    cut = [thin_out(fold, share, Y, config) for fold in make_folds(table, Y, config)]
    assert [test.tolist() for _, test in cut] == [list(range(24, 46)), list(range(46, 68)), list(range(68, 90))]
    assert all(table["day"][train].max() < table["day"][test].min() for train, test in cut)
    assert [len(train) for train, _ in cut] == [round(share * len_train) for len_train in (21, 42, 63)]


def test_too_few_dates_to_fit_on_older_rows_are_refused() -> None:
    table = TABLE.assign(day=pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(90) // 45, "D"))
    told = r"'day': fold 1 of train\.cv = 3 has no row to fit on that is older than 2026-01-01.*set train\.cv lower"
    with pytest.raises(DataError, match=told):
        folds("time", table=table)


def test_rows_are_sorted_only_where_time_splits_them() -> None:
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


def test_class_of_one_row_is_refused() -> None:
    y = np.array(["common"] * 89 + ["rare"], dtype=object)
    with pytest.raises(DataError, match=r"^too few rows of class 'rare' \(1\): cross-validation needs at least 2"):
        folds("stratified", y)


def test_fewer_rows_than_folds_can_use_are_refused() -> None:
    with pytest.raises(DataError, match=r"^4 training rows are too few for train\.cv = 3 folds; it takes 6\."):
        folds("random", Y[:4], TABLE[:4])


def test_classes_that_are_all_rarer_than_the_folds_are_refused() -> None:
    y = np.array([f"class {number // 2}" for number in range(12)], dtype=object)
    with pytest.raises(DataError, match=r"^every class has fewer rows than train\.cv = 3"):
        folds("stratified", y, TABLE[:12])


def test_fewer_groups_than_folds_are_refused() -> None:
    with pytest.raises(DataError, match=r"'clinic' has 2 groups of training rows; train\.cv = 3 needs as many"):
        folds("group", table=TABLE.assign(clinic=["a", "b"] * 45))


@pytest.mark.parametrize("kind", ["time", "group"])
def test_column_that_splits_rows_and_is_not_there_is_named(kind: str) -> None:
    config, rows = make_config(split={"kind": kind, "column": "gone"}), TABLE
    with pytest.raises(DataError, match=r"data_split\.split\.column = 'gone' is not among the training rows"):
        make_folds(sort_by_time(rows, config), Y, config)


def test_thinned_fold_keeps_some_of_every_class_and_all_rows_to_score() -> None:
    fold = (np.arange(60), np.arange(60, 90))
    y = np.array(["rare"] * 3 + ["common"] * 87, dtype=object)
    train, test = thin_out(fold, 0.2, y, make_config())
    assert set(train) < set(fold[0])
    assert 12 <= len(train) <= 14
    assert (y[train] == "rare").sum() >= 2
    assert test is fold[1]


def test_fold_by_time_is_thinned_to_its_newest_rows() -> None:
    fold = (np.arange(60), np.arange(60, 90))
    train, _ = thin_out(fold, 0.5, Y, make_config(split={"kind": "time", "column": "day"}))
    assert train.tolist() == list(range(30, 60))
