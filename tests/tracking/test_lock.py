from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.errors import ConfigError
from src.tracking.lock import LockEntry, digests, parse_lock, read_lock

LOCK = """\
schema: '2.0'
stages:
  train:
    cmd: [a, b]
    deps:
    - {path: data/train.parquet, hash: md5, md5: '1', size: 10}
    - {path: "https://example.org/t.csv", etag: x}
    params:
      params.yaml: {train.cv: 5}
    outs:
    - {path: models/model.joblib, hash: md5, md5: '2', size: 20}
  echo: {cmd: echo}
"""
ENTRY = LockEntry(
    ["a", "b"],
    deps={"data/train.parquet": "1", "https://example.org/t.csv": None},
    params={"params.yaml": {"train.cv": 5}},
    outs={"models/model.joblib": "2"},
    sizes={"models/model.joblib": 20},
)


def test_lock_has_what_each_stage_was_made_from_and_what_it_produced() -> None:
    assert parse_lock(LOCK) == {"train": ENTRY, "echo": LockEntry("echo")}


@pytest.mark.parametrize("text", [None, "schema: '2.0'\n", "stages:\n"])
def test_lock_without_stages_is_empty(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "dvc.lock").write_text(text)
    assert read_lock(tmp_path) == {}


@pytest.mark.parametrize("content", [b"<<<<<<< HEAD\nstages: {}\n=======\n", b"", b"\x80\x00\xff"])
def test_lock_in_conflict_cut_off_or_binary_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dvc.lock").write_bytes(content)
    with pytest.raises(ConfigError, match=r"dvc\.lock"):
        read_lock(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"cmd": "c"}, {"deps": {"a": "3"}}, {"params": {"params.yaml": {"train.cv": 3}}}, {"outs": {"models/m": "2"}}],
)
def test_different_entries_have_different_hashes(change: dict[str, Any]) -> None:
    assert replace(ENTRY, digest="", **change).digest != ENTRY.digest


def test_hash_depends_neither_on_the_order_nor_on_sizes() -> None:
    entry = replace(ENTRY, digest="", params={"p": {"x": 1, "y": {"k": 1, "l": 2}}})
    deps, params = dict(reversed(ENTRY.deps.items())), {"p": {"y": {"l": 2, "k": 1}, "x": 1}}
    assert replace(ENTRY, digest="", deps=deps, params=params, sizes={}).digest == entry.digest
    assert digests({"train": entry, "echo": ENTRY}) == {"train": entry.digest, "echo": ENTRY.digest}
