"""Find columns that give the target by arithmetic: a sum, a difference, a product, a ratio or a comparison.

Such columns are usually recorded together with the target, or computed from it, so they are not known before it.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype
from threadpoolctl import threadpool_limits

from src.config.train import Task
from src.text import one_line

Floats = NDArray[np.float64]

MAX_COLUMNS, MIN_ROWS = 5, 20
# Rows that are looked at, fewer of a wide table.
MAX_ROWS, MIN_SAMPLE, MAX_NUMBERS = 4_000, 1_000, 400_000
# R² of an exact relation. The prices of diamonds, from all columns, stay below 0.99.
EXACT = 0.9999
# Share of rows that a relation may miss, because of typing errors for example.
MISSED = 0.05
# A rounded target has few values, so an exact relation leaves more of its variance.
EXACT_IF_ROUNDED, ROUNDING_ERROR = 0.98, 0.35
# Rank correlation of columns that may be in the order of the target, and its square without the rows that fit least.
MIN_CORRELATION, EXACT_ORDER = 0.9, 0.999
# Only the columns that depend most on the classes are compared and added.
MAX_COMPARED, MAX_CLASSES = 100, 10
# Share of the errors of the most frequent class that may remain.
REMAINING_ERRORS = 0.05
# A class that is merely easy has few rows near the limit, or errors there: standard deviations, rows, their share, and
# the share of the errors of the most frequent class near it that may remain.
NEAR, MIN_NEAR_ROWS, MIN_NEAR_SHARE, NEAR_ERRORS = 0.1, 10, 0.02, 0.3
# Of the first linear model of 0 and 1; a limit that 5 % of normally distributed sums exceed has 0.2.
MIN_SCREENED_R2 = 0.1
# Share of rows in which a product may be zero.
MAX_ZEROS = 0.5
LARGEST, MAX_NAME = 1e30, 60


@dataclass(frozen=True)
class Relation:
    """Columns that give the target, and how."""

    columns: list[str]
    message: str


def find_relations(
    X: pd.DataFrame, names: Sequence[str], y: "pd.Series[Any]", task: Task, random_state: int
) -> list[Relation]:
    """Find at most a linear and a multiplicative relation, or comparisons, of at most `MAX_COLUMNS` numbers.

    Args:
        X: Rows, shape (n_samples, n_columns).
        names: Columns to combine; those that are not numbers are left out.
        y: Target without missing values, shape (n_samples,).
        random_state: Seed of the sample of at most `MAX_ROWS` rows.
    """
    # On so few numbers, threads cost more than they gain.
    with threadpool_limits(1):
        return _find_relations(X, names, y, task, random_state)


def _find_relations(
    X: pd.DataFrame, names: Sequence[str], y: "pd.Series[Any]", task: Task, random_state: int
) -> list[Relation]:
    names = [name for name in names if is_numeric_dtype(X[name])]
    n_rows = min(MAX_ROWS, max(MIN_SAMPLE, MAX_NUMBERS // max(1, len(names))))
    rows = np.random.default_rng(random_state).permutation(len(X))[:n_rows]
    if len(rows) < MIN_ROWS or not names:
        return []
    numbers = np.column_stack([X[name].iloc[rows].to_numpy(dtype=float, na_value=np.nan) for name in names])
    numbers = numbers.clip(-LARGEST, LARGEST)
    target = y.iloc[rows]
    if task == "regression":
        y_known = target.to_numpy(dtype=float).clip(-LARGEST, LARGEST)
        return list(_find_formulas(numbers, names, y_known)) or _find_orders(numbers, names, y_known)
    codes, labels = pd.factorize(target, sort=False)
    if not 2 <= len(labels) <= MAX_CLASSES:
        return []
    best = sorted(_rank_columns(numbers, codes)[:MAX_COMPARED])
    numbers, names = numbers[:, best], [names[column] for column in best]
    if relation := _find_comparison(numbers, names, codes):
        return [relation]
    asked = range(1, 2) if len(labels) == 2 else range(len(labels))
    found = (_find_limit(numbers, names, codes == code, labels[code]) for code in asked)
    return next(([relation] for relation in found if relation), [])


def _find_formulas(numbers: Floats, names: Sequence[str], y: Floats) -> Iterator[Relation]:
    """Find a sum and a product that equal the target."""
    grid = _find_grid(y)
    for is_product in (False, True):
        values, target = (_log(numbers), _log(y)) if is_product else (numbers, y)
        # A rounded product has a relative error that differs by row, so its grid is unknown.
        error = 0.0 if is_product else ROUNDING_ERROR * grid
        # A product is zero where one of its columns is, and such rows have no logarithm.
        if is_product and (y.min() < 0 or np.isnan(target).mean() > MAX_ZEROS):
            return
        values, target = values[~np.isnan(target)], target[~np.isnan(target)]
        for chosen in _choose_columns(values, target):
            if (fit := _fit_exactly(values[:, chosen], target, error)) is None:
                continue
            columns, (coefs, is_rounded) = _drop_needless(values, target, chosen, fit, error)
            formula = _format_product if is_product else _format_sum
            text = formula([names[column] for column in columns], coefs, float(np.std(target)))
            verb = "gives" if len(columns) == 1 else "give"
            how = "to within rounding" if is_rounded else "almost exactly"
            yield Relation([names[column] for column in columns], f"{text} {verb} the target {how}")
            return


def _find_orders(numbers: Floats, names: Sequence[str], y: Floats) -> list[Relation]:
    """Find columns in the order of the target, such as its rank or its logarithm."""
    ranks, target = pd.DataFrame(numbers).rank().to_numpy(), pd.Series(y).rank().to_numpy()
    found = []
    for column in np.flatnonzero(_standardize(ranks).any(axis=0)).tolist():
        is_known = ~np.isnan(ranks[:, column])
        x, y_known = ranks[is_known, column], target[is_known]
        if not np.ptp(x) or not np.ptp(y_known) or abs(np.corrcoef(x, y_known)[0, 1]) < MIN_CORRELATION:
            continue
        if _fit_exactly(ranks[:, [column]], np.asarray(target, dtype=float), 0.0, EXACT_ORDER) is not None:
            text = f"{_show(names[column])} orders the rows almost exactly as the target does"
            found.append(Relation([names[column]], text))
    return found


def _choose_columns(values: Floats, y: Floats) -> Iterator[list[int]]:
    """Yield sets of columns that may give the target: of a forward selection, and of the largest coefficients."""
    standard = _standardize(values)
    order = _select_forward(standard, y)
    usable = np.flatnonzero(standard.any(axis=0))
    sets = [order[: n + 1] for n in range(len(order))]
    # Two columns whose difference is the target may both be unrelated to it.
    if 2 <= len(usable) <= len(y) // 4:
        coefs = np.zeros(values.shape[1])
        coefs[usable] = np.linalg.lstsq(standard[:, usable], y - y.mean(), rcond=None)[0]
        largest = np.argsort(-np.abs(coefs), kind="stable").tolist()
        sets += [largest[:n] for n in range(2, min(MAX_COLUMNS, len(usable)) + 1)]
    yield from sorted(map(sorted, sets), key=len)


def _select_forward(standard: Floats, y: Floats) -> list[int]:
    """Choose columns that reduce the squared error of a linear model most, one at a time."""
    rest, residual, chosen = standard.copy(), y - y.mean(), []
    for _ in range(MAX_COLUMNS):
        norms = (rest**2).sum(axis=0)
        # What is left of a column that others give is rounding errors.
        norms[norms < 1e-9 * len(rest)] = np.inf
        if np.isinf(norms).all():
            break
        best = int(np.argmax((rest.T @ residual) ** 2 / norms))
        direction = rest[:, best] / np.sqrt(norms[best])
        residual = residual - direction * (direction @ residual)
        rest -= np.outer(direction, direction @ rest)
        chosen.append(best)
    return chosen


def _fit_exactly(values: Floats, y: Floats, error: float, exact: float = EXACT) -> tuple[Floats, bool] | None:
    """Fit a linear model to every other row, and check it on the rest.

    The rows that fit least are left out of both, and rows with a missing value as well.

    Returns:
        Coefficients, the intercept last, and whether the residuals are those of a rounded target; None if the
        model is not exact.
    """
    is_known = ~np.isnan(values).any(axis=1)
    if is_known.sum() < max(MIN_ROWS, 4 * (values.shape[1] + 1)):
        return None
    A, y = np.column_stack([values[is_known], np.ones(is_known.sum())]), y[is_known]
    # The columns may differ by many orders of magnitude.
    scale = np.abs(A).max(axis=0)
    if not scale.all():
        return None
    A = A / scale
    coefs = _fit_trimmed(A[::2], y[::2])
    asked, true = A[1::2], y[1::2]
    residuals = np.abs(true - asked @ coefs)
    kept = np.argsort(residuals, kind="stable")[: math.ceil((1 - MISSED) * len(residuals))]
    total, left = float(((true[kept] - true[kept].mean()) ** 2).sum()), float((residuals[kept] ** 2).sum())
    r2 = 1 - left / total if total else 0.0
    is_rounded = bool(error and np.sqrt(left / len(kept)) <= error and r2 >= EXACT_IF_ROUNDED)
    return (_fit_trimmed(A, y) / scale, is_rounded) if r2 >= exact or is_rounded else None


def _fit_trimmed(A: Floats, y: Floats) -> Floats:
    """Fit least trimmed squares, by repeatedly leaving out the rows that fit least (Rousseeuw & Van Driessen 2006)."""
    kept = np.arange(len(y))
    for _ in range(10):
        coefs = np.linalg.lstsq(A[kept], y[kept], rcond=None)[0]
        kept = np.argsort(np.abs(y - A @ coefs), kind="stable")[: math.ceil((1 - MISSED) * len(y))]
    return np.asarray(coefs)


def _drop_needless(
    values: Floats, y: Floats, columns: list[int], fit: tuple[Floats, bool], error: float
) -> tuple[list[int], tuple[Floats, bool]]:
    """Drop the columns without which the relation is still exact."""
    for column in list(columns):
        fewer = [other for other in columns if other != column]
        if fewer and (found := _fit_exactly(values[:, fewer], y, error)) is not None:
            columns, fit = fewer, found
    return columns, fit


def _find_comparison(numbers: Floats, names: Sequence[str], codes: NDArray[np.intp]) -> Relation | None:
    """Find two columns of which the larger one decides the class."""
    columns = list(range(len(names)))
    one_hot = np.eye(codes.max() + 1)[codes]
    best: tuple[float, int, int] | None = None
    for place, first in enumerate(columns[:-1]):
        others = columns[place + 1 :]
        difference = numbers[:, others] - numbers[:, [first]]
        # Rows of each class where the other is larger, smaller and equal, shape (3, n_classes, n_others).
        counts = np.stack([one_hot.T @ side for side in (difference > 0, difference < 0, difference == 0)])
        n_rows = counts.sum(axis=(0, 1))
        errors = n_rows - counts.max(axis=1).sum(axis=0)
        baseline = n_rows - counts.sum(axis=0).max(axis=0)
        # Each of two sides needs some rows.
        enough = np.sort(counts.sum(axis=1), axis=0)[1] >= MIN_ROWS // 4
        shares = np.where(enough & (n_rows >= MIN_ROWS) & (baseline > 0), errors / np.maximum(baseline, 1), 1.0)
        for found in np.flatnonzero(shares <= REMAINING_ERRORS).tolist():
            is_better = best is None or shares[found] < best[0]
            if is_better and _is_sharp(difference[:, found], codes):
                best = float(shares[found]), first, others[found]
    if best is None:
        return None
    a, b = (names[column] for column in sorted(best[1:]))
    return Relation([a, b], f"which of {_show(a)} and {_show(b)} is larger decides the class")


def _is_sharp(difference: Floats, codes: NDArray[np.intp]) -> bool:
    """Return whether there are rows where two columns are almost equal, and the sign decides their class as well."""
    is_known = ~np.isnan(difference)
    difference, codes = difference[is_known], codes[is_known]
    size = np.abs(difference)
    # Of whole numbers, those that differ by one are near.
    near = size <= max(NEAR * difference.std(), size[size > 0].min())
    counts = pd.crosstab(np.sign(difference[near]), codes[near])
    n_near = int(near.sum())
    if n_near < max(MIN_NEAR_ROWS, MIN_NEAR_SHARE * len(difference)):
        return False
    errors, baseline = n_near - counts.max(axis=1).sum(), n_near - counts.sum().max()
    return bool(baseline and errors <= NEAR_ERRORS * baseline)


def _find_limit(numbers: Floats, names: Sequence[str], is_class: NDArray[np.bool_], label: Any) -> Relation | None:
    """Find a sum or a product of columns that is above a limit for the rows of one class only."""
    y = is_class.astype(float)
    if not MIN_ROWS // 2 <= y.sum() <= len(y) - MIN_ROWS // 2:
        return None
    for values, formula in ((numbers, _format_sum), (_log(numbers), _format_product)):
        standard = _standardize(values)
        order = _select_forward(standard, y)
        for n_columns in range(2, len(order) + 1):
            # Fewer columns separate the class no better than all that were selected.
            if n_columns == 2 and not _is_nearly_separated(standard[:, order], values[:, order], is_class):
                break
            chosen = sorted(order[:n_columns])
            part = values[:, chosen]
            is_known = ~np.isnan(part).any(axis=1)
            weights = _fit_limit(standard[:, chosen][is_known], part[is_known], is_class[is_known])
            if weights is None:
                continue
            columns = [names[column] for column in chosen]
            weights = np.array([float(f"{weight:.2g}") for weight in weights * np.sign(weights.sum() or 1.0)])
            text = formula(columns, np.append(weights, 0.0), 1.0)
            return Relation(columns, f"whether {text} is above a limit decides the class {_show(label)}")
    return None


def _is_nearly_separated(standard: Floats, values: Floats, is_class: NDArray[np.bool_]) -> bool:
    """Return whether a linear model leaves few errors in rows without missing values, on which it is fitted."""
    is_known = ~np.isnan(values).any(axis=1)
    standard, is_class = standard[is_known], is_class[is_known]
    if len(standard) < 2 * MIN_ROWS or is_class.all() or not is_class.any():
        return False
    y = is_class - is_class.mean()
    r2 = 1 - ((y - standard @ np.linalg.lstsq(standard, y, rcond=None)[0]) ** 2).sum() / (y**2).sum()
    if r2 < MIN_SCREENED_R2:
        return False
    n_errors = (_fit_weights(standard, is_class)[1] != is_class).sum()
    return bool(n_errors <= 2 * REMAINING_ERRORS * min(is_class.sum(), (~is_class).sum()))


def _fit_weights(standard: Floats, is_class: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Fit a logistic regression, and return its weights and what it predicts."""
    # Importing scikit-learn takes 1 s.
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # The weights of separable classes grow without bound, but their ratios converge.
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=1e4, tol=1e-6, max_iter=300).fit(standard, is_class)
    return model.coef_[0], model.predict(standard)


