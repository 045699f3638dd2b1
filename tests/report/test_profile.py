import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.kinds import TEXT
from src.errors import MissingInputError
from src.report.profile import (
    MAX_LEVELS,
    UNLISTED,
    encode_column,
    read_reference,
    summarize_column,
    write_reference,
)
from tests.service.monitoring.simulated import make_reference, make_rows


def texts(*values: str | None) -> pd.Series:
    return pd.Series(values, dtype=TEXT)


def test_numbers_are_described_by_range_and_missing_values() -> None:
    profile = summarize_column(pd.Series([*range(101), np.nan], dtype=float), "number").describe()
    assert (profile.n_missing, profile.minimum, profile.maximum) == (1, 0.0, 100.0)


def test_levels_are_listed_with_their_rows_the_most_frequent_first() -> None:
    profile = summarize_column(texts("b", "a", "b", None, "<script>"), "category").describe()
    assert list(profile.levels.items()) == [("b", 2), ("<script>", 1), ("a", 1)]
    assert profile.n_missing == 1


def test_many_levels_are_bounded_but_counted() -> None:
    profile = summarize_column(texts(*map(str, range(1000))), "category").describe()
    assert len(profile.levels) == MAX_LEVELS
    assert profile.n_levels == 1000


def test_levels_that_identify_few_rows_are_not_listed() -> None:
    column = texts(*["common"] * 5, *["ann", "bob"] * 2)
    profile = summarize_column(column, "high_cardinality").describe()
    assert profile.levels == {"common": 5}
    assert encode_column(texts("common", "ann", None), profile).tolist()[:2] == [0, UNLISTED]


def test_texts_are_kept_as_lengths_only() -> None:
    column = texts("secret", "secrets", None)
    profile = summarize_column(column, "text").describe()
    assert "secret" not in profile.model_dump_json()
    assert encode_column(column, profile).tolist()[:2] == [6.0, 7.0]


@pytest.mark.parametrize("kind", ["number", "date", "text", "category"])
def test_column_without_any_value_is_described(kind: str) -> None:
    dtypes: dict[str, Any] = {"number": "float64", "date": "datetime64[us]", "text": TEXT, "category": TEXT}
    profile = summarize_column(pd.Series([None, None]).astype(dtypes[kind]), kind).describe()
    assert profile.n_missing == 2
    assert profile.minimum is None


def test_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    reference = make_reference(make_rows(300, rng), make_rows(50, rng))
    (tmp_path / "reference.json").write_text(write_reference(reference))
    assert read_reference(tmp_path / "reference.json") == reference


def test_damaged_profile_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    path.write_text(json.dumps({"columns": 1}))
    with pytest.raises(MissingInputError, match=r"reference.json is damaged .*stage evaluate makes it"):
        read_reference(path)


def test_levels_of_very_many_are_dropped_from_the_rarest_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.report.profile.MAX_MERGED_LEVELS", 3)
    parts = [texts(*"aaab"), texts(*"ccdddx"), texts(*"aacc")]
    first, *others = [summarize_column(part, "category") for part in parts]
    for other in others:
        first = first.merge(other)
    profile = first.describe()
    assert profile.levels == {"a": 5, "c": 4, "d": 3}
    assert profile.n_levels == 5
