"""Refit LightGBM, or an estimator with `partial_fit`, on all training rows, part by part.

The preprocessing stays as fitted on the sample. The transformed rows are stored in files, which are mapped into memory
one at a time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from src.compute.engine import Engine, scratch_folder
from src.data.hashing import hash_row_numbers
from src.data.parts import Part, map_parts
from src.data.target import split_target
from src.train.model import Candidate, ModelSpec, limit_threads, list_categorical, select_columns


@dataclass(frozen=True)
class Piece:
    """Transformed rows in a file."""

    path: Path
    n_rows: int

    def read(self) -> tuple[Any, NDArray[Any]]:
        """Return the rows, an array or a sparse matrix, and their target: numbers, or positions of classes."""
        return _map_piece(self.path)


def can_refit(estimator: Any) -> bool:
    """Return whether an estimator that is fitted on a sample can be refitted on all rows, part by part."""
    return _is_lightgbm(estimator) or (
        hasattr(_inner(estimator), "partial_fit") and not getattr(_inner(estimator), "early_stopping", False)
    )


def refit_on_parts(
    fitted: Pipeline, candidate: Candidate, spec: ModelSpec, X: pd.DataFrame, y: NDArray[Any], parts: Sequence[Part],
    target_column: str,
) -> None:  # fmt: skip
    """Refit the estimator of `[preprocess, estimator]` on all rows, in place.

    LightGBM is fitted as by its own `fit`. For other estimators, `partial_fit` makes at least one pass over all rows,
    and more until the estimator has seen about as many rows as in all iterations of its fit on the sample. Each call
    gets about as many rows as the sample has, drawn from the whole table, so that its order does not matter.

    Args:
        fitted: Fitted on `X` and `y`; `can_refit` is true for its estimator.
        X: Sample of the rows; its index contains their numbers in the whole table.
        y: Target of the sample.
        parts: All rows.
    """
    estimator = fitted["estimator"]
    n_rows = sum(part.n_rows for part in parts)
    n_chunks = 1 if _is_lightgbm(estimator) else math.ceil(n_rows / len(X))
    with scratch_folder() as folder, limit_threads(candidate, spec.task, n_rows):
        sample = folder / "sample.joblib"
        # As in a fit: encodings that use the target are cross-fitted on the rows of the sample.
        joblib.dump((clone(fitted["preprocess"]).fit_transform(X, y), X.index.to_numpy()), sample)
        write = partial(
            _write_pieces,
            fitted=fitted,
            spec=spec,
            sample=sample,
            target_column=target_column,
            folder=folder,
            n_chunks=n_chunks,
        )
        pieces = list(map_parts(write, parts, Engine(), "transform"))
        chunks = [list(chunk) for chunk in zip(*pieces, strict=True)]
        weights = _balanced_weights(pieces, len(fitted.classes_)) if spec.balanced else None
        if _is_lightgbm(estimator):
            _refit_lightgbm(estimator, spec, chunks[0], weights)
        else:
            n_passes = math.ceil(np.max(getattr(_inner(estimator), "n_iter_", 1)) * len(X) / n_rows)
            _refit_by_partial_fit(fitted, chunks, weights, n_passes)
    # Its file is gone.
    _map_piece.cache_clear()


def _write_pieces(
    part: Part, fitted: Pipeline, spec: ModelSpec, sample: Path, target_column: str, folder: Path, n_chunks: int
) -> list[Piece]:
    """Transform a part, and write its rows to one file for each chunk."""
    rows = part.read([*spec.names, target_column])
    X, y = split_target(rows, target_column, spec.task, to_learn=False)
    matrix = fitted["preprocess"].transform(select_columns(X, spec))
    del rows, X
    known, numbers = joblib.load(sample, mmap_mode="r")
    positions = np.flatnonzero((numbers >= part.start) & (numbers < part.start + part.n_rows))
    matrix = _replace_rows(matrix, numbers[positions] - part.start, known[positions])
    if spec.task == "classification":
        y = np.asarray(pd.Index(fitted.classes_).get_indexer(pd.Index(y)), dtype=np.int32)
    chunk_of = hash_row_numbers(part.start, part.n_rows, spec.random_state) % np.uint64(n_chunks)
    pieces = []
    for chunk in range(n_chunks):
        chosen = chunk_of == chunk
        piece = Piece(folder / f"{part.number}-{chunk}.joblib", int(chosen.sum()))
        joblib.dump((matrix[chosen], y[chosen]), piece.path)
        pieces.append(piece)
    return pieces


@lru_cache(maxsize=1)
def _map_piece(path: Path) -> tuple[Any, NDArray[Any]]:
    matrix, y = joblib.load(path, mmap_mode="r")
    if sparse.issparse(matrix):
        matrix.data = _share_dtype(matrix.data)
        return matrix, _share_dtype(y)
    return _share_dtype(matrix), _share_dtype(y)


def _share_dtype(values: NDArray[Any]) -> NDArray[Any]:
    """Use NumPy's shared dtype object; the bytes of a pickled model depend on which objects are shared."""
    return np.asarray(values).view(np.dtype(values.dtype.str))


