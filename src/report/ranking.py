"""How well an order of rows separates one class from the rest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Separation:
    """What is above each threshold, from the highest score to the lowest.

    Attributes:
        code: The class.
        true_positives: Rows of the class above the threshold, shape (n_thresholds,), from 0.
        false_positives: Rows of others, shape (n_thresholds,), from 0.
    """

    code: int
    true_positives: Counts
    false_positives: Counts

    @property
    def recall(self) -> Floats:
        """Share of the rows of the class that are above, also called the true positive rate."""
        return np.asarray(self.true_positives / self.true_positives[-1], dtype=float)

    @property
    def false_positive_rate(self) -> Floats:
        """Share of the other rows that are above."""
        return np.asarray(self.false_positives / self.false_positives[-1], dtype=float)

    @property
    def precision(self) -> Floats:
        """Share of the rows above that are of the class; 1 where none is."""
        above = self.true_positives + self.false_positives
        return np.where(above > 0, self.true_positives / np.maximum(above, 1), 1.0)

    @property
    def prevalence(self) -> float:
        """Share of all rows that are of the class."""
        return float(self.precision[-1])

    @property
    def roc_auc(self) -> float:
        """Area under the ROC curve: the share of pairs that are in order, a tie counts half."""
        return float(np.trapezoid(self.recall, self.false_positive_rate))

    @property
    def average_precision(self) -> float:
        """Precision averaged over the steps of the recall."""
        return float((np.diff(self.recall) * self.precision[1:]).sum())


def separate(code: int, scores: Floats, is_positive: NDArray[np.bool_]) -> Separation:
    """Count from the highest score on.

    Args:
        code: The class.
        scores: Shape (n_samples,).
        is_positive: Shape (n_samples,); both kinds occur.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_equal = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    true_positives = np.cumsum(is_positive[order])[last_of_equal]
    return Separation(
        code,
        true_positives=np.concatenate([[0], true_positives]),
        false_positives=np.concatenate([[0], last_of_equal + 1 - true_positives]),
    )


def placements(scores: Floats, is_positive: NDArray[np.bool_]) -> Floats:
    """Tell for each row which share of the other kind it is rightly ordered against.

    The mean over the rows of either kind is the area under the ROC curve (DeLong et al.
    1988; by ranks, Sun & Xu 2014).

    Args:
        scores: Shape (n_samples,).
        is_positive: Shape (n_samples,); both kinds occur.

    Returns:
        Shape (n_samples,), from 0 to 1; a tie counts half.
    """
    n_positive = int(is_positive.sum())
    shares = midranks(scores)
    shares[is_positive] -= midranks(scores[is_positive])
    shares[is_positive] /= len(scores) - n_positive
    shares[~is_positive] = 1 - (shares[~is_positive] - midranks(scores[~is_positive])) / n_positive
    return shares


def midranks(values: Floats) -> Floats:
    """Rank values from 1; equal ones share the mean of their ranks.

    >>> midranks(np.array([5.0, 1.0, 5.0]))
    array([2.5, 1. , 2.5])
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks
