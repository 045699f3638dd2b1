import pytest

from src.data.candidates import name_candidates


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"max_depth": "null"}, "forest max_depth=null"),
        ({"C": 0.1234567}, "forest C=0.123457"),
        ({"C": "0.1234567"}, "forest C=0.123457"),
        ({"C": 1e-05}, "forest C=1e-05"),
        ({"bootstrap": True}, "forest bootstrap=true"),
        ({"bootstrap": "true"}, "forest bootstrap=true"),
        ({"layers": "010"}, "forest layers=010"),
        ({"max_iter": 1000.0}, "forest max_iter=1000"),
        ({"max_iter": "1000"}, "forest max_iter=1000"),
        ({"max_iter": 100_000}, "forest max_iter=100000"),
        ({}, "forest"),
    ],
)
def test_candidate_is_named_by_its_parameters(params: dict[str, object], name: str) -> None:
    assert name_candidates([("forest", params)]) == [name]


def test_parameters_that_an_estimator_shares_are_left_out() -> None:
    candidates = [("knn", {"n": 3, "p": 2}), ("knn", {"n": 5, "p": 2}), ("svm", {"C": 1.0})]
    assert name_candidates(candidates) == ["knn n=3", "knn n=5", "svm"]
