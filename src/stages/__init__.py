"""The five DVC stages, one module each.

`python -m src.stages.NAME` imports this package first, so the stage can run in a fork of the warm
server, if there is one, before anything else is imported.
"""

from contextlib import suppress

# Without `src/warm`, which may be deleted, each stage runs as its own process.
with suppress(ModuleNotFoundError):
    from src.warm.client import hand_over

    hand_over(finish_with="src.utils.sync_runs --only-unfinished")
