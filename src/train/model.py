"""Create and fit the model of one candidate."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import ThreadpoolController

from src.config.train import Preprocess, Task
from src.data.columns import Columns
from src.train.estimators import balance_classes, find_estimator, make_estimator
from src.train.preprocess import MAX_NATIVE_LEVELS, make_preprocess, native_categories

# On fewer rows, threads wait for each other: beside other processes, a fit of 0.1 s took 2 s.
MIN_THREADED_ROWS = 20_000


@dataclass(frozen=True)
class Candidate:
    """An estimator with one value for each parameter of its grid."""

    estimator: str
    params: Mapping[str, Any]

    def __str__(self) -> str:
        params = ", ".join(f"{name} = {value!r}" for name, value in self.params.items())
        return f"{self.estimator} with {params or 'its default parameters'}"


@dataclass(frozen=True)
class Calibration:
    """How the probabilities of a model are calibrated: `sigmoid` or `isotonic`, on folds or a number of them."""

    method: str
    folds: Any


@dataclass(frozen=True)
class ModelSpec:
    """What the models of all candidates have in common.

    Attributes:
        kinds: Column names by kind, as returned by `features_by_kind`.
        columns: Description of each raw column.
        balanced: Whether rare classes get a higher weight.
        cache: Folder that keeps encoded texts during a search.
    """

    task: Task
    kinds: Mapping[str, Sequence[str]]
    columns: Columns
    preprocess: Preprocess
    balanced: bool
    random_state: int
    cache: Path | None = None

    @property
    def names(self) -> list[str]:
        """Names of all columns that a model takes, computed features included."""
        return [name for names in self.kinds.values() for name in names]


def make_model(candidate: Candidate, spec: ModelSpec) -> Pipeline:
    """Create the unfitted pipeline `[preprocess, estimator]`.

    Raises:
        ConfigError: The estimator cannot be used with these settings.
    """
    estimator_spec = find_estimator(candidate.estimator, spec.task)
    estimator = make_estimator(estimator_spec, spec.task, candidate.params, spec.random_state)
    if spec.balanced:
        balance_classes(candidate.estimator, estimator)
    known, max_levels = estimator.get_params(), MAX_NATIVE_LEVELS
    n_categories = len(native_categories(spec.kinds))
    if estimator_spec.encoding == "native" and n_categories and "categorical_features" in known:
        estimator.set_params(categorical_features=list(range(n_categories)))
        # Each level needs a bin of its own.
        max_levels = min(max_levels, known["max_bins"]) if isinstance(known["max_bins"], int) else max_levels
    preprocess = make_preprocess(
        spec.kinds,
        spec.columns,
        spec.preprocess,
        estimator_spec,
        spec.task,
        spec.random_state,
        max_levels,
        None if spec.cache is None else str(spec.cache),
    )
    return Pipeline([("preprocess", preprocess), ("estimator", estimator)])


def fit_candidate(
    candidate: Candidate,
    spec: ModelSpec,
    X: pd.DataFrame,
    y: NDArray[Any],
    n_jobs: int | None = None,
    calibration: Calibration | None = None,
) -> Pipeline:
    """Create and fit the pipeline `[preprocess, estimator]`.

    Args:
        X: Featurized rows, shape (n_rows, n_columns).
        y: Target, shape (n_rows,).
        n_jobs: Processes of this fit, used only where they cannot change the result.
        calibration: Calibrates the probabilities of the last step; None leaves them as they are.
    """
    model = make_model(candidate, spec)
    estimator_spec, estimator = find_estimator(candidate.estimator, spec.task), model["estimator"]
    fit_params: dict[str, Any] = {}
    if spec.balanced and "class_weight" not in estimator.get_params():
        fit_params["estimator__sample_weight"] = compute_sample_weight("balanced", y)
    if estimator_spec.path.startswith("lightgbm."):
        fit_params["estimator__categorical_feature"] = list_categorical(spec)
    if estimator_spec.parallel_fit:
        estimator.set_params(n_jobs=n_jobs)
    if calibration:
        calibrated = CalibratedClassifierCV(estimator, method=calibration.method, cv=calibration.folds, ensemble=False)
        model = Pipeline([model.steps[0], ("estimator", calibrated)])
    with limit_threads(candidate, spec.task, len(X)):
        model.fit(X, y, **fit_params)
    if calibration:
        # The rows of each fold are not needed any more.
        calibrated.set_params(cv=None)
    fitted = calibrated.calibrated_classifiers_[0].estimator if calibration else estimator
    # The bytes of the model file must not depend on the number of processes or threads.
    if estimator_spec.parallel_fit:
        for each in {id(estimator): estimator, id(fitted): fitted}.values():
            each.set_params(n_jobs=None)
    if hasattr(fitted, "_bin_mapper"):
        fitted._bin_mapper.n_threads = 1
    return model


def select_columns(X: pd.DataFrame, spec: ModelSpec) -> pd.DataFrame:
    """Keep the columns that a model takes, with text as categories.

    Encoders convert text to Python objects in each fit. Categories share equal objects, which takes
    8 MB per million rows and column instead of 60 MB, with the same result.
    """
    unused = X.columns.difference(spec.names)
    # Selecting columns copies them, for which a large table may leave no memory.
    used = X.drop(columns=unused) if len(unused) else X
    text = [name for kind in ("category", "ordinal", "high_cardinality") for name in spec.kinds[kind]]
    return used.astype(dict.fromkeys(text, "category"))


def list_categorical(spec: ModelSpec) -> list[int] | Literal["auto"]:
    """List the positions of the columns that LightGBM takes as codes of categories; without any, its default."""
    return list(range(len(native_categories(spec.kinds)))) or "auto"


@contextmanager
def limit_threads(candidate: Candidate, task: Task, n_rows: int) -> Iterator[None]:
    """Limit the threads of a fit, so that its result does not depend on the number of cores.

    Sums in BLAS change in the last digits with the number of threads, and threads that wait for each other cost more
    time than they save: next to another process, logistic regression on 100,000 rows took 28 s instead of 0.2 s.
    Threads of OpenMP, as in histogram boosting, do not change the result.
    """
    path = find_estimator(candidate.estimator, task).path
    with _threadpools(path).limit(limits=1 if n_rows < MIN_THREADED_ROWS else {"blas": 1}):
        yield


@cache
def _threadpools(path: str) -> ThreadpoolController:  # noqa: ARG001 - each package may load another library
    # Finding the loaded libraries takes 8 ms, as long as a small fit.
    return ThreadpoolController()
