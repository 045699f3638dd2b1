import json
from pathlib import Path
from typing import Any

import pytest

from src.config.featurize import Feature
from src.data.columns import (
    declared_columns,
    features_by_kind,
    read_as_text,
    read_columns,
    recorded_columns,
    write_columns,
)
from src.errors import MissingInputError
from tests.config.conftest import Load

COLUMNS: dict[str, dict[str, Any]] = {
    "a": {"kind": "number"},
    "grüße": {"kind": "ordinal", "order": ["b", "a"]},
    "c": {"kind": "category"},
    "d": {"kind": "date"},
    "e": {"kind": "ignore"},
}
FEATURES = {
    "a_to_b": Feature(ratio=["a", "b"]),
    "month": Feature.model_validate({"date_part": {"column": "d", "part": "month"}}),
}
FILE: dict[str, Any] = {
    "featurize.features": {},
    "data_load.source": {"kind": "file"},
    "data_load.external_path": "data/external/t.csv",
}


def test_features_are_grouped_by_kind_and_computed_ones_are_numbers() -> None:
    assert features_by_kind(COLUMNS, {"a_to_b": FEATURES["a_to_b"]}, excluded=["c"]) == {
        "number": ["a", "a_to_b"],
        "category": [],
        "ordinal": ["grüße"],
        "high_cardinality": [],
        "boolean": [],
        "date": ["d"],
        "text": [],
    }
    assert features_by_kind(COLUMNS, {"month": FEATURES["month"]})["date"] == []


def test_columns_round_trip_through_the_file(load: Load) -> None:
    config = load(FILE)
    write_columns(COLUMNS, config)
    assert read_columns(config.data_load.schema_path) == COLUMNS
    assert "grüße" in config.data_load.schema_path.read_text(encoding="utf-8")
    assert recorded_columns(config) == COLUMNS


def test_equal_columns_are_equal_files(load: Load) -> None:
    config = load(FILE)
    write_columns(COLUMNS, config)
    before = config.data_load.schema_path.read_bytes()
    write_columns(recorded_columns(config), config)
    assert config.data_load.schema_path.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        {"data_load.external_path": "data/external/other.csv"},
        {"data_load.source": {"kind": "file", "separator": ";"}},
        {"data_load.source": {"kind": "sklearn", "name": "iris"}},
        {"data_load.source": {"kind": "url", "url": "https://example.org/t.csv"}},
        {"base.target_column": "c"},
    ],
)
def test_recorded_kinds_of_another_source_are_not_used(load: Load, change: dict[str, Any]) -> None:
    write_columns(COLUMNS, load(FILE))
    assert recorded_columns(load(FILE | change)) == {}


def test_another_revision_of_a_table_keeps_the_recorded_kinds(load: Load) -> None:
    source = {"kind": "dvc", "path": "t.csv", "repo": ".", "rev": "v1.0.0"}
    write_columns(COLUMNS, load({"data_load.source": source}))
    assert recorded_columns(load({"data_load.source": source | {"rev": "v2.0.0"}})) == COLUMNS


def test_column_that_is_no_longer_declared_is_inferred_again(load: Load) -> None:
    declared = FILE | {"data_load.columns": {"a": {"kind": "category"}}}
    write_columns(COLUMNS, load(declared))
    assert recorded_columns(load(FILE)) == COLUMNS | {"a": {}}


SOURCE = {"kind": "file", "external_path": "data/external/t.csv", "target_column": "target"}
# Of the right source, but not what the stage writes: a user or a merge has changed it.
DAMAGED = [
    "[" * 100_000,
    "1" * 5000,
    "null",
    *(
        json.dumps({"source": SOURCE, "declared": [], "columns": {}} | change)
        for change in (
            {"columns": []},
            {"columns": {"a": 3}},
            {"columns": {"a": {}}},
            {"columns": {"a": {"kind": "foo"}}},
            {"columns": {"a": {"kind": "ordinal"}}},
            {"declared": 1},
            {"declared": [[]]},
        )
    ),
]


@pytest.mark.parametrize("content", ["", "{}", "[]", "\x00", *DAMAGED])
def test_damaged_file_is_ignored_with_a_warning(load: Load, content: str, caplog: pytest.LogCaptureFixture) -> None:
    config = load(FILE)
    config.data_load.schema_path.parent.mkdir()
    config.data_load.schema_path.write_text(content)
    assert recorded_columns(config) == {}
    assert caplog.text


def test_first_table_has_no_recorded_kinds(load: Load) -> None:
    assert recorded_columns(load(FILE)) == {}


def test_declared_levels_become_text_like_those_of_the_rows(load: Load) -> None:
    columns = {
        "a": {"kind": "ordinal", "order": [1, 2.0, 2.5, "x"]},
        "b": {"kind": "category", "values": [1]},
        "c": {"kind": "number", "values": [1]},
    }
    declared = declared_columns(load(FILE | {"data_load.columns": columns}))
    assert declared["a"]["order"] == ["1", "2", "2.5", "x"]
    assert declared["b"]["values"] == ["1"]
    assert declared["c"]["values"] == [1]


def test_dates_of_the_source_are_declared_unless_they_have_a_format(load: Load) -> None:
    changes = {
        "data_load.source": {"kind": "file", "dates": ["day", "night"]},
        "data_load.columns": {"night": {"kind": "date", "format": "%d.%m.%Y"}},
        "data_load.external_path": "data/external/t.csv",
    }
    assert declared_columns(load(changes)) == {
        "day": {"kind": "date"},
        "night": {"kind": "date", "format": "%d.%m.%Y"},
    }


def test_levels_and_dates_with_a_format_are_read_as_text() -> None:
    known = COLUMNS | {"f": {"kind": "date", "format": "%Y%m%d"}, "unknown": {}}
    assert read_as_text(known) == ["grüße", "c", "f"]


@pytest.mark.parametrize("content", [None, "", "[1]", "{}", *DAMAGED])
def test_missing_or_damaged_file_names_the_stage_that_makes_it(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(MissingInputError, match="stage data_load makes it: run `dvc repro data_load`") as caught:
        read_columns(path)
    assert len(str(caught.value)) < 300 + len(str(path))


def test_file_holds_the_source_and_the_declared_columns(load: Load) -> None:
    config = load(FILE | {"data_load.columns": {"a": {"kind": "number"}}})
    write_columns({"a": {"kind": "number"}, "b": {"kind": "category"}}, config)
    assert json.loads(config.data_load.schema_path.read_text()) == {
        "source": {"kind": "file", "external_path": "data/external/t.csv", "target_column": "target"},
        "declared": ["a"],
        "columns": {"a": {"kind": "number"}, "b": {"kind": "category"}},
    }
