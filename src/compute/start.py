"""Start the engine that the settings name."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from src.compute.engine import Engine
from src.config.compute import Compute


@contextmanager
def start_engine(settings: Compute, reads: Sequence[Path] = ()) -> Iterator[Engine]:
    """Yield the engine that the settings name.

    Args:
        settings: The section `compute`.
        reads: Files and folders that tasks will read.

    Raises:
        ComputeError: The cluster cannot be used; the message says why.
    """
    if settings.engine == "local":
        yield Engine()
        return
    # Only with the extra `dask`.
    from src.compute.cluster import connect

    with connect(settings.scheduler, reads) as engine:
        yield engine
