"""Outputs may be links into DVC's cache; no stage writes into the cache."""

import hashlib
from pathlib import Path

import pytest

from tests.pipeline.clone import Clone

TABLE = "data/processed/train.parquet"


def cached(clone: Clone) -> dict[str, str]:
    """Return the hash of each file in the cache by its name, which should be equal."""
    files = [path for path in (clone.path / ".dvc/cache/files/md5").rglob("*") if path.is_file()]
    return {(path.parent.name + path.name).removesuffix(".dir"): md5_of(path) for path in files}


def md5_of(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.mark.slow
@pytest.mark.thorough
def test_stages_replace_outputs_that_are_links(clone: Clone) -> None:
    lock = clone.lock()
    clone.run("dvc", "config", "--local", "cache.type", "reflink,hardlink,copy")
    clone.launch("-f")
    output = clone.path / TABLE
    # A file system that can clone files needs no links.
    assert output.stat().st_nlink == 2 or "reflink" in clone.run("dvc", "doctor").stdout.partition("Supports:")[2]
    clone.set_param("data_split.test_size", 0.3)
    clone.launch()
    assert {name for name, md5 in cached(clone).items() if name != md5} == set()
    clone.git("checkout", "--quiet", "params.yaml")
    clone.launch()
    assert clone.lock() == lock
    assert md5_of(output) in cached(clone)
