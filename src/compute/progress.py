"""Progress of parts and fits."""

import io
import logging
import math
import sys
from typing import Any

from tqdm import tqdm

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOG_LINES = 15.0


class Progress(tqdm):  # type: ignore[type-arg]  # generic in its stubs only
    """Progress bar on a terminal; elsewhere, a log line every 15 seconds.

    Args:
        total: Number of tasks.
        label: What is done, such as `search`.
        budget: Seconds after which no further task is started.
        unit: What a task is, such as `fit`.
    """

    # Starts no monitoring thread.
    monitor_interval = 0

    def __init__(self, total: int, label: str, budget: float | None = None, unit: str = "fit") -> None:
        self._budget = math.inf if budget is None else budget
        self._is_terminal = sys.stderr.isatty()
        interval = 0.1 if self._is_terminal else SECONDS_BETWEEN_LOG_LINES
        file = sys.stderr if self._is_terminal else io.StringIO()
        when: dict[str, Any] = {"miniters": 1, "mininterval": interval, "delay": interval}
        super().__init__(total=total, desc=label, unit=unit, leave=False, file=file, **when)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar, or log a line."""
        if self._is_terminal:
            super().display(msg, pos)
        elif msg is None:
            total = self.total or 0
            elapsed = self.format_dict["elapsed"]
            seconds = max(0.0, min(elapsed / self.n * (total - self.n), self._budget - elapsed))
            logger.info("%s: %d of %d %ss, about %.0f s left", self.desc, self.n, total, self.unit, seconds)
