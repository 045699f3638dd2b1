"""Run tasks on the workers of a Dask cluster, after checking that the workers can run them."""

import hashlib
import importlib.metadata
import itertools
import logging
import platform
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from src.compute.engine import Engine, Item, Result, Value, scratch_folder
from src.errors import ComputeError
from src.text import one_line

logger = logging.getLogger(__name__)

# Different versions may write different bytes, or be unable to communicate.
PACKAGES = (
    "catboost",
    "dask",
    "distributed",
    "joblib",
    "lightgbm",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "skrub",
    "xgboost",
)
CONNECT_SECONDS = 10
# More tasks than workers, so that no worker is idle while results are collected in order.
TASKS_PER_WORKER = 4
# Killed workers are restarted within a few seconds.
WAIT_SECONDS, ALONE_SECONDS = 5, 30
MAX_REASON = 300
# The first message of a scheduler is smaller than 1 kB.
SIZE_BYTES, MAX_GREETING = 8, 2**20


class ClusterEngine(Engine):
    """Runs tasks on the workers of a cluster.

    Args:
        client: A `distributed.Client`.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._workers = self._list_workers()

    def _run(self, function: Callable[[Item], Result], items: Iterable[Item], n_jobs: int) -> Iterable[Result]:  # noqa: ARG002 - as in Engine
        from distributed import CancelledError, KilledWorker
        from distributed.comm.core import CommClosedError

        waiting, remaining = deque[Any](), iter(items)
        try:
            while True:
                free = max(1, TASKS_PER_WORKER * len(self._list_workers()) - len(waiting))
                waiting.extend(
                    self._client.submit(function, item, pure=False) for item in itertools.islice(remaining, free)
                )
                if not waiting:
                    return
                yield self._wait(waiting.popleft())
        except KilledWorker as error:
            raise ComputeError(
                f"a task killed its worker {error.allowed_failures + 1} times, probably because it ran out of memory: "
                "start the workers with more memory, or lower data_load.rows_per_part or train.max_rows."
            ) from None
        except FileNotFoundError as error:
            raise ComputeError(
                f"a worker does not see {error.filename or error}; workers need the same folder at the same path, such "
                "as a network share."
            ) from None
        except (CancelledError, CommClosedError, TimeoutError):
            raise ComputeError(
                "the connection to the scheduler was lost; restart the cluster, and run the stage again."
            ) from None
        finally:
            for future in waiting:
                future.cancel()

    def _wait(self, future: Any) -> Any:
        """Wait for the result of a task.

        Raises:
            ComputeError: There has been no worker for `ALONE_SECONDS`.
        """
        n_without_workers = 0
        while True:
            try:
                return future.result(timeout=WAIT_SECONDS)
            except TimeoutError:
                # The task itself raised it, or failed since.
                if future.status == "error":
                    return future.result()
            n_without_workers = 0 if self._list_workers() else n_without_workers + 1
            if n_without_workers * WAIT_SECONDS >= ALONE_SECONDS:
                raise ComputeError("the scheduler has lost all its workers; start some, and run the stage again.")

    @contextmanager
    def share(self, value: Value) -> Iterator[Callable[[], Value]]:
        """Write a value to a file that each worker reads once, instead of sending it with each task."""
        import joblib

        with scratch_folder() as folder:
            path = folder / "shared.joblib"
            joblib.dump(value, path)
            expected = measure(path)
            for address, size in sorted(self._client.run(measure, path).items()):
                _compare_size(f"worker {address}", path, size, expected)
            yield partial(_read_shared, path)

    def _list_workers(self) -> set[str]:
        return set(_describe_workers(self._client))

    def report_lost_workers(self) -> None:
        """Log one warning if some workers of the start are gone."""
        workers = self._list_workers()
        if workers and (lost := self._workers - workers):
            logger.warning(
                "%d of %d workers were lost; other workers repeated their tasks", len(lost), len(self._workers)
            )


@contextmanager
def connect(scheduler: str, reads: Sequence[Path]) -> Iterator[Engine]:
    """Yield an engine that runs tasks on the workers of a scheduler.

    Args:
        scheduler: Address, such as `tcp://127.0.0.1:8786`.
        reads: Files and folders that tasks will read.

    Raises:
        ComputeError: There is no scheduler or no worker, or they have different code, package versions or files.
    """
    try:
        client = _open_client(scheduler)
    except ImportError:
        raise ComputeError(
            "params.yaml: compute.engine = 'dask' needs the extra `dask`: run `make cluster`, which installs it, or "
            "set compute.engine to local."
        ) from None
    except (OSError, ValueError) as error:
        raise ComputeError(
            f"params.yaml: compute.scheduler = '{scheduler}': no scheduler answers "
            f"({one_line(str(error) or type(error).__name__, MAX_REASON)}); start one with `make cluster`, or set "
            "compute.engine to local."
        ) from None
    with client:
        _check(client, scheduler, [path.absolute() for path in reads])
        engine = ClusterEngine(client)
        logger.info("%d Dask workers; dashboard: %s", len(engine._workers), client.dashboard_link)
        try:
            yield engine
        finally:
            engine.report_lost_workers()


def _open_client(scheduler: str) -> Any:
    import distributed

    _check_greeting(scheduler)
    for name in ("distributed", "distributed.client", "distributed.core", "tornado.application"):
        # The caller reports errors.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # distributed has no type hints.
    make_client: Any = distributed.Client
    return make_client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)


def _check_greeting(scheduler: str) -> None:
    """Check that a scheduler answers; with another kind of server, a client would wait forever.

    Raises:
        OSError: Nothing listens there, or the server does not send first what a scheduler sends.
    """
    url = urlsplit(scheduler)
    with socket.create_connection((url.hostname or "", url.port or 0), CONNECT_SECONDS) as connection:
        # A server with TLS waits for the client.
        if url.scheme != "tcp":
            return
        # A message of Dask begins with its size; a client would allocate whatever another server seems to announce.
        with connection.makefile("rb") as stream:
            size = stream.read(SIZE_BYTES)
        if len(size) < SIZE_BYTES or int.from_bytes(size, "little") > MAX_GREETING:
            raise ConnectionResetError("another server listens there")


def count_workers(scheduler: str) -> int:
    """Count the workers of a scheduler; 0 if it does not answer."""
    try:
        with _open_client(scheduler) as client:
            return len(_describe_workers(client))
    except OSError:
        return 0


def _describe_workers(client: Any) -> Mapping[str, Any]:
    """Describe each worker, by address; a client that has lost the scheduler knows none."""
    workers: Mapping[str, Any] = client.scheduler_info(n_workers=-1).get("workers", {})
    return workers


def describe_process(paths: Sequence[Path]) -> dict[str, Any]:
    """Describe what must be the same here and in the workers: code, versions and file sizes."""
    return {"code": _hash_code(), "versions": _list_versions(), "sizes": {str(path): measure(path) for path in paths}}


def measure(path: Path) -> int | None:
    """Return the size in bytes of a file, or of all files in a folder; None if it does not exist."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else None


