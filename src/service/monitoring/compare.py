"""Compare new rows with the profile of the training rows, by two-sample tests.

The profile is itself a sample, so a test against its shares as if they were exact would give false alarms.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from src.report.predictions import Floats
from src.report.profile import LEVEL_KINDS, UNLISTED, ColumnProfile, Reference, encode_column

# Levels with fewer expected rows are pooled (Cochran 1954).
MIN_EXPECTED = 5
N_PSI_BINS = 10


@dataclass(frozen=True)
class Comparison:
    """One test of new rows against earlier ones.

    Attributes:
        subject: `column`, `prediction`, `joint` or `errors`.
        name: Name of the column, of the class or of the metric.
        what: What is compared, such as `distribution` or `missing`.
        test: Name of the test.
        p: Probability of a difference as large as this one without drift.
        effect: Largest difference between the two distribution functions, or between two shares, in [0, 1].
        p_adjusted: The same among all tests, by Holm's method.
        is_drift: Whether it is unlikely and large.
    """

    subject: str
    name: str
    what: str
    test: str
    p: float
    effect: float
    p_adjusted: float = 1.0
    is_drift: bool = False


@dataclass(frozen=True)
class ColumnSummary:
    """What is shown of a column besides its tests; shares in [0, 1], None where undefined.

    Attributes:
        unseen: Share of values that no training row has; None if the profile does not list all levels.
        outside: Share of numbers, lengths or dates outside the range of the training rows.
        psi: Population stability index, dimensionless.
    """

    name: str
    kind: str
    missing_before: float
    missing_now: float
    unseen: float | None
    outside: float | None
    psi: float | None


def decide(comparisons: Sequence[Comparison], alpha: float, min_effect: float) -> list[Comparison]:
    """Correct the p-values for their number, and mark what is drift.

    Holm's method (1979) keeps the probability of any false alarm under alpha, however the tests depend on each other.
    A false discovery rate would be a promise about the share of false columns, not about the alarm.
    """
    order = sorted(range(len(comparisons)), key=lambda index: comparisons[index].p)
    adjusted, highest = {}, 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, comparisons[index].p * (len(order) - rank)))
        adjusted[index] = highest
    return [
        replace(each, p_adjusted=adjusted[index], is_drift=adjusted[index] <= alpha and each.effect >= min_effect)
        for index, each in enumerate(comparisons)
    ]


def compare_columns(reference: Reference, rows: pd.DataFrame) -> Iterator[Comparison]:
    """Compare the distribution and the missing values of each column; dates are always later, so only the latter.

    Args:
        rows: Converted raw columns, shape (n_rows, n_columns); columns that were not recorded are skipped.
    """
    for name, profile in reference.columns.items():
        if name not in rows:
            continue
        is_missing = rows[name].isna().to_numpy()
        counts = np.array([[profile.n_missing, reference.n_train - profile.n_missing],
                           [is_missing.sum(), (~is_missing).sum()]])  # fmt: skip
        if counts[:, 0].any() and counts[:, 1].any():
            p, effect = compare_shares(counts)
            yield Comparison("column", name, "missing", "Fisher's exact", p, effect)
        if profile.kind in LEVEL_KINDS:
            p, effect = compare_levels(reference_counts(reference, profile), count_levels(rows[name], profile))
            yield Comparison("column", name, "distribution", "chi-squared", p, effect)
        elif profile.kind != "date":
            now = encode_column(rows[name], profile)
            yield _compare_numbers("column", name, reference_sample(reference, name), now)


def compare_predictions(
    reference: Reference, labels: Sequence[str] | None, scores: Mapping[str, Floats]
) -> Iterator[Comparison]:
    """Compare predictions with those of the test rows.

    Args:
        labels: Predicted classes as text; None for a regression.
        scores: Probabilities by class, or predicted numbers, each of shape (n_rows,).
    """
    if labels is not None:
        before = np.array(list(reference.labels.values()))
        counts = pd.Series(labels).value_counts()
        now = np.array([int(counts.get(name, 0)) for name in reference.labels])
        now, before = (np.append(now, counts.sum() - now.sum()), np.append(before, 0))
        p, effect = compare_levels(before, now)
        yield Comparison("prediction", reference.target, "predicted classes", "chi-squared", p, effect)
    for name, values in reference.scores.items():
        if name in scores:
            what = f"probability of {name}" if labels is not None else "predicted numbers"
            comparison = _compare_numbers("prediction", name, np.array(values), scores[name])
            yield replace(comparison, what=what)


def compare_errors(reference: Reference, losses: Floats) -> Comparison:
    """Compare losses with those of the test rows; only larger ones are drift.

    Args:
        losses: 1 for a wrong class and 0 for a right one, or the absolute error, shape (n_rows,).
    """
    before = np.array(reference.losses)
    if reference.task == "classification":
        counts = np.array([[len(losses) - losses.sum(), losses.sum()], [len(before) - before.sum(), before.sum()]])
        p = float(stats.fisher_exact(counts.astype(int), alternative="less").pvalue)
        return Comparison("errors", reference.target, "wrong classes", "Fisher's exact", p,
                          max(0.0, float(losses.mean() - before.mean())))  # fmt: skip
    found = stats.mannwhitneyu(losses, before, alternative="greater", method="asymptotic")
    effect = max(0.0, 2 * float(found.statistic) / (len(losses) * len(before)) - 1)
    return Comparison("errors", reference.target, "absolute errors", "Mann-Whitney", float(found.pvalue), effect)


def compare_shares(counts: NDArray[np.intp]) -> tuple[float, float]:
    """Compare two shares exactly.

    Args:
        counts: Rows with and without a property, shape (2, 2): earlier rows, new rows.

    Returns:
        The p-value, and the difference between the shares.
    """
    shares = counts[:, 0] / np.maximum(counts.sum(axis=1), 1)
    return float(stats.fisher_exact(counts).pvalue), float(abs(shares[0] - shares[1]))


def compare_levels(before: NDArray[np.intp], now: NDArray[np.intp]) -> tuple[float, float]:
    """Compare the shares of levels.

    Args:
        before: Earlier rows of each level, shape (n_levels,).
        now: New rows of each level.

    Returns:
        The p-value, and the largest difference between two shares.
    """
    counts = np.array([before, now], dtype=float)
    rows = counts.sum(axis=1)
    if not rows.all():
        return 1.0, 0.0
    effect = float(np.abs(counts[0] / rows[0] - counts[1] / rows[1]).max())
    pooled = _pool(counts)
    if pooled.shape[1] < 2:
        return 1.0, effect
    if pooled.shape[1] == 2:
        return float(stats.fisher_exact(pooled.astype(int)).pvalue), effect
    return float(stats.chi2_contingency(pooled).pvalue), effect


def _pool(counts: Floats) -> Floats:
    """Pool the rarest levels until each group of levels has enough expected rows."""
    counts = counts[:, np.argsort(-counts.sum(axis=0), kind="stable")]
    counts = counts[:, counts.sum(axis=0) > 0]
    smallest = counts.sum(axis=1).min() / counts.sum()
    while counts.shape[1] > 1 and counts[:, -1].sum() * smallest < MIN_EXPECTED:
        counts = np.column_stack([counts[:, :-2], counts[:, -2:].sum(axis=1)])
        # The group may now have more rows than single levels before it.
        counts = counts[:, np.argsort(-counts.sum(axis=0), kind="stable")]
    return counts


def summarize_columns(reference: Reference, rows: pd.DataFrame) -> list[ColumnSummary]:
    """Compute shares and the population stability index of each recorded column."""
    return [
        _summarize(name, profile, reference, rows[name]) for name, profile in reference.columns.items() if name in rows
    ]


def _summarize(name: str, profile: ColumnProfile, reference: Reference, column: pd.Series) -> ColumnSummary:
    n_missing = int(column.isna().sum())
    n_known = len(column) - n_missing
    unseen = outside = psi = None
    if profile.kind in LEVEL_KINDS:
        counts = count_levels(column, profile)
        if n_known and profile.n_levels == len(profile.levels):
            unseen = float(counts[-1] / n_known)
        psi = stability_index(reference_counts(reference, profile), counts)
    elif profile.minimum is not None and n_known:
        if profile.kind == "date":
            low, high = pd.Timestamp(profile.minimum), pd.Timestamp(str(profile.maximum))
            outside = float(((column < low) | (column > high)).sum() / n_known)
        else:
            now = encode_column(column, profile)
            outside = float(((now < float(profile.minimum)) | (now > float(profile.maximum or 0))).sum() / n_known)
            psi = stability_index(*_bin(reference_sample(reference, name), now))
    missing_before = profile.n_missing / reference.n_train
    return ColumnSummary(name, profile.kind, missing_before, n_missing / len(column), unseen, outside, psi)


def stability_index(before: NDArray[np.intp], now: NDArray[np.intp]) -> float | None:
    """Compute the population stability index from the rows of each bin; half a row is added to each."""
    if not before.sum() or not now.sum():
        return None
    shares = [(counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (before, now)]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def reference_sample(reference: Reference, name: str) -> Floats:
    """Return the sampled values of a column; NaN where they are missing."""
    return np.array(reference.sample[name], dtype=float)


def count_levels(column: pd.Series, profile: ColumnProfile) -> NDArray[np.intp]:
    """Count the rows of each listed level, and last those of all others."""
    codes = encode_column(column, profile)
    codes = codes[~np.isnan(codes)].astype(int)
    return np.append(np.bincount(codes[codes != UNLISTED], minlength=len(profile.levels)), (codes == UNLISTED).sum())


def reference_counts(reference: Reference, profile: ColumnProfile) -> NDArray[np.intp]:
    """Return the training rows of each listed level, and last those of all others."""
    listed = np.array(list(profile.levels.values()), dtype=int)
    return np.append(listed, reference.n_train - profile.n_missing - listed.sum())


def _bin(before: Floats, now: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    known = before[~np.isnan(before)]
    if not len(known):
        return np.zeros(1, dtype=int), np.zeros(1, dtype=int)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, N_PSI_BINS + 1)[1:-1]))
    bins = [np.searchsorted(edges, values[~np.isnan(values)], side="left") for values in (before, now)]
    first, second = (np.bincount(places, minlength=len(edges) + 1) for places in bins)
    return first, second


def _compare_numbers(subject: str, name: str, before: Floats, now: Floats) -> Comparison:
    before, now = before[~np.isnan(before)], now[~np.isnan(now)]
    p, effect = 1.0, 0.0
    if len(before) and len(now):
        # The exact distribution takes a thousand times as long, and is almost the same.
        found: Any = stats.ks_2samp(before, now, method="asymp")
        p, effect = float(found.pvalue), float(found.statistic)
    return Comparison(subject, name, "distribution", "Kolmogorov-Smirnov", p, effect)
