"""A worker that looks for a new champion. Each does so once in a poll; test_swaps.py has all workers of an endpoint."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from src.service.endpoint import watch
from src.service.endpoint.watch import RETRY_POLLS, Watcher

NEVER = 3600.0


class Registry:
    """A registry whose alias names `version`.

    Attributes:
        loaded: Versions that were loaded, in order.
        broken: Versions that cannot be loaded.
    """

    def __init__(self) -> None:
        self.version = "1"
        self.loaded: list[str] = []
        self.broken: set[str] = set()

    def find(self, *_: Any) -> SimpleNamespace:
        return SimpleNamespace(name="iris", version=self.version)

    def load(self, _root: Path, _store: Any, uri: str) -> SimpleNamespace:
        self.loaded.append(uri)
        if self.version in self.broken:
            raise RuntimeError("broken")
        return SimpleNamespace(label=uri.removeprefix("models:/"))


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    monkeypatch.setattr(watch, "open_registry", lambda _: None)
    monkeypatch.setattr(watch, "find_registered", registry.find)
    monkeypatch.setattr(watch, "load_registered_version", registry.load)
    return registry


@pytest.fixture
def swaps() -> list[str]:
    return []


@pytest.fixture
def watcher(registry: Registry, swaps: list[str]) -> Iterator[Watcher]:  # noqa: ARG001 - it patches
    current: Any = SimpleNamespace(about={"version": 1})
    watcher = Watcher(Path(), "models:/iris@champion", NEVER, current, lambda new: swaps.append(new.label), list)
    yield watcher
    watcher.close()


def test_a_new_champion_is_served_after_one_look(watcher: Watcher, registry: Registry, swaps: list[str]) -> None:
    watcher.look()
    assert swaps == []
    registry.version = "2"
    watcher.look()
    watcher.look()
    assert (swaps, registry.loaded) == (["iris/2"], ["models:/iris/2"])


def test_a_refused_champion_is_tried_again_later_and_the_next_one_at_once(
    watcher: Watcher, registry: Registry, swaps: list[str]
) -> None:
    registry.version, registry.broken = "2", {"2"}
    for _ in range(1 + RETRY_POLLS):
        watcher.look()
    assert registry.loaded == ["models:/iris/2"]
    watcher.look()
    assert registry.loaded == ["models:/iris/2"] * 2
    registry.version = "3"
    watcher.look()
    assert swaps == ["iris/3"]
