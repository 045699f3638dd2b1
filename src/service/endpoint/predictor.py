"""Predict few rows fast: the same answers as the fitted pipeline, without its checks in each step.

scikit-learn takes about 9 ms for a row, most of it for checking and copying the row in each transformer. A `Predictor`
computes the same from what the transformers have learned. When it is made, it compares itself with the pipeline on all
known levels, and on missing, unseen and extreme values. Where it differs, or does not know a step, it uses the step
itself.

Equal means equal to the bit for the same rows in the same batch: a matrix product of one row may differ in its last
bit from the same row among others, in scikit-learn as well.
"""

import copy
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from numpy.typing import NDArray
from scipy import sparse
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from src.data.columns import Columns
from src.data.kinds import DATE, TEXT, TEXT_KINDS
from src.errors import MissingInputError

logger = logging.getLogger(__name__)

Numbers = NDArray[np.float64]
# The outputs of a step for some rows.
Transform = Callable[[pd.DataFrame], Any]
# What a column can contain, as far as its step can distinguish it.
UNSEEN_TEXT, UNSEEN_NUMBER = "\0 never seen", 0.5
NUMBERS = [0.0, 1.0, -1.0, 0.1, 3.7, np.nan, 1e-300, 1e6, -1e15, 12345.678]
DATES = ["1970-01-01", "2024-02-29T23:59:59.999999", "2026-12-31T12:30", None, "1800-05-05", "2262-01-01"]
TEXTS = ["", "good", "the good, the bad and the good", None, "1 2 3", UNSEEN_TEXT]
# Estimators are compared on fewer rows than the steps before them, because some are slow.
N_PROBES = 100


@dataclass(frozen=True)
class Prediction:
    """Predictions of some rows.

    Attributes:
        labels: Classes or numbers, shape (n_rows,).
        probabilities: Of each class, shape (n_rows, n_classes); None if the model has none.
    """

    labels: NDArray[Any]
    probabilities: Numbers | None

    def take(self, rows: Any) -> "Prediction":
        """Return the predictions of some rows, given by their numbers or as a slice."""
        probabilities = self.probabilities
        return Prediction(self.labels[rows], None if probabilities is None else probabilities[rows])


class Predictor:
    """A fitted pipeline of stage `train` that predicts few rows fast.

    Attributes:
        columns: Kind of each raw column.
        names: Raw columns that `predict` takes.
        classes: Classes in the order of the probabilities; None for a regression.

    Raises:
        MissingInputError: The model is no such pipeline.
    """

    def __init__(self, model: Pipeline) -> None:
        try:
            (_, features), (_, preprocess), (_, self._estimator) = model.steps
            self.columns: Columns = features.kw_args["columns"]
            self.names: list[str] = list(model.feature_names_in_)
            self._featurize = _featurize_of(features)
            self._transform: Transform = preprocess.transform
        except (AttributeError, KeyError, TypeError, ValueError):
            raise MissingInputError(
                f"the model is a {type(model).__name__}, not a fitted Pipeline with the steps features, preprocess and "
                "estimator, as stage train writes it; run `dvc repro train`."
            ) from None
        self.classes: NDArray[Any] | None = getattr(self._estimator, "classes_", None)
        self._has_probabilities = hasattr(self._estimator, "predict_proba")
        self._shared: list[_Once] = []
        plain = self._transform, self._estimator
        try:
            self._make_fast(preprocess)
        # The model works without, and may be of any class.
        except Exception as error:
            (self._transform, self._estimator), self._shared = plain, []
            logger.warning("predicting with the plain pipeline, which is slower: %s: %s", type(error).__name__, error)

    def predict(self, X: pd.DataFrame) -> Prediction:
        """Predict labels and probabilities.

        Args:
            X: Rows of shape (n_rows, n_columns) that `src.data.kinds.convert_columns` has converted, with at least the
                columns of `names`.

        Raises:
            FeatureError: A feature cannot be computed.
        """
        return self._predict(self._transform(self._featurize(X)))

    def _predict(self, Z: Any) -> Prediction:
        total = Z.sum()
        # Otherwise each method looks for infinity again.
        with sklearn.config_context(assume_finite=bool(np.isfinite(total)), skip_parameter_validation=True):
            try:
                probabilities = self._estimator.predict_proba(Z) if self._has_probabilities else None
                return Prediction(self._estimator.predict(Z), probabilities)
            finally:
                for method in self._shared:
                    method.last = None

    def _make_fast(self, preprocess: Any) -> None:
        probes = make_probes(preprocess, self.columns)
        expected = preprocess.transform(probes)
        transform = compile_preprocess(preprocess, expected)
        if all(_equal(transform(part), preprocess.transform(part)) for part in _batches(probes)):
            self._transform = transform
        else:
            logger.warning("the preprocessing has no shortcut that gives equal numbers; predicting is slower")
        plain = self._estimator
        parts = list(_batches(expected[:N_PROBES]))
        wanted = [
            Prediction(plain.predict(Z), plain.predict_proba(Z) if self._has_probabilities else None) for Z in parts
        ]
        self._estimator, self._shared = share_passes(plain, expected)
        for Z, want in zip(parts, wanted, strict=True):
            got = self._predict(Z)
            if not (_equal(got.labels, want.labels) and _equal(got.probabilities, want.probabilities)):
                self._estimator, self._shared = plain, []
                logger.warning("%s has no shortcut that gives equal predictions", type(plain).__name__)


