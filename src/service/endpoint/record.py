"""Record requests and predictions to Parquet by day, for `src.service.monitoring`, beside serving."""

import contextlib
import hashlib
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from src.atomic import atomic_path
from src.config.service import Record
from src.service.endpoint.load import Served
from src.service.endpoint.predictor import Prediction

logger = logging.getLogger(__name__)

# Id and number of rows of each request.
Requests = Sequence[tuple[str, int]]

# Rows that wait to be written; further ones are dropped.
MAX_WAITING_ROWS = 200_000
# A file is written when so many rows wait, or after so many seconds.
ROWS_PER_FILE, SECONDS_PER_FILE = 50_000, 10.0
MEGABYTE = 2**20
# Dtypes of the columns of each kind; others are text.
TYPES = {"number": pa.float64(), "boolean": pa.bool_(), "date": pa.timestamp("us")}


@dataclass(frozen=True)
class _Batch:
    day: str
    time: datetime
    rows: pa.RecordBatch


class Recorder:
    """Records requests and predictions; files are written in a thread of their own.

    Files are `FOLDER/YYYY-MM-DD/*.parquet` in UTC. Each appears whole, with one row for each predicted row. A file that
    cannot be written, as on a full disk, costs its rows and is counted; requests are not affected.

    Attributes:
        n_recorded: Rows written.
        n_dropped: Rows that came faster than they could be written.
        n_failed: Rows that could not be written.
    """

    def __init__(
        self,
        folder: Path,
        settings: Record,
        seconds_per_file: float = SECONDS_PER_FILE,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_waiting_rows: int = MAX_WAITING_ROWS,
    ) -> None:
        self.n_recorded = self.n_dropped = self.n_failed = 0
        self._folder, self._settings, self._clock = folder, settings, clock
        self._seconds_per_file, self._max_waiting_rows = seconds_per_file, max_waiting_rows
        self._excluded = frozenset(settings.exclude)
        self._lock, self._n_waiting = threading.Lock(), 0
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._is_failing = False
        # A daemon, so that an endpoint that forgets `close` still ends.
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def put(self, requests: Requests, served: Served, X: pd.DataFrame, prediction: Prediction) -> None:
        """Convert rows and queue them; never wait for the disk, and never raise.

        Args:
            served: The model.
            X: Converted rows of all requests; not modified later by the caller.
        """
        n_rows = len(X)
        try:
            if (share := self._settings.sample) < 1:
                kept = [is_sampled(name, share) for name, _ in requests]
                rows = np.repeat(kept, [count for _, count in requests])
                requests = [request for request, is_kept in zip(requests, kept, strict=True) if is_kept]
                X, prediction = X[rows], prediction.take(rows)
            if not requests:
                return
            now, n_rows = self._clock(), len(X)
            # Converted at once: to convert all rows of a file together would hold the GIL, and so stop predictions, for
            # hundreds of milliseconds.
            batch = self._to_batch(requests, now, served, X, prediction)
            with self._lock:
                if self._n_waiting + n_rows > self._max_waiting_rows:
                    self.n_dropped += n_rows
                    return
                self._n_waiting += n_rows
            self._queue.put(_Batch(f"{now:%Y-%m-%d}", now, batch))
        except Exception:
            self.n_failed += n_rows
            logger.exception("a request was not recorded")

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batches, is_open = self._collect()
            if batches:
                self._write(batches)

    def _collect(self) -> tuple[list[_Batch], bool]:
        """Wait for the batches of the next file, and whether there may be more."""
        batches: list[_Batch] = []
        n_rows, end = 0, 0.0
        while n_rows < ROWS_PER_FILE:
            try:
                batch = self._queue.get(timeout=max(0.0, end - time.monotonic()) if batches else None)
            except queue.Empty:
                break
            if batch is None:
                return batches, False
            # The time of a file begins with its first row.
            end = end if batches else time.monotonic() + self._seconds_per_file
            batches.append(batch)
            n_rows += batch.rows.num_rows
        return batches, True

    def _write(self, batches: list[_Batch]) -> None:
        """Write one file for each day and each set of columns, which a new model may change."""
        groups: dict[tuple[str, pa.Schema], list[_Batch]] = {}
        for batch in batches:
            groups.setdefault((batch.day, batch.rows.schema), []).append(batch)
        for (day, _), group in groups.items():
            n_rows = sum(batch.rows.num_rows for batch in group)
            try:
                rows = pa.concat_batches([batch.rows for batch in group])
                self._make_room()
                # Workers write to the same folder, perhaps from several machines.
                name = f"{group[0].time:%H%M%S}-{uuid.uuid4().hex}.parquet"
                with atomic_path(self._folder / day / name) as partial:
                    pq.write_table(pa.Table.from_batches([rows]), partial, compression="zstd")
                self.n_recorded += n_rows
                self._is_failing = False
            # Whatever happens, the endpoint serves on.
            except Exception as error:
                self.n_failed += n_rows
                if not self._is_failing:
                    logger.error("requests are not recorded: %s: %s", type(error).__name__, error)
                self._is_failing = True
            with self._lock:
                self._n_waiting -= n_rows

    def _make_room(self) -> None:
        """Delete the oldest days beyond `max_mb`, and of the last day only as many files as needed."""
        # Not the hidden files that other workers are writing.
        files = sorted(self._folder.glob("[0-9]*-[0-9]*-[0-9]*/[!.]*.parquet"))
        sizes = {path: size for path in files if (size := _size(path)) is not None}
        excess = sum(sizes.values()) - self._settings.max_mb * MEGABYTE
        days = sorted({path.parent for path in sizes})
        for day in days:
            if excess <= 0:
                return
            for path in (path for path in files if path.parent == day):
                if day == days[-1] and excess <= 0:
                    return
                # Another worker may have deleted it.
                path.unlink(missing_ok=True)
                excess -= sizes.get(path, 0)
            with contextlib.suppress(OSError):
                day.rmdir()

    def _to_batch(
        self,
        requests: Requests,
        now: datetime,
        served: Served,
        X: pd.DataFrame,
        prediction: Prediction,
    ) -> pa.RecordBatch:
        n_rows, classes, columns = len(X), served.predictor.classes, served.predictor.columns
        # Classes are text, whatever their type, as in the names of their probabilities.
        is_text = classes is None or all(isinstance(label, str) for label in classes)
        made: dict[str, Any] = {
            "id": make_ids(requests),
            "time": pa.repeat(pa.scalar(now, pa.timestamp("us", "UTC")), n_rows),
            "model": pa.repeat(served.label, n_rows),
            "model_md5": pa.repeat(served.about["model_md5"] or "", n_rows),
            "prediction": pa.array(prediction.labels if is_text else list(map(str, prediction.labels.tolist()))),
        }
        if classes is not None and prediction.probabilities is not None:
            for label, values in zip(classes, prediction.probabilities.T, strict=True):
                made[f"probability.{label}"] = pa.array(values)
        for name in X.columns:
            if name in columns and name not in self._excluded:
                kind = TYPES.get(columns[name]["kind"], pa.string())
                made[f"input.{name}"] = pa.array(X[name], from_pandas=True).cast(kind)
        return pa.RecordBatch.from_pydict(made)


def make_ids(requests: Requests) -> pa.Array:
    """Make one id a row: that of the request, or `<id>/<number of the row>` if it has several.

    >>> make_ids([("a", 1), ("b", 2)]).to_pylist()
    ['a', 'b/0', 'b/1']
    """
    names, counts = pa.array([name for name, _ in requests], pa.string()), [count for _, count in requests]
    if max(counts) == 1:
        return names
    names = names.take(pa.array(np.repeat(np.arange(len(counts)), counts)))
    numbers = pa.array(np.concatenate([np.arange(count) for count in counts])).cast(pa.string())
    is_single = pa.array(np.repeat(counts, counts) == 1)
    return pc.if_else(is_single, names, pc.binary_join_element_wise(names, numbers, "/"))


def is_sampled(request_id: str, share: float) -> bool:
    """Return whether the rows of a request are in the sample; all workers agree.

    Args:
        share: Share of the requests in the sample, in [0, 1].
    """
    digest = hashlib.blake2b(request_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
