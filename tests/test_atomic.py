import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.atomic import atomic_path


@contextmanager
def umask(mask: int) -> Iterator[None]:
    previous = os.umask(mask)
    try:
        yield
    finally:
        os.umask(previous)


@contextmanager
def full_disk(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size; a write then fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write(path: Path, text: str) -> None:
    with atomic_path(path) as partial:
        partial.write_text(text)


def test_file_appears_with_its_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    write(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "table.txt"
    write(path, "new")
    assert path.read_text() == "new"


def test_old_content_is_there_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text("old")
    with atomic_path(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_partial_file_is_in_the_same_folder_with_the_same_suffix(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    with atomic_path(path) as partial:
        assert (partial.parent, partial.suffix) == (path.parent, path.suffix)
        assert partial.name.startswith(".")
        assert partial != path


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_failed_write_leaves_the_old_content_and_no_partial_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "table.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_first_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write(tmp_path / "table.txt", 3)  # type: ignore[arg-type] - what is refused
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_the_old_content_and_no_partial_file(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text("old")
    with full_disk(1000), pytest.raises(OSError, match="too large"):
        write(path, "x" * 10_000)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_target_that_is_a_folder_is_kept_and_no_partial_file_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "table.txt"
    folder.mkdir()
    with pytest.raises(OSError, match="directory"):
        write(folder, "new")
    assert folder.is_dir()
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    path = tmp_path / "table.txt"
    with umask(mask):
        write(path, "new")
        # Looking at the umask must not change it.
        assert os.umask(mask) == mask
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("link", ["hardlink_to", "symlink_to"])
def test_file_of_the_cache_behind_a_link_is_not_written_to(tmp_path: Path, link: str) -> None:
    # DVC's cache may be linked into the workspace, read-only.
    cached, path = tmp_path / "cached", tmp_path / "table.txt"
    cached.write_text("old")
    cached.chmod(0o444)
    getattr(path, link)(cached)
    write(path, "new")
    assert (cached.read_text(), path.read_text()) == ("old", "new")
    assert not path.is_symlink()
    assert stat.S_IMODE(cached.stat().st_mode) == 0o444
