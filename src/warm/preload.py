"""What the warm server imports, and how its forks keep to the code that is on disk."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import src
from src.tracking.store import QUIET

TRACKING = (
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "src.utils.parent",
)
# Whatever a stage imports by itself comes with it; the others it imports when it needs them.
STAGES = (
    "src.stages.data_load",
    "src.stages.featurize",
    "sklearn.datasets",
    "src.stages.data_split",
    "src.stages.train",
    "src.stages.evaluate",
)
MODEL = (
    "mlflow.sklearn",
    "skops.io",
)
# What a fork finds of a pool that was started before it does not work: none may be started.
NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


class Imported:
    """The state of what is imported: the code it came from, and pools that are yet to be given their size.

    Args:
        environ: The environment without what holds the pools back.
    """

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = environ
        self._stamps = _stamps()
        self._pools: list[Any] = []

    def find_pools(self) -> None:
        """Find the libraries whose pools were held back."""
        from threadpoolctl import ThreadpoolController

        self._pools = ThreadpoolController().select(internal_api="openblas").lib_controllers

    def refresh(self) -> None:
        """Forget the modules of this project if one of its files has changed since, so that they are imported anew."""
        if _stamps() != self._stamps:
            importlib.invalidate_caches()
            for name in [name for name in sys.modules if name.partition(".")[0] == "src"]:
                del sys.modules[name]

    def release(self) -> None:
        """Give the pools the size that they have in a process of its own: it can show in the last bit of a result."""
        size = n_cpus = len(os.sched_getaffinity(0))
        for name in ("OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            with suppress(ValueError, KeyError):
                size = min(int(self._environ[name]), n_cpus) if int(self._environ[name]) > 0 else size
        for pool in self._pools:
            pool.set_num_threads(size)


def preload(*, with_tracking: bool, go_on: Callable[[], bool]) -> Imported:
    """Import what the stages need, without starting a thread.

    Args:
        with_tracking: Whether the stages are recorded.
        go_on: Asked before each import.
    """
    imported = Imported(dict(os.environ))
    with _environment(QUIET | NO_THREADS):
        for name in (*(TRACKING if with_tracking else ()), *STAGES, *(MODEL if with_tracking else ())):
            if not go_on():
                break
            # The stage that needs it tells what is wrong with it.
            with suppress(Exception):
                importlib.import_module(name)
        imported.find_pools()
    return imported


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _stamps() -> dict[str, tuple[int, int, int]]:
    """Note what tells of each file of this project whether it was changed."""
    found = {}
    for path in Path(src.__path__[0]).rglob("*.py"):
        with suppress(FileNotFoundError):
            facts = path.stat()
            found[str(path)] = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    return found
