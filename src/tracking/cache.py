"""Content by its MD5: hashed as DVC does, found in the workspace or in DVC's cache."""

import configparser
import hashlib
import json
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
            # DVC puts quotes around a name with a comma, a quote or a # in it.
            quote = next((mark for mark in ("'''", '"""', '"', "'") if folder.startswith(mark)), "")
            folder = folder.removeprefix(quote).removesuffix(quote)
            # DVC takes it relative to the file that names it.
            return root / ".dvc" / folder
    return root / ".dvc" / "cache"


def find_content(main_root: Path, work_root: Path, path: str, md5: str | None) -> Path | None:
    """Find a file's content by its MD5, in the workspace or else in DVC's cache.

    Args:
        main_root: Root of the repository that owns the cache.
        work_root: Root in which the stage ran.
        path: The file, relative to the root.
        md5: Its hash.

    Returns:
        A file with exactly this content, or None.
    """
    if md5 is None:
        return None
    cached = cache_dir(main_root) / "files" / "md5" / md5[:2] / md5[2:]
    for candidate in (work_root / path, cached):
        if md5_of(candidate) == md5:
            return candidate
    return None


def find_files(main_root: Path, work_root: Path, path: str, md5: str | None) -> dict[str, Path]:
    """Find a file's content by its MD5, or the files of a folder.

    Args:
        main_root: Root of the repository that owns the cache.
        work_root: Root in which the stage ran.
        path: The file or folder, relative to the root.
        md5: Its hash.

    Returns:
        Files with exactly this content by their path relative to the root, as far as they
        are still there.
    """
    if content := find_content(main_root, work_root, path, md5):
        files = [file for file in content.rglob("*") if file.is_file()] if content.is_dir() else []
        return {f"{path}/{file.relative_to(content).as_posix()}": file for file in files} or {path: content}
    if md5 is None or not md5.endswith(".dir"):
        return {}
    # What DVC keeps of a folder is a list of its files.
    listing = cache_dir(main_root) / "files" / "md5" / md5[:2] / md5[2:]
    if f"{md5_of(listing)}.dir" != md5:
        return {}
    found = {
        f"{path}/{item['relpath']}": find_content(main_root, work_root, f"{path}/{item['relpath']}", item["md5"])
        for item in json.loads(listing.read_text(encoding="utf-8"))
    }
    return {name: file for name, file in found.items() if file}


def md5_of(path: Path) -> str | None:
    """Hash a file or a folder as DVC 3 does; None if there is none."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if path.is_dir():
        listing = sorted(
            (
                {"md5": md5_of(file), "relpath": file.relative_to(path).as_posix()}
                for file in path.rglob("*")
                if file.is_file()
            ),
            key=lambda item: str(item["relpath"]),
        )
        text = json.dumps(listing, sort_keys=True)
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"
    return None
