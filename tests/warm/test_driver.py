"""Stages of a bare `dvc repro` share a warm server, which ends with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from src.warm import driver, processes
from src.warm.processes import ancestors, started_at
from tests.pipeline.clone import STAGES, Clone, wait_for
from tests.pipeline.conftest import clone, template  # noqa: F401 - fixtures of both folders
from tests.warm.test_preload import ABOVE

SERVER = "src.warm.server"
GO_ON = "import pathlib, time; pathlib.Path('in_stage').touch(); time.sleep(3); pathlib.Path('went_on').touch()"


def servers(path: Path) -> list[psutil.Process]:
    """List the servers of a clone, and of experiments in folders of their own within it; not their forks."""
    found = [
        process
        for process in psutil.process_iter(["cmdline", "cwd", "ppid"])
        if SERVER in (process.info["cmdline"] or []) and (process.info["cwd"] or "").startswith(str(path))
    ]
    return [process for process in found if process.info["ppid"] not in {other.pid for other in found}]


def folders(path: Path) -> list[Path]:
    return list(path.glob(".dvc/tmp/pipeline-warm-*"))


def above(path: Path) -> list[bool]:
    """Tell of each stage that ran whether it was a fork of a server."""
    found = [path / f"above-{stage}" for stage in STAGES]
    return [SERVER in file.read_text() for file in found if file.exists()]


def test_stages_of_one_dvc_share_a_server_that_ends_with_it(clone: Clone) -> None:  # noqa: F811 - the fixture is imported
    for stage in STAGES:
        clone.in_stage(stage, ABOVE)
    clone.run("dvc", "repro", PIPELINE_WARM="")
    assert above(clone.path) == [True] * len(STAGES)
    wait_for(lambda: not servers(clone.path) and not folders(clone.path), 5)
    assert clone.nested(clone.parent()).keys() == set(STAGES)


def test_one_variable_turns_it_off(clone: Clone) -> None:  # noqa: F811 - the fixture is imported
    clone.in_stage("featurize", ABOVE)
    clone.run("dvc", "repro", "-s", "featurize", PIPELINE_WARM="0")
    assert above(clone.path) == [False]


def test_stage_without_dvc_runs_by_itself(clone: Clone) -> None:  # noqa: F811 - the fixture is imported
    clone.in_stage("featurize", ABOVE)
    clone.stage("featurize", DVC_STAGE="featurize")
    assert above(clone.path) == [False]
    assert not folders(clone.path)


def test_experiment_in_a_folder_of_its_own_is_warm_and_leaves_nothing(clone: Clone) -> None:  # noqa: F811 - the fixture is imported
    clone.in_stage("train", ABOVE.replace("'above-'", f"'{clone.path}/above-'"))
    clone.run("dvc", "exp", "run", "--temp", "--set-param", "train.cv=3", PIPELINE_WARM="")
    assert above(clone.path) == [True]
    wait_for(lambda: not servers(clone.path), 5)


def test_stage_whose_dvc_is_killed_goes_on_as_it_would_cold(clone: Clone) -> None:  # noqa: F811 - the fixture is imported
    clone.in_stage("featurize", GO_ON)
    with clone.start("dvc", "repro", "-s", "featurize", PIPELINE_WARM="") as process:
        wait_for((clone.path / "in_stage").exists)
        (server,) = servers(clone.path)
        process.kill()
        wait_for((clone.path / "went_on").exists)
        # It ends with the last stage that runs.
        server.wait(10)
        assert not folders(clone.path)


def test_server_that_cannot_be_started_costs_only_the_warmth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert driver.server_of_driver() == "0", "no DVC"
    lock = tmp_path / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps({"write": {"out": {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no sockets here")

    monkeypatch.setattr("src.warm.launch.start_server", refuse)
    assert driver.server_of_driver() == "0"
    assert not folders(tmp_path)
    # The folder of somebody who was faster.
    folder = lock.parent / f"pipeline-warm-{os.getpid()}-{started_at(os.getpid())}"
    folder.mkdir()
    assert driver.server_of_driver() == str(folder)
    for text in ("", "{", "[]", "{}", '{"write": {"out": {}}}', '{"write": {"out": {"pid": "x"}}}'):
        lock.write_text(text)
        assert driver.server_of_driver() == "0"


def test_ancestors_are_those_of_the_kernel() -> None:
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        found = ancestors(process.pid)
        assert found[:2] == [process.pid, os.getpid()]
        assert found == [process.pid, *(each.pid for each in psutil.Process(process.pid).parents())]
        process.communicate(b"\n")


def test_process_that_may_not_be_looked_at_ends_the_search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    look, own = processes._stat, os.getpid()

    def refuse_others(pid: int) -> list[str]:
        if pid != own:
            raise PermissionError(pid)
        return look(pid)

    monkeypatch.setattr(processes, "_stat", refuse_others)
    assert ancestors(own) == [own, os.getppid()]
    assert driver.server_of_driver() == "0"


def test_folder_of_a_killed_server_is_deleted_by_the_next(tmp_path: Path) -> None:
    names = ["pipeline-warm-1-1", "pipeline-warm-x", f"pipeline-warm-{os.getpid()}-{started_at(os.getpid())}", "other"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "socket").touch()
    driver._sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[2:])