def _replace_rows(matrix: Any, positions: NDArray[np.int64], new: Any) -> Any:
    if not sparse.issparse(matrix):
        matrix[positions] = new
        return matrix
    order = np.arange(matrix.shape[0])
    order[positions] = matrix.shape[0] + np.arange(len(positions))
    return sparse.vstack([matrix, new], format="csr")[order]


def _balanced_weights(pieces: Sequence[Sequence[Piece]], n_classes: int) -> NDArray[np.float64]:
    """Return the weight of each class, as scikit-learn's `class_weight="balanced"` defines it."""
    counts = np.sum([np.bincount(piece.read()[1], minlength=n_classes) for row in pieces for piece in row], axis=0)
    weights: NDArray[np.float64] = counts.sum() / (n_classes * counts)
    return weights


def _refit_lightgbm(
    estimator: Any, spec: ModelSpec, pieces: Sequence[Piece], weights: NDArray[np.float64] | None
) -> None:
    import lightgbm

    class Rows(lightgbm.Sequence):
        batch_size = 50_000

        def __init__(self, piece: Piece) -> None:
            self.piece = piece

        def __len__(self) -> int:
            return self.piece.n_rows

        def __getitem__(self, index: Any) -> NDArray[np.float64]:
            return np.array(self.piece.read()[0][index])

    y = np.concatenate([piece.read()[1].astype(np.float32) for piece in pieces])
    fitted = estimator.booster_
    # With a Sequence, LightGBM does not derive this seed from `random_state`; the seed chooses the rows for the bins.
    seed = lightgbm.Booster(model_str=fitted.model_to_string()).params["data_random_seed"]
    rows = lightgbm.Dataset(
        [Rows(piece) for piece in pieces],
        label=y,
        weight=None if weights is None else weights[y.astype(np.int32)],
        categorical_feature=list_categorical(spec),
        params=fitted.params | {"data_random_seed": seed},
    )
    booster = lightgbm.train(fitted.params, rows, num_boost_round=estimator.n_estimators)
    booster.free_dataset()
    # The scikit-learn wrapper cannot be fitted on parts.
    estimator._Booster = booster


def _refit_by_partial_fit(
    fitted: Pipeline, chunks: Sequence[Sequence[Piece]], weights: NDArray[np.float64] | None, n_passes: int
) -> None:
    estimator = fitted["estimator"]
    inner = _inner(estimator)
    fresh = clone(inner)
    classes: Any = getattr(inner, "classes_", None)
    params: Mapping[str, Any] = {} if classes is None else {"classes": classes}
    weighs_rows = weights is not None and "class_weight" not in fresh.get_params()
    if weights is not None and not weighs_rows:
        fresh.set_params(class_weight=dict(zip(classes.tolist(), weights.tolist(), strict=True)))
    for _ in range(n_passes):
        for chunk in chunks:
            found = [piece.read() for piece in chunk]
            X = _stack([matrix for matrix, _ in found])
            y = np.concatenate([target for _, target in found])
            row_params = {"sample_weight": weights[y]} if weights is not None and weighs_rows else {}
            if classes is not None:
                y = classes[y]
            elif inner is not estimator:
                y = estimator.transformer_.transform(y[:, None])[:, 0]
            fresh.partial_fit(X, y, **params, **row_params)
    if weights is not None and not weighs_rows:
        fresh.set_params(class_weight="balanced")
    if inner is estimator:
        fitted.steps[-1] = ("estimator", fresh)
    else:
        estimator.regressor_ = fresh


def _stack(matrices: Sequence[Any]) -> Any:
    return sparse.vstack(matrices, format="csr") if sparse.issparse(matrices[0]) else np.concatenate(matrices)


def _inner(estimator: Any) -> Any:
    """Return the estimator inside `TransformedTargetRegressor`, or the estimator itself."""
    return estimator.regressor_ if isinstance(estimator, TransformedTargetRegressor) else estimator


def _is_lightgbm(estimator: Any) -> bool:
    return hasattr(estimator, "booster_") and type(estimator).__module__.startswith("lightgbm.")
