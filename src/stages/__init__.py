"""The five DVC stages, one module each.

`python -m src.stages.NAME` imports this package first: before the stage imports anything,
its command runs in a warm fork instead, if there is one.
"""

from contextlib import suppress

# `src/warm` may be deleted: then each stage runs as a process of its own.
with suppress(ModuleNotFoundError):
    from src.warm.client import hand_over

    hand_over(finish_with="src.utils.sync_runs")
