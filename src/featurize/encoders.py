"""Encoders of dates and texts, which scikit-learn does not have.

skrub has some, but its import adds 0.9 s to each prediction, and topics alone miss rare words, see `TextEncoder`.

Models logged to MLflow contain this module, so it imports nothing else of this repository.
"""

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import f_regression
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.utils.validation import check_is_fitted

Floats = NDArray[np.floating[Any]]

# Period of each part of a date that repeats; months and weekdays are whole numbers.
PERIODS = {"month": 12, "weekday": 7, "hour": 24}


class DateEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Turn each date into the time since 1970 in days, and into its parts.

    Parts that do not vary among the training rows are left out. A missing date has missing parts.

    Args:
        circular: Whether month, weekday and hour become a sine and a cosine, so that December is beside
            January, and whether a column says that the date is missing. Otherwise they stay plain
            numbers, beside the day of the month.
    """

    def __init__(self, circular: bool = False) -> None:
        self.circular = circular

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:  # noqa: ARG002 - the signature of scikit-learn
        """Find the parts of each column that vary."""
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        self.parts_ = [
            [part for part, values in self._split(X[name]).items() if part == "time" or pd.Series(values).nunique() > 1]
            for name in X.columns
        ]
        return self

    def transform(self, X: pd.DataFrame) -> Floats:
        """Return the parts as numbers, shape (n_samples, n_parts)."""
        check_is_fitted(self)
        columns = []
        for name, parts in zip(self.feature_names_in_, self.parts_, strict=True):
            values = self._split(X[name])
            columns += [values[part] for part in parts]
        return np.column_stack(columns)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:  # noqa: ARG002 - as above
        """Return names such as `day_month`."""
        names = zip(self.feature_names_in_, self.parts_, strict=True)
        return np.array([f"{name}_{part}" for name, parts in names for part in parts], dtype=object)

    def _split(self, column: pd.Series) -> dict[str, Floats]:
        # In microseconds, because nanoseconds end in 2262.
        days = ((column - pd.Timestamp("1970-01-01").as_unit("us")) / pd.Timedelta(1, "D")).to_numpy(dtype=np.float64)
        numbers = {
            "month": _floats(column.dt.month),
            "weekday": _floats(column.dt.day_of_week),
            "hour": _floats(column.dt.hour) + _floats(column.dt.minute) / 60,
        }
        if not self.circular:
            return {"time": days, **numbers, "day": _floats(column.dt.day)}
        parts = {"time": days, "is_missing": np.isnan(days).astype(np.float64)}
        for name, values in numbers.items():
            angle = 2 * np.pi / PERIODS[name] * values
            parts |= {f"{name}_sin": np.sin(angle), f"{name}_cos": np.cos(angle)}
        return parts


class TextEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # as above
    """Turn free text into a prediction of the target from its words, and into its main topics.

    The words are weighted by TF-IDF. The prediction is that of a ridge regression on the words that correlate
    with the target (one for each of several classes), the topics are those of a truncated SVD. Topics alone
    miss words that decide but are rare: on 300 reviews with one of 20 such words among 200 others, the area under
    the ROC curve is 0.7 with 30 topics, and 0.99 with the prediction.

    The prediction is cross-fitted, as in `sklearn.preprocessing.TargetEncoder`: `fit_transform` predicts each row
    from other rows. A missing text has no words, and an unknown word counts for nothing.

    Args:
        n_topics: Maximum number of topics.
        is_classes: Whether the target is a class, not a number.
        random_state: Seed of the folds and the topics.
    """

    def __init__(self, n_topics: int = 30, is_classes: bool = True, random_state: int = 0) -> None:
        self.n_topics = n_topics
        self.is_classes = is_classes
        self.random_state = random_state

    def fit(self, X: pd.DataFrame, y: ArrayLike) -> Self:
        """Learn the words of one column, and what they say about the target."""
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: pd.DataFrame, y: ArrayLike) -> Floats:
        """Fit, and return the cross-fitted predictions and the topics, shape (n_samples, n_outputs + n_topics)."""
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        targets = self._targets(np.asarray(y))
        # A word of a single row cannot be learned.
        self.vectorizer_ = TfidfVectorizer(sublinear_tf=True, min_df=2, max_features=MAX_WORDS)
        try:
            words = self.vectorizer_.fit_transform(_fill(X))
        # scikit-learn refuses texts without any common word.
        except ValueError:
            self.vectorizer_, self.n_outputs_ = None, 1
            return np.zeros((len(X), 1))
        self.n_outputs_ = targets.shape[1]
        self.model_ = _fit_ridge(words, targets)
        predicted = np.zeros_like(targets)
        for train, test in KFold(min(N_FOLDS, len(X)), shuffle=True, random_state=self.random_state).split(predicted):
            predicted[test] = _predict(_fit_ridge(words[train], targets[train]), words[test])
        self.svd_ = TruncatedSVD(min(self.n_topics, words.shape[1]), random_state=self.random_state)
        with np.errstate(all="ignore"):
            topics = self.svd_.fit_transform(words)
        return np.hstack([predicted, topics])

    def transform(self, X: pd.DataFrame) -> Floats:
        """Return the predictions and the topics, shape (n_samples, n_outputs + n_topics)."""
        check_is_fitted(self, "n_outputs_")
        if self.vectorizer_ is None:
            return np.zeros((len(X), 1))
        words = self.vectorizer_.transform(_fill(X))
        return np.hstack([_predict(self.model_, words), self.svd_.transform(words)])

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:  # noqa: ARG002 - as above
        """Return names such as `review_prediction1` and `review_topic1`."""
        n_topics = 0 if self.vectorizer_ is None else len(self.svd_.components_)
        parts = [("prediction", self.n_outputs_), ("topic", n_topics)]
        names = [f"{self.feature_names_in_[0]}_{part}{number + 1}" for part, n in parts for number in range(n)]
        return np.array(names, dtype=object)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without an address in memory, so that equal models have equal bytes."""
        if getattr(self, "vectorizer_", None) is not None:
            self.vectorizer_._stop_words_id = None
        state: dict[str, Any] = super().__getstate__()
        return state

    def _targets(self, y: NDArray[Any]) -> Floats:
        if not self.is_classes:
            return y.astype(np.float64).reshape(-1, 1)
        classes, codes = np.unique(y, return_inverse=True)
        one_hot = np.eye(len(classes))[codes]
        # The second of two columns says everything.
        return one_hot[:, 1:] if len(classes) == 2 else one_hot


MAX_WORDS, N_FOLDS, MAX_P_VALUE = 50_000, 5, 0.1
# Chosen words and a ridge regression on them; none if no word correlates with the target.
_Model = tuple[NDArray[np.intp], Any, Floats]


def _floats(column: pd.Series) -> Floats:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _fill(X: pd.DataFrame) -> list[str]:
    return [text if isinstance(text, str) else "" for text in X.iloc[:, 0]]


def _fit_ridge(words: Any, targets: Floats) -> _Model:
    mean = targets.mean(axis=0)
    with np.errstate(all="ignore"):
        p_values = [f_regression(words, target)[1] for target in targets.T if np.ptp(target)]
    chosen = np.flatnonzero(np.min(p_values, axis=0) < MAX_P_VALUE) if p_values else np.array([], dtype=np.intp)
    return chosen, Ridge().fit(words[:, chosen], targets) if len(chosen) else None, mean


def _predict(model: _Model, words: Any) -> Floats:
    chosen, ridge, mean = model
    if ridge is None:
        return np.tile(mean, (words.shape[0], 1))
    return np.asarray(ridge.predict(words[:, chosen])).reshape(words.shape[0], -1)
