"""What the warm server imports, and what its forks set right that was otherwise while it did."""

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from src.config.yaml_file import read_yaml
from src.errors import ConfigError
from src.tracking.store import QUIET
from src.warm.settings import CODE

# The order is that in which a run of the pipeline needs them. Of what a stage imports by
# itself only the stage is named; the rest is imported by a library when it is first used.
# A test tells which module a fork still had to import.
TRACKING = (
    # Before the others: skops looks for each function of theirs in all modules, in this order.
    "numpy",
    "scipy.special",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "mlflow.store.db.trace_analytics_backfill_75868b020152",
    "mlflow.store.db.trace_analytics_schema_75868b020152",
    "mlflow.tracing.processor.base_mlflow",
    "mlflow.tracing.processor.otel",
    "sqlalchemy.dialects.sqlite",
    "alembic.config",
    "git",
    "mlflow.utils.search_logged_model_utils",
    "src.utils.parent",
)
TABLES = (
    "pyarrow.parquet",
    "pyarrow.dataset",
    "pyarrow.pandas_compat",
    "pyarrow.vendored.version",
    "pandas.core.arrays.arrow.extension_types",
    "src.stages.data_load",
    "src.stages.featurize",
    "sklearn.datasets.data",
    "sklearn.datasets.descr",
)
SPLITTING = ("src.stages.data_split", "sklearn.model_selection", "sklearn.tree")
TRAINING = (
    "src.stages.train",
    "pandas.core.methods.to_dict",
    "pandas.io.formats.csvs",
    "narwhals.stable.v2._namespace",
    "narwhals._interchange.dataframe",
    "narwhals._pandas_like.namespace",
    "narwhals._pandas_like.group_by",
    "encodings.cp437",
)
LOGGED_MODELS = (
    # It looks through all installed packages for a warning about the versions that a model names.
    # The longest step by far, when the first stage has just begun and the next is far off.
    "mlflow.utils.requirements_utils:_init_packages_to_modules_map",
    "mlflow.sklearn",
    "mlflow.models.display_utils",
    "mlflow.pyfunc.scoring_server",
    "mlflow.pyfunc.utils.environment",
    "skops.io",
)
EVALUATION = (
    "src.stages.evaluate",
    "PIL.PngImagePlugin",
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PpmImagePlugin",
)
# Of a pool that was started before a fork, the fork has no thread: none may be started.
NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


def steps(*, with_tracking: bool) -> list[str]:
    """List the modules to import, in order; a function to call stands behind a colon."""
    return [name for group in _groups(with_tracking=with_tracking) for name in group]


def needed_by(module: str, *, with_tracking: bool) -> set[str]:
    """Tell which of these steps a module needs before it is run: its own group and those before."""
    needed: set[str] = set()
    for group in _groups(with_tracking=with_tracking):
        needed.update(group)
        if module in group:
            # Only `train` logs a model.
            return needed - (set() if group is TRAINING else set(LOGGED_MODELS))
    return needed


def _groups(*, with_tracking: bool) -> list[tuple[str, ...]]:
    groups = [TABLES, SPLITTING, TRAINING, EVALUATION]
    return [TRACKING, *groups[:2], LOGGED_MODELS, *groups[2:]] if with_tracking else groups


def is_tracked(config: Path) -> bool:
    """Tell whether the settings have the stages recorded."""
    try:
        return bool(read_yaml(config)["tracking"]["enabled"])
    except (ConfigError, LookupError, TypeError):
        # The stage says what is wrong with it.
        return True


@contextmanager
def preloading() -> Iterator[None]:
    """Let libraries start no thread and talk to nobody while they are imported."""
    before = dict(os.environ)
    os.environ.update(QUIET | NO_THREADS)
    # What is imported stays: to look for garbage in it costs an eighth of the time, and a
    # collection in a fork would copy every page that it looks at.
    gc.disable()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        gc.freeze()


def load(name: str) -> None:
    """Import a module, or call a function of it; what is wrong with it the stage shall say that needs it."""
    module, _, function = name.partition(":")
    with suppress(Exception):
        imported = importlib.import_module(module)
        if function:
            getattr(imported, function)()


def set_pools() -> None:
    """Give pools the size that they have in a process of its own: it can show in the last bit of a result."""
    from threadpoolctl import ThreadpoolController

    size = n_cpus = len(os.sched_getaffinity(0))
    # As OpenBLAS reads them: the last one named here counts most.
    for name in ("OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        with suppress(ValueError):
            wanted = int(os.environ.get(name, "0"))
            size = min(wanted, n_cpus) if wanted > 0 else size
    for pool in ThreadpoolController().select(internal_api="openblas").lib_controllers:
        pool.set_num_threads(size)


def is_threaded() -> bool:
    """Tell whether this process has more than its first thread."""
    return len(list(Path("/proc/self/task").iterdir())) > 1


class Code:
    """The code of this project as it is on disk at one moment."""

    def __init__(self) -> None:
        self._stamps = self._read()

    def forget_if_changed(self) -> None:
        """Forget the modules of this project if a file of it has changed since, so that they are imported anew."""
        if self._read() != self._stamps:
            importlib.invalidate_caches()
            for name in [name for name in sys.modules if name.partition(".")[0] == "src"]:
                del sys.modules[name]

    @staticmethod
    def _read() -> dict[str, tuple[int, int, int]]:
        stamps = {}
        for path in CODE.rglob("*.py"):
            with suppress(FileNotFoundError):
                facts = path.stat()
                stamps[str(path)] = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        return stamps
