"""Where DVC's cache is."""

import configparser
from pathlib import Path


def cache_dir(root: Path) -> Path:
    """Find DVC's cache: `cache.dir` of `.dvc/config.local` or `.dvc/config`, else `.dvc/cache`.

    Args:
        root: Root of the main repository.
    """
    for name in ("config.local", "config"):
        config = configparser.RawConfigParser(strict=False)
        try:
            config.read(root / ".dvc" / name, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        if folder := config.get("cache", "dir", fallback=""):
            # DVC takes it relative to the file that names it.
            return root / ".dvc" / folder
    return root / ".dvc" / "cache"
