"""Findings of the data checks, which `data_split` writes and the model card shows."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from src.atomic import atomic_path
from src.errors import MissingInputError


@dataclass(frozen=True)
class Finding:
    """Result of a data check; `kind` is its name in `data_split.checks`."""

    kind: str
    message: str
    columns: list[str] = field(default_factory=list)


def write_findings(findings: Sequence[Finding], path: Path) -> None:
    """Write findings as JSON."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n", encoding="utf-8")


def read_findings(path: Path) -> list[Finding]:
    """Read the findings that stage `data_split` wrote.

    Raises:
        MissingInputError: The file is missing or damaged.
    """
    try:
        return [Finding(**finding) for finding in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise MissingInputError(
            f"{path} is missing or damaged ({error!r:.100}); stage data_split makes it: run `dvc repro data_split`."
        ) from None
