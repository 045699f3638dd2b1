"""Predict the rows of many requests at once: what arrives while a batch is predicted forms the next one."""

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from threadpoolctl import ThreadpoolController

from src.errors import PipelineError
from src.service.endpoint.errors import RequestError
from src.service.endpoint.load import Served
from src.service.endpoint.predictor import Prediction
from src.service.endpoint.rows import convert_content, convert_values, take_columns

logger = logging.getLogger(__name__)

# A batch is closed beyond these rows, so that small requests do not wait for many large ones.
MAX_BATCH_ROWS = 10_000
# From so many rows on, the threads of OpenMP are worth their start. A row gets the same answer from any number of them.
MANY_ROWS = 2000
Render = Callable[["Item", Prediction, Served], bytes]


@dataclass(eq=False)
class Item:
    """The rows of a request that waits for its prediction.

    Attributes:
        content: Parsed JSON; None if the rows are converted.
        served: The model whose columns `X` has; None to take the current one.
        future: Gets the body of the answer.
    """

    id: str
    n_rows: int
    render: Render
    future: "asyncio.Future[bytes]"
    content: Any = None
    X: pd.DataFrame | None = None
    served: Served | None = None
    result: Any = field(default=None, repr=False)


# Requests, and their rows and predictions in the same order.
Done = tuple[list[Item], pd.DataFrame, Prediction]


class Batcher:
    """A thread that predicts waiting requests.

    Attributes:
        served: The model; a new one takes over between two batches.
        n_waiting: Rows that wait.
    """

    def __init__(self, served: Served, max_queue: int, on_batch: Callable[[Served, list[Done]], None]) -> None:
        self.served = served
        self.n_waiting = 0
        self._max_queue, self._on_batch = max_queue, on_batch
        self._items: deque[Item] = deque()
        self._wake = threading.Condition()
        self._pools, self._n_cores = ThreadpoolController(), os.cpu_count() or 1
        self._is_open = True
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="predictor", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Add rows to the queue.

        Raises:
            RequestError: The queue is full.
        """
        with self._wake:
            # An empty queue takes any request, or a large one would be refused for ever.
            if self.n_waiting and self.n_waiting + item.n_rows > self._max_queue:
                raise RequestError(503, "too many rows are waiting; try again", {"retry-after": "1"})
            self.n_waiting += item.n_rows
            self._items.append(item)
            self._wake.notify()

    def close(self) -> None:
        """Predict the waiting requests, and end the thread."""
        with self._wake:
            self._is_open = False
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        # OpenMP keeps this setting for each thread.
        self._pools.limit(limits=1)
        while batch := self._take():
            served = self.served
            try:
                done = self._predict(batch, served)
            except BaseException:
                logger.exception("a batch was not predicted")
                done = []
            self._loop.call_soon_threadsafe(_answer, batch)
            try:
                self._on_batch(served, done)
            except Exception:
                logger.exception("a batch was not recorded")

    def _take(self) -> list[Item]:
        with self._wake:
            while not self._items and self._is_open:
                self._wake.wait()
            batch: list[Item] = []
            n_rows = 0
            while self._items and (not batch or n_rows + self._items[0].n_rows <= MAX_BATCH_ROWS):
                item = self._items.popleft()
                n_rows += item.n_rows
                batch.append(item)
            self.n_waiting -= n_rows
            return batch

    def _predict(self, batch: list[Item], served: Served) -> list[Done]:
        # A cancelled request has timed out.
        together = [item for item in batch if not item.future.cancelled() and item.served in (None, served)]
        done = self._predict_together(together, served) if together else []
        if done is None:
            # A value is not of the type of its column: it may be refused, or converted as in a file.
            together = [item for item in together if _is_converted(item, served)]
            done = self._predict_together(together, served) if together else []
        if done is None:
            done = [one for item in together for one in self._predict_alone(item, served)]
        for item in batch:
            # A new model took over after these rows were converted.
            if item.served is not None and item.served is not served and not item.future.cancelled():
                done += self._predict_alone(item, item.served)
        return done

    def _predict_together(self, items: list[Item], served: Served) -> list[Done] | None:
        """Predict all rows at once; None if one of them fails."""
        names = served.predictor.names
        try:
            parsed = [item for item in items if item.X is None]
            values: dict[str, list[Any]] = {name: [] for name in names}
            for item in parsed:
                for name, column in take_columns(item.content, names).items():
                    values[name] += column
            tables = []
            if parsed:
                X = convert_values(values, served)
                if X is None:
                    return None
                tables.append(X)
            converted = [(item, item.X) for item in items if item.X is not None]
            ordered = parsed + [item for item, _ in converted]
            tables += [X[names] for _, X in converted]
            X = tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)
            prediction = self._predict_rows(X, served)
        except (RequestError, PipelineError, ValueError, TypeError, OverflowError):
            return None
        start = 0
        for item in ordered:
            part = prediction.take(slice(start, start := start + item.n_rows))
            item.result = item.render(item, part, served)
        return [(ordered, X, prediction)]

    def _predict_rows(self, X: pd.DataFrame, served: Served) -> Prediction:
        if len(X) < MANY_ROWS:
            return served.predictor.predict(X)
        with self._pools.limit(limits=self._n_cores, user_api="openmp"):
            return served.predictor.predict(X)

    def _predict_alone(self, item: Item, served: Served) -> list[Done]:
        if not _is_converted(item, served) or item.X is None:
            return []
        try:
            prediction = self._predict_rows(item.X, served)
            item.result = item.render(item, prediction, served)
        except PipelineError as error:
            item.result = RequestError(422, str(error))
            return []
        except Exception:
            logger.exception("a request was not predicted")
            return []
        return [([item], item.X, prediction)]


def _is_converted(item: Item, served: Served) -> bool:
    """Convert the rows of a request, and return whether that was possible."""
    if item.X is None:
        try:
            item.X = convert_content(item.content, served)
        except RequestError as error:
            item.result = error
        except Exception:
            logger.exception("a request was not converted")
    return item.X is not None


def _answer(batch: list[Item]) -> None:
    for item in batch:
        if item.future.done():
            continue
        if isinstance(item.result, bytes):
            item.future.set_result(item.result)
        else:
            item.future.set_exception(item.result or RequestError(500, "the prediction failed; see the log"))
