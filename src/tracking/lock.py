"""Read `dvc.lock`: the inputs, parameters and outputs of each stage."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from src.config.yaml_file import parse_yaml, read_text
from src.errors import ConfigError


@dataclass(frozen=True)
class LockEntry:
    """What DVC recorded of a stage.

    Attributes:
        deps: MD5 of each input by path.
        params: Value of each declared parameter by file and key.
        outs: MD5 of each output by path.
        sizes: Bytes of each output by path.
        digest: Hash of everything except the sizes.
    """

    cmd: str | list[str]
    deps: dict[str, str | None] = field(default_factory=dict)
    params: dict[str, dict[str, Any]] = field(default_factory=dict)
    outs: dict[str, str | None] = field(default_factory=dict)
    sizes: dict[str, int | None] = field(default_factory=dict)
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            content = {key: value for key, value in asdict(self).items() if key not in ("sizes", "digest")}
            text = json.dumps(content, sort_keys=True, default=str)
            object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest())


def read_lock(root: Path) -> dict[str, LockEntry]:
    """Read the entry of each stage from `dvc.lock`; empty if the file does not exist.

    Raises:
        ConfigError: The file is not UTF-8 text, or not YAML.
    """
    path = root / "dvc.lock"
    return parse_lock(read_text(path)) if path.exists() else {}


def parse_lock(text: str) -> dict[str, LockEntry]:
    """Parse the text of a `dvc.lock`.

    Raises:
        ConfigError: The text is not YAML, or not what DVC writes.
    """
    stages = parse_yaml(text, Path("dvc.lock")).get("stages") or {}
    try:
        return {
            name: LockEntry(
                cmd=entry["cmd"],
                deps={item["path"]: item.get("md5") for item in entry.get("deps", [])},
                params=entry.get("params", {}),
                outs={item["path"]: item.get("md5") for item in entry.get("outs", [])},
                sizes={item["path"]: item.get("size") for item in entry.get("outs", [])},
            )
            for name, entry in stages.items()
        }
    except (KeyError, TypeError, AttributeError):
        raise ConfigError("dvc.lock is damaged; run `make sync` to restore it.") from None


def digests(lock: dict[str, LockEntry]) -> dict[str, str]:
    """Return the digest of each entry."""
    return {name: entry.digest for name, entry in lock.items()}
