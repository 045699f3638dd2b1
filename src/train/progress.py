"""How far a search is: a bar on a terminal, else a log line every so often."""

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Count fits and tell the time left.

    Args:
        total: Number of fits.
        description: What is counted.
    """

    def __init__(self, total: int, description: str) -> None:
        self._total, self._description, self._done = total, description, 0
        self._is_bar = sys.stderr.isatty()
        self._started = self._told = time.monotonic()
        self._bar = tqdm(total=total, desc=description, unit="fit", leave=False, disable=not self._is_bar)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._bar.close()

    def advance(self) -> None:
        """Count one fit more."""
        self._done += 1
        self._bar.update()
        now = time.monotonic()
        if not self._is_bar and now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            left = (now - self._started) / self._done * (self._total - self._done)
            logger.info("%s: %d of %d fits, about %.0f s left", self._description, self._done, self._total, left)