def _featurize_of(step: Any) -> Transform:
    """Return what the step `features` computes of converted rows, with the code that the model came with."""
    declared, add_features = step.kw_args["features"], step.func.__globals__.get("add_features")
    if add_features is None:
        return lambda X: step.transform(X)
    return lambda X: add_features(X, declared) if declared else X


def make_probes(preprocess: Any, columns: Columns) -> pd.DataFrame:
    """Make rows with every value that the steps distinguish, for comparisons.

    Args:
        preprocess: Fitted ColumnTransformer.
        columns: Kind of each raw column; others are computed numbers.

    Returns:
        Featurized rows. The first rows of a column hold the values of `_levels`, if an encoder takes it.
    """
    values: dict[str, pd.Series] = {}
    for _, step, names in preprocess.transformers_:
        for position, name in enumerate(names):
            kind = columns[name]["kind"] if name in columns else "number"
            if isinstance(encoder := _first(step), ENCODERS):
                levels = pd.Series(_levels(encoder, position), dtype=TEXT if kind in TEXT_KINDS else np.float64)
            elif kind == "date":
                levels = pd.Series(DATES).astype(DATE)
            else:
                levels = pd.Series(TEXTS, dtype=TEXT) if kind == "text" else pd.Series(NUMBERS)
            # Two steps may take one column, and one of them may know more levels.
            if name not in values or len(levels) > len(values[name]):
                values[name] = levels
    n_rows = max([N_PROBES, *map(len, values.values())])
    return pd.DataFrame(
        {name: levels.iloc[np.arange(n_rows) % len(levels)].reset_index(drop=True) for name, levels in values.items()}
    )


def compile_preprocess(preprocess: Any, expected: Any) -> Transform:
    """Make a function that computes what the fitted ColumnTransformer does.

    Args:
        expected: What it makes of the rows of `make_probes`.
    """
    is_sparse = sparse.issparse(expected)
    dense = expected.toarray() if is_sparse else expected
    order: Any = "F" if not is_sparse and expected.flags.f_contiguous else "C"
    parts: list[tuple[slice, Transform]] = []
    for name, step, names in preprocess.transformers_:
        place = preprocess.output_indices_[name]
        parts.append((place, _compile_step(step, list(names), dense[:, place])))
    n_outputs = dense.shape[1]

    def transform(X: pd.DataFrame) -> Any:
        Z = np.empty((len(X), n_outputs), dtype=np.float64, order=order)
        for place, compute in parts:
            Z[:, place] = compute(X)
        return type(expected)(Z) if is_sparse else Z

    return transform


def share_passes(estimator: Any, Z: Any) -> tuple[Any, list["_Once"]]:
    """Copy a fitted estimator so that `predict` and `predict_proba` of the same rows share what they both compute.

    Args:
        Z: Rows with every value that the step before distinguishes.

    Returns:
        The copy, and the methods that remember their last result.
    """
    copied, shared = copy.copy(estimator), []
    for name in SHARED:
        if hasattr(copied, name):
            shared.append(_Once(getattr(copied, name)))
            setattr(copied, name, shared[-1])
    # Histogram boosting encodes the codes of categories again, by default to the same codes.
    if hasattr(copied, "_preprocess_X") and _equal(copied._preprocess_X(Z, reset=False), Z):
        copied._preprocess_X = lambda X, reset: X  # noqa: ARG005 - the signature of scikit-learn
    # A threshold is set around a frozen estimator.
    inner = "estimator" if isinstance(copied, FrozenEstimator) else "estimator_"
    if inner in vars(copied):
        fast, more = share_passes(vars(copied)[inner], Z)
        setattr(copied, inner, fast)
        shared += more
    return copied, shared


# What both methods start from, in classes of scikit-learn and LightGBM.
SHARED = ("predict_proba", "decision_function", "_raw_predict", "_forward_pass_fast")
ENCODERS = (OneHotEncoder, OrdinalEncoder, TargetEncoder)


