"""Findings of the data checks, which `data_split` writes and the model card shows."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from src.atomic import atomic_path
from src.data.files import read_json


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
    return read_json(path, TypeAdapter(list[Finding]), made_by="data_split")
