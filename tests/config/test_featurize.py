from typing import Any

import pytest

from tests.config.conftest import Load, Refusal


@pytest.mark.parametrize(
    "column",
    [
        {"kind": "number", "min": 0, "max": 120, "missing": False},
        {"kind": "number", "min": 0.5},
        {"kind": "ordinal", "order": ["low", "high"]},
        {"kind": "ordinal", "order": [1, 2.5, "x", True]},
        {"kind": "category", "values": ["a", 1]},
        {"kind": "date", "format": "%d.%m.%Y"},
        {"kind": "boolean"},
        {"kind": "high_cardinality"},
        {"kind": "ignore"},
    ],
)
def test_declared_column_is_given_on_as_it_was_declared(load: Load, column: dict[str, Any]) -> None:
    assert load({"data_load.columns": {"x": column}}).declared_columns == {"x": column}


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        ({"kind": "ordinal"}, "order is what an ordinal has, and only an ordinal"),
        ({"kind": "category", "order": ["a", "b"]}, "order is what an ordinal has, and only an ordinal"),
        ({"kind": "ordinal", "order": ["a"]}, "at least 2 items"),
        ({"kind": "category", "min": 0}, "min and max are for numbers, and this is a category"),
        ({"kind": "number", "min": 2, "max": 1}, "min = 2.0 is above max = 1.0"),
        ({"kind": "number", "format": "%Y"}, "format is for dates, and this is a number"),
        ({"kind": "date", "format": "iso"}, "match pattern"),
        ({"kind": "text"}, "must be 'number', 'category', 'ordinal'"),
        ({"kind": "number", "mini": 0}, "unknown; did you mean min?"),
        ({}, "data_load.columns.x.kind is missing"),
        ({"kind": "category", "values": []}, "at least 1 item"),
    ],
)
def test_column_that_cannot_be_is_refused(refusal: Refusal, column: dict[str, Any], fault: str) -> None:
    message = refusal({"data_load.columns": {"x": column}})
    assert message.startswith("params.yaml: data_load.columns.x")
    assert fault in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("feature", "fault"),
    [
        ({}, "must be exactly one of ratio, difference, product, log, date_part, text_length, bins"),
        ({"log": "a", "text_length": "a"}, "must be exactly one of ratio"),
        ({"product": ["a"]}, "at least 2 items"),
        ({"difference": ["a", "b", "c"]}, "2 items"),
        ({"date_part": {"column": "d", "part": "week"}}, "'minute'"),
        ({"date_part": {"column": "d"}}, "date_part.part is missing"),
        ({"bins": {"column": "a", "edges": [2.0, 1.0]}}, "edges = [2.0, 1.0] must rise"),
        ({"bins": {"column": "a", "edges": []}}, "at least 1 item"),
        ({"log": ""}, "at least 1 character"),
    ],
)
def test_feature_that_cannot_be_is_refused(refusal: Refusal, feature: dict[str, Any], fault: str) -> None:
    message = refusal({"featurize.features": {"x": feature}})
    assert message.startswith("params.yaml: featurize.features.x")
    assert fault in message
    assert "\n" not in message
