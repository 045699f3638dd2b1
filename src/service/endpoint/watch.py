"""Follow the alias of a registered model: load a new champion beside the old one, then let it take over."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from src.errors import PipelineError
from src.service.endpoint.load import Served, load_registered_version, open_registry
from src.service.registry.registered import PREFIX, find_registered
from src.tracking.store import Store

logger = logging.getLogger(__name__)

# A refused version is tried again after these polls: what it needs may have been missing for a moment only.
RETRY_POLLS = 60


class Watcher:
    """A thread that asks which version the alias names."""

    def __init__(
        self,
        root: Path,
        uri: str,
        seconds: float,
        current: Served,
        swap: Callable[[Served], None],
        refuse: Callable[[], None],
    ) -> None:
        self._root, self._uri, self._seconds = root, uri, seconds
        self._version, self._refused = str(current.about["version"]), ""
        self._swap, self._refuse = swap, refuse
        self._store: Store | None = None
        self._n_polls = 0
        self._is_down = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop polling."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.look()
            except Exception:
                logger.exception("looking for a new champion failed")

    def look(self) -> None:
        """Look once: load the version of the alias if it is new and has not been refused."""
        try:
            self._store = self._store or open_registry(self._root)
            found = find_registered(self._store, self._uri)
        except PipelineError as error:
            if not self._is_down:
                logger.warning("the running model %s stays: %s", self._version, error)
            self._is_down = True
            return
        self._is_down = False
        version = str(found.version)
        if version == self._version:
            self._refused = ""
            return
        if version == self._refused and self._n_polls < RETRY_POLLS:
            self._n_polls += 1
            return
        self._n_polls = 0
        try:
            served = load_registered_version(self._root, self._store, f"{PREFIX}{found.name}/{version}")
        # The code of a model may raise anything.
        except Exception as error:
            if version != self._refused:
                logger.error("version %s is refused, version %s stays: %s", version, self._version, error)
                self._refuse()
            self._refused = version
            return
        self._version, self._refused = version, ""
        self._swap(served)
        logger.info("serving %s", served.label)
