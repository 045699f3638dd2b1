"""Files that DVC was killed while writing."""

import logging
import shutil
from pathlib import Path

import pytest

from src.errors import BusyError, ConfigError
from src.tracking.repair import COPY, LOCK, PIPELINE, RWLOCK, is_damaged, keep_lock, repair

MD5 = "0123456789abcdef" * 2
TEXT = f"""\
schema: '2.0'
stages:
  train:
    cmd: python -m src.stages.train
    deps:
    - path: data/train.parquet
      hash: md5
      md5: {MD5}
      size: 10
    params:
      params.yaml:
        train.cv: 5
    outs:
    - path: models/model.joblib
      hash: md5
      md5: {MD5}
      size: 20
  evaluate:
    cmd: [echo a, echo b]
    outs:
    - path: reports/plots
      hash: md5
      md5: {MD5}.dir
      size: 20
      nfiles: 2
"""


def test_every_part_of_a_known_lock_is_damaged() -> None:
    assert [end for end in range(len(TEXT)) if not is_damaged(TEXT[:end], TEXT)] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stages:\n",
        "schema: '2.0'\nstages: x\n",
        "schema: '9.9'\nstages: {}\n",
        "schema: '2.0'\nstages:\n  train: {cmd: c, outs: [{path: x, size: abc}]}\n",
        "schema: '2.0'\nstages:\n  train:\n",
        "schema: '2.0'\nstages:\n  train:\n    deps: []\n",
        "schema: '2.0'\nstages:\n  train: {cmd: c, deps: x}\n",
        "schema: '2.0'\nstages:\n  train: {cmd: c, params: x}\n",
        "schema: '2.0'\nstages:\n  train: {cmd: c, outs: [x]}\n",
        "schema: '2.0'\nstages:\n  train: {cmd: c, outs: [{hash: md5}]}\n",
        "schema: '2.0'\nstages:\n  train: {cmd: c, outs: [{path: x, hash: md5}]}\n",
        "schema: '2.0'\nstages:\n  train: {cmd: c, outs: [{path: x, hash: md5, md5: 01ab}]}\n",
        TEXT.rstrip("\n"),
        "\0" * 4096 + "\n",
        "- a list\n",
    ],
)
def test_lock_of_another_shape_is_damaged(text: str) -> None:
    assert is_damaged(text)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "schema: '2.0'\n",
        "schema: '2.0'\nstages:\n  old: {cmd: c, deps: [{path: a, md5: " + MD5 + "}, {path: https://a/b, etag: x}]}\n",
    ],
    ids=["all", "no stage", "older DVC and a URL"],
)
def test_lock_that_dvc_or_git_wrote_is_not_damaged(text: str) -> None:
    assert not is_damaged(text)
    assert not is_damaged(text, text)


