"""Make a registered model the champion: `python -m src.service.registry.promote [--version 3]`."""

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from src.config.load import load_config
from src.config.schema import Config
from src.errors import VersionError
from src.service.registry.gate import PASSED, read_aliases
from src.service.registry.register import (
    GATE,
    GATE_CHAMPION,
    explained,
    judge_version,
    list_versions,
    published_tag,
    show_name,
)
from src.tracking import names
from src.tracking.store import AGAIN_HINT, Store, open_store
from src.utils.command import command
from src.utils.exclusive import exclusive

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

CHAMPION, PREVIOUS = "champion", "previous"


def promote(root: Path, version: str | None = None) -> str:
    """Move the alias `champion` to a version that passed the gate, and `previous` to the former champion.

    A version that was compared with another champion than today's is judged again.

    Args:
        root: Root of the repository.
        version: Number of the version; None for the newest that passed.

    Returns:
        Number of the champion.

    Raises:
        VersionError: There is no such version, it did not pass, or another process moved the alias.
        BusyError: Another process is moving aliases in this clone.
    """
    config = load_config(root / "params.yaml")
    name = config.registry.model_name
    with moving_aliases(root, config) as store:
        chosen = _choose(store, name, version)
        label, aliases = f"{show_name(name)}/{chosen.version}", read_aliases(store, name)
        if chosen.tags.get(GATE) != PASSED:
            raise VersionError(f"{label} did not pass the gate; run `make register` to see why.")
        former = aliases.get(CHAMPION, "")
        if former == str(chosen.version):
            logger.info("%s is the champion already", label)
            return former
        if chosen.tags.get(GATE_CHAMPION, "none") != (former or "none"):
            logger.info("the champion has changed since %s was judged; judging it again", label)
            verdict = judge_version(root, store, chosen, config)
            sys.stdout.write(verdict.table)
            if not verdict.passed:
                raise VersionError(f"{label} did not pass the gate against today's champion, see above.")
        # Before the alias, since an endpoint reads the tags when it finds a new champion.
        if tag := published_tag(root, chosen.tags.get(names.GIT_COMMIT, "")):
            store.client.set_model_version_tag(name, str(chosen.version), names.GIT_TAG, tag)
        move(store, name, champion=str(chosen.version), previous=former or None)
        logger.info("%s is the champion%s", label, f"; before, it was version {former}" if former else "")
        return str(chosen.version)


def _choose(store: Store, name: str, number: str | None) -> "ModelVersion":
    versions = list_versions(store.client, name)
    if not versions:
        raise VersionError(f"no model is registered as {show_name(name)!r}; run `make register`.")
    if number is None:
        passed = [version for version in versions if version.tags.get(GATE) == PASSED]
        if not passed:
            raise VersionError(f"no version of {show_name(name)} passed the gate; run `make register` to see why.")
        return passed[0]
    for version in versions:
        if str(version.version) == str(number):
            return version
    known = ", ".join(str(version.version) for version in versions[:10])
    raise VersionError(f"{show_name(name)} has no version {show_name(str(number))}; it has {known}.")


@contextmanager
def moving_aliases(root: Path, config: Config) -> Iterator[Store]:
    """Open the store, and let one process of this clone at a time move aliases."""
    with exclusive(root, "promote"):
        store = open_store(root, config.tracking.experiment_name, AGAIN_HINT)
        with explained(store):
            yield store


def move(store: Store, name: str, champion: str, previous: str | None) -> None:
    """Move both aliases, and check that no process of another clone did so at the same time.

    MLflow moves one alias at a time, and has no compare-and-swap. `previous` goes first, so that a process that is
    killed leaves a champion.

    Args:
        previous: The champion with which the new one was compared; None if there was none.

    Raises:
        VersionError: Another process has moved `champion`.
    """
    found = read_aliases(store, name).get(CHAMPION)
    if found == champion:
        return
    if found != previous:
        raise _overtaken(name, found)
    if previous:
        store.client.set_registered_model_alias(name, PREVIOUS, previous)
    store.client.set_registered_model_alias(name, CHAMPION, champion)
    aliases = read_aliases(store, name)
    if aliases.get(CHAMPION) != champion:
        raise _overtaken(name, aliases.get(CHAMPION))
    if previous and aliases.get(PREVIOUS) != previous:
        store.client.set_registered_model_alias(name, PREVIOUS, previous)


def _overtaken(name: str, champion: str | None) -> VersionError:
    what = f"made version {champion} of {show_name(name)} the champion" if champion else "deleted the champion"
    return VersionError(f"another process {what} at the same time; see `make models`.")


@command
def main() -> None:
    """Promote, from the command line."""
    parser = argparse.ArgumentParser(prog="promote", description=__doc__)
    parser.add_argument("--version", help="number of the version; by default the newest that passed the gate")
    promote(Path.cwd(), parser.parse_args().version)


if __name__ == "__main__":
    sys.exit(main())