def _fit_limit(standard: Floats, values: Floats, is_class: NDArray[np.bool_]) -> Floats | None:
    """Fit weights whose sum has a limit that separates a class, also in the rows near it; None if there are none."""
    if len(values) < 2 * MIN_ROWS or not 0 < is_class[::2].sum() < len(is_class[::2]):
        return None
    weights = _fit_weights(standard[::2], is_class[::2])[0] / np.maximum(values.std(axis=0), 1 / LARGEST)
    weights = weights / (np.abs(weights).max() or 1.0)
    # A plain sum or difference.
    candidates = [np.sign(weights)] if (np.abs(weights) > 0.7).all() else []
    return next((each for each in [*candidates, weights] if _separates(values @ each, is_class)), None)


def _separates(sums: Floats, is_class: NDArray[np.bool_]) -> bool:
    """Return whether a limit of the sums, found in every other row, separates the class in the others."""
    order = np.argsort(sums[::2], kind="stable")
    known, classes = sums[::2][order], is_class[::2][order]
    # Errors if the class begins after the first n rows.
    errors = np.append(0, classes.cumsum()) + np.append((~classes)[::-1].cumsum()[::-1], 0)
    n_below = int(np.argmin(errors[1:-1])) + 1
    limit = (known[n_below - 1] + known[n_below]) / 2
    asked, true = sums[1::2], is_class[1::2]
    is_wrong = (asked > limit) != true
    near = np.abs(sums - limit) < NEAR * sums.std()
    n_near = near.sum()
    if n_near < max(MIN_NEAR_ROWS, MIN_NEAR_SHARE * len(sums)):
        return False
    baseline = min(true.mean(), 1 - true.mean())
    near_errors, near_baseline = (
        ((sums > limit) != is_class)[near].sum(),
        min(is_class[near].sum(), (~is_class)[near].sum()),
    )
    is_sharp = near_baseline and near_errors <= NEAR_ERRORS * near_baseline
    return bool(is_sharp and is_wrong.mean() <= REMAINING_ERRORS * baseline)