def test_damaged_lock_comes_back_from_the_last_run(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    (repository / LOCK).write_text(TEXT)
    keep_lock(repository)
    (repository / LOCK).write_text("")
    # The copy of a damaged file would be of no use.
    keep_lock(repository)
    with caplog.at_level(logging.WARNING):
        repair(repository)
    assert (repository / LOCK).read_text() == TEXT
    assert caplog.messages == ["restored dvc.lock from the last run, as DVC had been stopped while it wrote the file"]
    repair(repository)
    assert len(caplog.messages) == 1


def test_lock_that_the_user_deleted_does_not_come_back(repository: Path) -> None:
    (repository / LOCK).write_text(TEXT)
    keep_lock(repository)
    (repository / LOCK).unlink()
    repair(repository)
    first = TEXT.partition("  evaluate:")[0]
    (repository / LOCK).write_text(first)
    repair(repository)
    assert (repository / LOCK).read_text() == first


def test_without_a_run_the_lock_comes_back_from_the_last_commit(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (repository / LOCK).read_text()
    (repository / LOCK).write_text(text[:50])
    repair(repository)
    assert (repository / LOCK).read_text() == text
    assert "from the last commit" in caplog.text


def test_lock_of_a_commit_with_fewer_stages_is_not_damaged(repository: Path) -> None:
    text = (repository / LOCK).read_text()
    more = TEXT.partition("stages:\n")[2].replace("  train:", "  third:").replace("  evaluate:", "  fourth:")
    (repository / LOCK).write_text(text + more)
    keep_lock(repository)
    (repository / LOCK).write_text(text)
    repair(repository)
    assert (repository / LOCK).read_text() == text
    (repository / LOCK).write_text(text + more)
    keep_lock(repository)
    (repository / LOCK).write_text(text + more[: more.index("    params")])
    repair(repository)
    assert (repository / LOCK).read_text() == text + more


def test_lock_that_nothing_can_restore_is_refused(repository: Path) -> None:
    (repository / LOCK).write_text("")
    shutil.rmtree(repository / ".git")
    (repository / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    with pytest.raises(ConfigError, match=r"dvc\.lock is damaged.*delete it and run `make pipeline`"):
        repair(repository)


def test_lock_that_dvc_may_be_writing_is_left(repository: Path) -> None:
    from dvc.repo import Repo

    (repository / LOCK).write_text("")
    with Repo(str(repository)) as repo, repo.lock, pytest.raises(BusyError, match="DVC is running"):
        repair(repository)
    assert (repository / LOCK).read_text() == ""


@pytest.mark.parametrize("path", ["dvc.yaml", "dvc.lock"])
def test_merge_conflict_is_left_to_the_user(repository: Path, path: str) -> None:
    (repository / path).write_text(TEXT.replace("    cmd: [echo", "<<<<<<< HEAD\n    cmd: [echo"))
    before = (repository / path).read_text()
    with pytest.raises(ConfigError, match=f"^{path} has a merge conflict; .*git checkout --ours {path}"):
        repair(repository)
    assert (repository / path).read_text() == before


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            BOMB.encode(),
            r", line \d+, column \d+: not valid YAML: there are more than 300,000 values or 20,000,000 letters, wi",
        ),
        (b"stages:\n  a: {cmd: echo 2020-99-01, desc: 2020-99-01}\n", r"'2020-99-01' is not a valid timestamp"),
        (b"", r"^dvc\.yaml is empty; `git checkout dvc\.yaml` restores it\.$"),
        (b"# stages:\n", r"^dvc\.yaml is empty; "),
        (
            "stages: {}\n".encode("utf-16"),
            r"dvc\.yaml cannot be read as UTF-8 text: .*; save it as UTF-8, or `git check",
        ),
    ],
    ids=["bomb", "date", "empty", "comments", "utf-16"],
)
def test_pipeline_that_dvc_misreads_or_never_finishes_reading_is_refused(
    repository: Path, content: bytes, problem: str
) -> None:
    (repository / PIPELINE).write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as refused:
        repair(repository)
    assert len(str(refused.value).splitlines()) == 1
    assert (repository / PIPELINE).read_bytes() == content


@pytest.mark.parametrize("text", ["", '{"write": {', "[]", '{"write": []}', '{"read": {"a": 5}}',
                                  '{"write": {"a": {"pid": "5", "cmd": "dvc"}}}', '{"write": {"a": {}}}'])  # fmt: skip
def test_damaged_rwlock_is_deleted(repository: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (repository / RWLOCK).parent.mkdir(exist_ok=True)
    (repository / RWLOCK).write_text(text)
    repair(repository)
    assert not (repository / RWLOCK).exists()
    assert caplog.messages == ["deleted .dvc/tmp/rwlock, which DVC had been writing when it was killed"]


def test_files_that_are_not_there_or_not_damaged_are_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    repair(tmp_path)
    keep_lock(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / RWLOCK).parent.mkdir(parents=True)
    (tmp_path / RWLOCK).write_text('{"write": {}, "read": {}}')
    (tmp_path / LOCK).write_text(TEXT)
    repair(tmp_path)
    assert (tmp_path / RWLOCK).exists()
    assert not (tmp_path / COPY).exists()
    assert caplog.messages == []