@cache
def _hash_code() -> str:
    """Hash the code of this project, only once, because a process keeps the code that it has imported."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def _list_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    return versions


def _check(client: Any, scheduler: str, paths: Sequence[Path]) -> None:
    workers = _describe_workers(client)
    if not workers:
        raise ComputeError(
            f"the scheduler {scheduler} has no workers; start some with `make cluster`, or with "
            f"`.venv/bin/dask worker --nthreads 1 {scheduler}` in a clone of this repository."
        )
    for address, worker in sorted(workers.items()):
        if worker["nthreads"] != 1:
            # Warnings are caught for the whole process, not for a thread.
            raise ComputeError(f"worker {address} has {worker['nthreads']} threads; start it with --nthreads 1.")
    expected = describe_process(paths)
    found = client.run(describe_process, paths, on_error="return")
    try:
        found["the scheduler"] = client.run_on_scheduler(describe_process, [])
    # The process of the scheduler may raise anything.
    except Exception as error:
        found["the scheduler"] = error
    for address, described in sorted(found.items()):
        name = address if address == "the scheduler" else f"worker {address}"
        if isinstance(described, BaseException):
            reason = one_line(f"{type(described).__name__}: {described}", MAX_REASON)
            if not isinstance(described, ImportError | AttributeError):
                raise ComputeError(f"{name} cannot be checked ({reason}).")
            raise ComputeError(
                f"{name} cannot import the code of this project ({reason}); start it in the root of a clone, with "
                "PYTHONPATH=. and the same packages."
            )
        _compare(name, described, expected)


def _compare(name: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for package, version in expected["versions"].items():
        if (other := found["versions"].get(package)) != version:
            raise ComputeError(
                f"{name} has {package} {other}, but this machine has {version}; install the same requirements.txt on "
                "both."
            )
    if found["code"] != expected["code"]:
        raise ComputeError(f"{name} has different code in src; update its clone, and restart the cluster.")
    for path, size in found["sizes"].items():
        _compare_size(name, path, size, expected["sizes"][path])


def _compare_size(name: str, path: Path | str, size: int | None, expected: int | None) -> None:
    if size is None:
        raise ComputeError(
            f"{name} does not see {path}; workers need the same folder at the same path, such as a network share."
        )
    if size != expected:
        raise ComputeError(
            f"{name} has another version of {path} ({size} instead of {expected} bytes); workers "
            "need the same folder at the same path, such as a network share."
        )


@lru_cache(maxsize=1)
def _read_shared(path: Path) -> Any:
    """Map a shared value into memory, once in each process."""
    import joblib

    return joblib.load(path, mmap_mode="r")
