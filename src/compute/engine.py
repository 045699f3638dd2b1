"""Run the tasks of a stage, in its process or on the workers of a Dask cluster.

A task is one call of a function that is pure but for the files that it writes atomically, so that neither the engine
nor the number of workers, nor a task that is repeated, changes a byte. Tasks do not log: what they find is in their
results.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")

# In the clone, because the folder for temporary files of the system may be in memory. git and DVC ignore it.
SCRATCH_DIR = Path(".dvc/tmp")


class Engine:
    """Runs tasks in this process, or in `n_jobs` processes of this machine."""

    def map(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        n_items: int,
        label: str,
        unit: str = "part",
        budget: float | None = None,
        n_jobs: int = 1,
    ) -> Iterator[Result]:
        """Yield the result of each task in the order of the items, and show progress.

        Args:
            function: Function of a module, or a `partial` of one, so that another process can import it.
            items: Pulled as late as possible.
            n_items: Number of items, for the progress.
            label: What is done, such as `featurize`.
            unit: What an item is.
            budget: Seconds after which no further item comes.
            n_jobs: Processes on this machine; a cluster has its own.
        """
        results = self._run(function, items, n_jobs)
        if n_items <= 1:
            yield from results
            return
        # Importing tqdm takes time that a table of one part saves.
        from src.compute.progress import Progress

        with Progress(n_items, label, budget, unit) as progress:
            for result in results:
                yield result
                progress.update()

    def _run(self, function: Callable[[Item], Result], items: Iterable[Item], n_jobs: int) -> Iterable[Result]:
        if n_jobs == 1:
            return map(function, items)
        from joblib import Parallel, delayed

        found: Iterable[Result] = Parallel(n_jobs, return_as="generator")(delayed(function)(item) for item in items)
        return found

    @contextmanager
    def share(self, value: Value) -> Iterator[Callable[[], Value]]:
        """Yield a function that returns a large value in any process that runs tasks; pickle it with each task."""
        yield partial(_return, value)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a temporary folder in the clone, which workers see too."""
    import psutil

    SCRATCH_DIR.mkdir(parents=True, exist_ok=True)
    for leftover in SCRATCH_DIR.glob("stage-[0-9]*-*"):
        # The process that made it was killed.
        if not psutil.pid_exists(int(leftover.name.split("-")[1])):
            shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"stage-{os.getpid()}-", dir=SCRATCH_DIR.absolute()) as folder:
        yield Path(folder)


def _return(value: Value) -> Value:
    return value
