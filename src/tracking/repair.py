"""Restore files that DVC writes in place, and that are damaged if it is killed while it writes."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from src.atomic import atomic_path
from src.config.yaml_file import check_no_conflict, parse_yaml, read_text
from src.errors import BusyError, ConfigError
from src.tracking.git import read_file

logger = logging.getLogger(__name__)

PIPELINE = Path("dvc.yaml")
LOCK, RWLOCK, COPY = Path("dvc.lock"), Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/pipeline/dvc.lock")


@dataclass
class _Holder:
    pid: int
    cmd: str


@dataclass
class _Rwlock:
    write: dict[str, _Holder] = field(default_factory=dict)
    read: dict[str, list[_Holder]] = field(default_factory=dict)


_RWLOCK = TypeAdapter(_Rwlock)


def keep_lock(root: Path) -> None:
    """Copy a `dvc.lock` that DVC has read or written, for `repair`."""
    text = _read(root / LOCK)
    if text is None:
        # The user deleted it, and does not want the copy.
        (root / COPY).unlink(missing_ok=True)
    elif text != _read(root / COPY) and not is_damaged(text):
        _write(root / COPY, text)


def repair(root: Path) -> None:
    """Restore `dvc.lock` and DVC's `rwlock` if they are damaged, and log it.

    Raises:
        BusyError: DVC is running, and may be writing them.
        ConfigError: There is no version of `dvc.lock` to restore, git left a merge conflict in it, or `dvc.yaml` is not
            YAML or is empty.
    """
    if (root / PIPELINE).exists():
        # DVC takes an empty file for a pipeline without stages, and expands aliases for hours.
        parse_yaml(read_text(root / PIPELINE), PIPELINE)
    check_no_conflict(_read(root / LOCK) or "", LOCK)
    if not (_is_lock_damaged(root) or _is_rwlock_damaged(root)):
        if not (root / LOCK).exists():
            keep_lock(root)
        return
    with _locked(root):
        if _is_lock_damaged(root):
            _restore_lock(root)
        if _is_rwlock_damaged(root):
            # It names only the processes that run stages.
            (root / RWLOCK).unlink()
            logger.warning("deleted %s, which DVC had been writing when it was killed", RWLOCK)


def is_damaged(text: str, kept: str | None = None) -> bool:
    """Return whether the text of a `dvc.lock` is only a part of what DVC writes.

    Args:
        kept: An earlier text.
    """
    if not text.endswith("\n") or (kept is not None and kept != text and kept.startswith(text)):
        return True
    try:
        content = parse_yaml(text, LOCK)
    except ConfigError:
        return True
    stages = content.get("stages", {})
    return content.get("schema") != "2.0" or not isinstance(stages, dict) or not all(map(_is_whole, stages.values()))


def _is_whole(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("cmd"), str | list):
        return False
    groups = [entry.get("deps", []), entry.get("outs", [])]
    if not isinstance(entry.get("params", {}), dict) or not all(isinstance(group, list) for group in groups):
        return False
    return all(
        isinstance(item, dict)
        and isinstance(item.get("path"), str)
        and isinstance(item.get("size", 0), int)
        and ("hash" not in item or item["hash"] in item)
        and re.fullmatch(r"[0-9a-f]{32}(\.dir)?", str(item.get("md5", "0" * 32)))
        for group in groups
        for item in group
    )


def _is_lock_damaged(root: Path) -> bool:
    text = _read(root / LOCK)
    if text is None or not is_damaged(text, _read(root / COPY)):
        return False
    # An older commit may have the first stages only.
    return is_damaged(text) or text != read_file(root, "HEAD", str(LOCK))


def _restore_lock(root: Path) -> None:
    for source, text in (("the last run", _read(root / COPY)), ("the last commit", read_file(root, "HEAD", str(LOCK)))):
        if text and not is_damaged(text):
            _write(root / LOCK, text)
            logger.warning("restored dvc.lock from %s, as DVC had been stopped while it wrote the file", source)
            return
    raise ConfigError(
        "dvc.lock is damaged, as DVC had been stopped while it wrote the file; delete it and run `make pipeline`, "
        "which takes known results from DVC's cache."
    )


def _is_rwlock_damaged(root: Path) -> bool:
    text = _read(root / RWLOCK)
    try:
        _RWLOCK.validate_json("{}" if text is None else text, strict=True)
    except ValidationError:
        return True
    return False


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Keep other DVC processes from writing."""
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo, repo.lock:
            yield
    except LockError as error:
        raise BusyError("DVC is running in this clone; wait until it has ended.") from error


def _read(path: Path) -> str | None:
    return read_text(path, errors="replace") if path.exists() else None


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
