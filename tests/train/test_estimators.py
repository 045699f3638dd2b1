import pytest
from sklearn.base import is_classifier

from src.config.schema import ESTIMATOR_PARAMS
from src.train.estimators import make_estimator


@pytest.mark.parametrize("name", sorted(ESTIMATOR_PARAMS))
def test_estimator_is_a_classifier_that_is_not_fitted(name: str) -> None:
    estimator = make_estimator(name, random_state=0)
    assert is_classifier(estimator)
    assert not hasattr(estimator, "classes_")


@pytest.mark.parametrize("name", sorted(ESTIMATOR_PARAMS))
def test_estimator_that_knows_a_seed_gets_it(name: str) -> None:
    assert make_estimator(name, random_state=17).get_params().get("random_state", 17) == 17


@pytest.mark.parametrize("name", sorted(ESTIMATOR_PARAMS))
def test_each_call_gives_an_estimator_of_its_own(name: str) -> None:
    assert make_estimator(name, random_state=0) is not make_estimator(name, random_state=0)