class _Once:
    """A method that remembers its last result."""

    def __init__(self, method: Callable[..., Any]) -> None:
        # scikit-learn asks for the name of a method.
        functools.update_wrapper(self, method)
        self.method, self.signature = method, inspect.signature(method)
        self.last: tuple[Any, dict[str, Any], Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        others = dict(bound.arguments)
        X = others.pop("X")
        last = self.last
        if last is None or last[0] is not X or last[1] != others:
            last = self.last = X, others, self.method(*args, **kwargs)
        # Some callers work in place.
        return last[2].copy()


def _compile_step(step: Any, names: Sequence[str], expected: Numbers) -> Transform:
    """Make a function that computes what one step of the ColumnTransformer does."""
    steps = [each for _, each in step.steps] if isinstance(step, Pipeline) else [step]
    first, others = steps[0], [_NUMERIC.get(type(each)) for each in steps[1:]]
    if not all(others):
        return lambda X: step.transform(X[names])
    if isinstance(first, ENCODERS):
        # All steps treat each column by itself, so that their results for its levels are all that is needed.
        return _look_up(first, names, expected)
    numeric = [make(each) for make, each in zip(others, steps[1:], strict=True) if make]
    # Not by their class: a registered model carries its own.
    if type(first).__module__ == "src.featurize.encoders":
        read: Transform = lambda X: first.transform(X[names])  # noqa: E731 - one of two
    elif make := _NUMERIC.get(type(first)):
        numeric.insert(0, make(first))
        read = lambda X: _stack(X, names)  # noqa: E731 - one of two
    else:
        return lambda X: step.transform(X[names])

    def transform(X: pd.DataFrame) -> Any:
        Z = read(X)
        for compute in numeric:
            Z = compute(Z)
        return Z

    return transform


def _stack(X: pd.DataFrame, names: Sequence[str]) -> Numbers:
    Z = np.empty((len(X), len(names)))
    for position, name in enumerate(names):
        Z[:, position] = X[name].to_numpy()
    return Z


def _look_up(encoder: Any, names: Sequence[str], expected: Numbers) -> Transform:
    widths = [expected.shape[1] // len(names)] * len(names)
    if isinstance(encoder, OneHotEncoder):
        rare = getattr(encoder, "infrequent_categories_", [None] * len(names))
        widths = [
            len(known) - (0 if few is None else len(few) - 1)
            for known, few in zip(encoder.categories_, rare, strict=True)
        ]
    ends = np.cumsum(widths)
    tables = []
    for position, (name, end, width) in enumerate(zip(names, ends, widths, strict=True)):
        levels = _levels(encoder, position)
        codes = {level: code for code, level in enumerate(levels[:-2])}
        tables.append((name, slice(end - width, end), codes, expected[: len(levels), end - width : end].copy()))

    def transform(X: pd.DataFrame) -> Numbers:
        Z = np.empty((len(X), ends[-1]))
        for name, place, codes, table in tables:
            missing, unseen = len(codes), len(codes) + 1
            # NaN is not equal to itself.
            found = [codes.get(each, unseen) if each == each else missing for each in X[name].tolist()]
            Z[:, place] = table[found]
        return Z

    return transform


def _levels(encoder: Any, position: int) -> list[Any]:
    """List the known levels of a column, a missing value and an unseen one."""
    levels = [level for level in encoder.categories_[position].tolist() if level == level]
    is_text = any(isinstance(level, str) for level in levels)
    return [*levels, np.nan, UNSEEN_TEXT if is_text else UNSEEN_NUMBER]


def _impute(step: SimpleImputer) -> Callable[[Numbers], Numbers]:
    marked = step.indicator_.features_ if step.add_indicator else None

    def transform(Z: Numbers) -> Numbers:
        is_missing = np.isnan(Z)
        filled = np.where(is_missing, step.statistics_, Z)
        return filled if marked is None else np.hstack([filled, is_missing[:, marked]])

    return transform


_NUMERIC: dict[type, Callable[[Any], Callable[[Numbers], Numbers]]] = {
    SimpleImputer: _impute,
    StandardScaler: lambda step: lambda Z: (Z - step.mean_) / step.scale_,
    RobustScaler: lambda step: lambda Z: (Z - step.center_) / step.scale_,
    FunctionTransformer: lambda step: lambda Z: step.func(Z, **(step.kw_args or {})),
}


def _first(step: Any) -> Any:
    return step.steps[0][1] if isinstance(step, Pipeline) else step


def _batches(rows: Any) -> Iterator[Any]:
    """Yield one row, two and all: libraries compute few rows in other ways."""
    for n_rows in (1, 2, rows.shape[0]):
        yield rows[:n_rows]


def _equal(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    if sparse.issparse(a) or sparse.issparse(b):
        return type(a) is type(b) and all(
            _equal(getattr(a, part), getattr(b, part)) for part in ("data", "indices", "indptr")
        )
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
