from typing import Any

import pytest

from src.config.featurize import Feature
from tests.config.conftest import Load, Refusal


@pytest.mark.parametrize(
    ("feature", "problem"),
    [
        ({}, ": must be exactly one of ratio, difference, product, log, date_part, text_length, bins"),
        ({"log": "a", "text_length": "a"}, ": must be exactly one of ratio, difference, "),
        ({"ratio": "a/b"}, ".ratio = 'a/b': must be a valid list"),
        ({"ratio": ["a"]}, ".ratio = ['a']: must have at least 2 items, not 1"),
        ({"difference": ["a", "b", "c"]}, ".difference = ['a', 'b', 'c']: must have at most 2 items, not 3"),
        ({"product": ["a"]}, ".product = ['a']: must have at least 2 items, not 1"),
        ({"date_part": {"column": "d", "part": "week"}}, ".date_part.part = 'week' is unknown; choose 'year', "),
        ({"date_part": {"column": "d"}}, ".date_part.part is missing"),
        ({"bins": {"column": "a", "edges": [1.0, 1.0]}}, ".bins: edges = [1.0, 1.0] must increase"),
        ({"bins": {"column": "a", "edges": [0.0, 2.0, 1.0]}}, ".bins: edges = [0.0, 2.0, 1.0] must increase"),
        ({"bins": {"column": "a", "edges": []}}, ".bins.edges = []: must have at least 1 item, not 0"),
        ({"log": ""}, ".log = '': must have at least 1 character"),
    ],
)
def test_wrong_feature_is_refused(refusal: Refusal, feature: dict[str, Any], problem: str) -> None:
    message = refusal({"featurize.features": {"x": feature}})
    assert message.startswith(f"params.yaml: featurize.features.x{problem}")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("feature", "columns"),
    [
        ({"ratio": ["a", "b"]}, ["a", "b"]),
        ({"product": ["a", "b", "c"]}, ["a", "b", "c"]),
        ({"log": "a"}, ["a"]),
        ({"date_part": {"column": "d", "part": "year"}}, ["d"]),
        ({"bins": {"column": "a", "edges": [1.0, 2.0]}}, ["a"]),
    ],
)
def test_feature_knows_its_columns_and_is_handed_on_as_declared(
    load: Load, feature: dict[str, Any], columns: list[str]
) -> None:
    assert Feature.model_validate(feature).columns == columns
    assert load({"featurize.features": {"x": feature}}).features == {"x": feature}
