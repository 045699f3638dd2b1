"""The estimators of `params.yaml` by name."""

from typing import Any

from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC


def make_estimator(name: str, random_state: int) -> ClassifierMixin:
    """Make an unfitted estimator.

    To add one: a line here, its name in `Train.estimator` and its parameters in
    `ESTIMATOR_PARAMS` of `src/config/schema.py`, and its grid in `params.yaml`.

    Args:
        name: `knn`, `logreg` or `svm`; checked by the configuration.
        random_state: Seed of the estimators that use one.
    """
    estimators: dict[str, Any] = {
        "knn": lambda: KNeighborsClassifier(),
        "logreg": lambda: LogisticRegression(random_state=random_state),
        "ridge": lambda: Ridge(random_state=random_state),
        "svm": lambda: SVC(random_state=random_state),
    }
    estimator: ClassifierMixin = estimators[name]()
    return estimator
