"""What would spoil a model or its score, found before training."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from src.atomic import atomic_path
from src.config.schema import Config, Traps
from src.data.schema import Columns
from src.errors import MissingInputError


@dataclass(frozen=True)
class Trap:
    """One thing found.

    Attributes:
        kind: `leak`, `duplicates`, `constant`, `identifier` or `rare_class`.
        message: What was found, in one line, with counts.
        columns: Columns that it is about.
    """

    kind: str
    message: str
    columns: list[str] = field(default_factory=list)


def find_traps(train: pd.DataFrame, test: pd.DataFrame, columns: Columns, config: Config) -> list[Trap]:
    """Look for traps in featurized rows with their target."""
    return []


def act_on_traps(traps: Sequence[Trap], settings: Traps) -> None:
    """Warn of traps, or stop at them, as the settings say."""


def write_traps(traps: Sequence[Trap], path: Path) -> None:
    """Write what was found, for the model card."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps([asdict(trap) for trap in traps], indent=2) + "\n", encoding="utf-8")


def read_traps(path: Path) -> list[Trap]:
    """Read what was found.

    Raises:
        MissingInputError: The file is absent or damaged.
    """
    try:
        return [Trap(**trap) for trap in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise MissingInputError(
            f"{path} is missing or damaged ({error!r:.100}); stage data_split makes it: run `dvc repro data_split`."
        ) from None
