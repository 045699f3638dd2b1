"""Read `dvc.lock`: the inputs, parameters and outputs of each stage."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from src.config.yaml_file import parse_yaml, read_text
from src.errors import ConfigError, VersionError


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


def hash_file(path: Path) -> str:
    """Compute the MD5 of a file, without DVC's table of known hashes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def refuse_replaced(root: Path, path: Path, advice: str = "or delete it") -> None:
    """Refuse a model file that is not the one in `dvc.lock`: reading it could run any code.

    Args:
        path: Path of the file, relative to `root`.
        advice: What else the user can do.

    Raises:
        VersionError: The file is another one, or `dvc.lock` has none.
    """
    outs = {out: md5 for entry in read_lock(root).values() for out, md5 in entry.outs.items()}
    recorded = outs.get(path.as_posix())
    if (root / path).is_file() and hash_file(root / path) != recorded:
        raise VersionError(
            f"{path} is not the model of dvc.lock ({f'MD5 {recorded}' if recorded else 'which has none'}), and loading "
            f"it could run any code: run `make pipeline`, or `dvc checkout --force {path}`, {advice}."
        )
