"""Run the tasks of a stage, in its process or on the workers of a Dask cluster.

A task is one call of a function whose only side effect is that it writes files, atomically. So the outputs are bytewise
equal whichever engine runs the tasks, with any number of workers, and if tasks are repeated. Tasks do not log; they
return what the stage should log.
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

# In the clone, because the system's temporary folder may be in memory. git and DVC ignore it.
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
            items: Consumed as late as possible.
            n_items: Number of items, for the progress.
            label: What is done, such as `featurize`, for the progress.
            unit: What an item is, for the progress.
            budget: Seconds after which `items` yields no further item, for the progress.
            n_jobs: Processes on this machine; a cluster ignores it.
        """
        results = self._run(function, items, n_jobs)
        if n_items <= 1:
            yield from results
            return
        # A table of one part does not need tqdm, whose import takes time.
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
        """Yield a function that returns a large value in any process; tasks carry the function, not the value."""
        yield partial(_return, value)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a temporary folder in the clone, where workers can see it."""
    import psutil

    SCRATCH_DIR.mkdir(parents=True, exist_ok=True)
    for leftover in SCRATCH_DIR.glob("stage-[0-9]*-*"):
        # The process that made it was killed.
        if not psutil.pid_exists(int(leftover.name.split("-")[1])):
            shutil.rmtree(leftover, ignore_errors=True)
    # A network share may keep files for a moment that were mapped into memory.
    with tempfile.TemporaryDirectory(
        prefix=f"stage-{os.getpid()}-", dir=SCRATCH_DIR.absolute(), ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _return(value: Value) -> Value:
    return value
