"""Make the previous champion the champion again: `python -m src.service.registry.rollback`."""

import argparse
import logging
import sys
from pathlib import Path

from src.config.load import load_config
from src.errors import VersionError
from src.service.registry.gate import read_aliases
from src.service.registry.promote import CHAMPION, PREVIOUS, move, moving_aliases
from src.service.registry.register import show_name
from src.utils.command import command

logger = logging.getLogger(__name__)


def rollback(root: Path) -> str:
    """Swap the aliases `champion` and `previous`; a second call swaps them back.

    Returns:
        Number of the champion.

    Raises:
        VersionError: There is no previous champion, or another process moved the alias.
        BusyError: Another process is moving aliases in this clone.
    """
    config = load_config(root / "params.yaml")
    name = config.registry.model_name
    with moving_aliases(root, config) as store:
        aliases = read_aliases(store, name)
        former, champion = aliases.get(PREVIOUS), aliases.get(CHAMPION)
        if former is None or former == champion:
            raise VersionError(f"{show_name(name)} has no previous champion to go back to; see `make models`.")
        move(store, name, champion=former, previous=champion)
    again = f"; `make rollback` returns to version {champion}" if champion else ""
    logger.info("%s/%s is the champion again%s", show_name(name), former, again)
    return former


@command
def main() -> None:
    """Roll back, from the command line."""
    argparse.ArgumentParser(prog="rollback", description=__doc__).parse_args()
    rollback(Path.cwd())


if __name__ == "__main__":
    sys.exit(main())
