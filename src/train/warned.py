"""Warnings of libraries during hundreds of fits: counted, and told in a few lines."""

import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sklearn.exceptions import ConvergenceWarning

logger = logging.getLogger(__name__)

# Category and text of each warning.
Notes = list[tuple[str, str]]
MAX_LINES = 5
# Told once, by the name of the class, before the search.
_TOLD_ALREADY = ("The least populated class in y has only",)


@contextmanager
def caught_notes() -> Iterator[Notes]:
    """Collect the warnings that are given meanwhile."""
    notes: Notes = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield notes
        finally:
            texts = [(item.category.__name__, " ".join(str(item.message).split())) for item in caught]
            notes += [note for note in texts if not note[1].startswith(_TOLD_ALREADY)]


def tell_notes(fits: Iterable[tuple[str, Notes]]) -> None:
    """Log what many fits warned of: one line of those that did not converge, one for each other text.

    Args:
        fits: Name of the estimator of each fit, and its notes.
    """
    n_fits, unfinished, others = 0, Counter[str](), Counter[tuple[str, str]]()
    for name, notes in fits:
        n_fits += 1
        # One fit may warn of many of its parts.
        unfinished.update([name] if any(kind == ConvergenceWarning.__name__ for kind, _ in notes) else [])
        others.update({note for note in notes if note[0] != ConvergenceWarning.__name__})
    if unfinished:
        told = ", ".join(f"{name} {count}" for name, count in sorted(unfinished.items()))
        logger.warning(
            "%d of %d fits did not converge (%s): raise max_iter, or scale the numbers",
            unfinished.total(),
            n_fits,
            told,
        )
    for (kind, text), count in others.most_common(MAX_LINES):
        logger.warning("%d of %d fits warned: %s: %.300s", count, n_fits, kind, text)
    if len(others) > MAX_LINES:
        logger.warning("and of %d further things", len(others) - MAX_LINES)