def _rank_columns(numbers: Floats, codes: NDArray[np.intp]) -> list[int]:
    """Order columns by the variance between the means of the classes."""
    standard = _standardize(numbers)
    sums = np.stack([standard[codes == code].sum(axis=0) for code in range(codes.max() + 1)])
    between = (sums**2 / np.bincount(codes)[:, None]).sum(axis=0)
    return [int(column) for column in np.argsort(-between, kind="stable") if standard[:, column].any()]


def _standardize(values: Floats) -> Floats:
    """Standardize columns, with 0 for missing values and for columns without two values."""
    is_known = ~np.isnan(values)
    n_known = np.maximum(is_known.sum(axis=0), 1)
    centred = np.where(is_known, values, 0.0)
    centred = np.where(is_known, values - centred.sum(axis=0) / n_known, 0.0)
    spread = np.sqrt((centred**2).sum(axis=0) / n_known)
    is_usable = (spread > 0) & (n_known >= len(values) / 2)
    return np.asarray(np.where(is_usable, centred / np.where(is_usable, spread, 1.0), 0.0))


def _log(values: Floats) -> Floats:
    """Compute logarithms, missing for 0, and for all values of a column with a negative one."""
    values = np.where(np.min(np.where(np.isnan(values), 0.0, values), axis=0) < 0, np.nan, values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values > 0, np.log(values), np.nan)


def _find_grid(y: Floats) -> float:
    """Find the step of rounded values: 100, 10, 1, 0.1, 0.01 or 0.001; 0 if they are not rounded."""
    for power in range(2, -4, -1):
        steps = y / 10.0**power
        if np.abs(steps - np.rint(steps)).max() < 1e-6 and np.abs(steps).max() < 1e12:
            return float(10.0**power)
    return 0.0


def _format_sum(names: Sequence[str], coefs: Floats, spread: float) -> str:
    """Format a sum such as `'a' - 2 × 'b' + 3`; the intercept is the last coefficient."""
    text = ""
    for name, coef in sorted(zip(names, coefs[:-1], strict=True), key=lambda term: term[1] < 0):
        size = abs(_snap(float(coef)))
        term = _show(name) if size == 1 else f"{size:.4g} × {_show(name)}"
        text += (f" - {term}" if text else f"-{term}") if coef < 0 else (f" + {term}" if text else term)
    constant = float(coefs[-1])
    return text if abs(constant) < 0.01 * spread else f"{text} {'-' if constant < 0 else '+'} {abs(constant):.4g}"


def _format_product(names: Sequence[str], coefs: Floats, spread: float) -> str:
    """Format a product such as `2 × 'a' ÷ 'b'^2`; the coefficients are powers, and the last one is a logarithm."""
    factor = math.exp(min(float(coefs[-1]), 100.0))
    text = "" if abs(factor - 1) < 0.01 * min(spread, 1) else f"{factor:.4g}"
    for name, coef in sorted(zip(names, coefs[:-1], strict=True), key=lambda term: term[1] < 0):
        size = abs(_snap(float(coef)))
        term = _show(name) if size == 1 else f"{_show(name)}^{size:.4g}"
        text += f" ÷ {term}" if coef < 0 and text else f"1 ÷ {term}" if coef < 0 else f" × {term}" if text else term
    return text


def _snap(coef: float) -> float:
    """Round a coefficient that is almost a whole number or a half."""
    near = round(2 * coef) / 2
    return near if near and abs(coef - near) < 0.01 else coef


def _show(label: Any) -> str:
    plain = label.item() if isinstance(label, np.generic) else label
    return one_line(repr(plain), MAX_NAME)
