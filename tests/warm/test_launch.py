"""The stages of a bare `dvc repro` share a server, which ends with it."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from src.warm.launch import server_of_dvc
from src.warm.processes import ancestors, process_settings, started_at
from tests.pipeline.clone import Clone, wait_for
from tests.pipeline.conftest import clone, fresh, template  # noqa: F401 - fixtures of both folders
from tests.warm.conftest import SERVER, Workshop, clean_environ, create_project, opened

# Holds DVC's lock, as DVC does while a stage runs, and runs the code of a stage.
DVC = """
import json, os, pathlib, subprocess, sys
holder = {"pid": os.getpid(), "cmd": "dvc repro"}
pathlib.Path(".dvc/tmp/rwlock").write_text(json.dumps({"write": {"out": holder}, "read": {}}))
"""
RUN_STAGES = f"{DVC}\nfor code in sys.argv[1:]:\n  subprocess.run([sys.executable, '-m', 'src.stages.probe', code])"
START_SERVER = f"{DVC}\nfrom src.warm.launch import server_of_dvc\nprint(server_of_dvc('src.utils.sync_runs'))"
PARENT = "import os; print(open(f'/proc/{os.getppid()}/cmdline').read().split('\\0')[2])"
FINISH = """
import os, pathlib, sys
if __name__ == "__main__":
    facts = (os.environ.get("DVC_STAGE"), sys.argv[1:], [os.readlink(f"/proc/self/fd/{n}") for n in range(3)])
    pathlib.Path("finished").write_text(repr(facts))
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Workshop]:
    """A project with a stage, whose servers end with the DVC that runs it."""
    path = tmp_path / "project"
    create_project(path)
    (path / ".dvc/tmp").mkdir(parents=True)
    (path / "src/utils/sync_runs.py").write_text(FINISH)
    yield Workshop(path, environ=clean_environ())
    wait_for(lambda: not servers(tmp_path) and not folders(path), 20)


def start_dvc(project: Workshop, script: str, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(
        command, cwd=project.path, env=project.environ | variables, stdout=subprocess.PIPE, text=True
    )


def run_dvc(project: Workshop, script: str, *arguments: str, **variables: str) -> str:
    with start_dvc(project, script, *arguments, **variables) as process:
        return process.communicate(timeout=60)[0]


def servers(path: Path) -> list[psutil.Process]:
    """List the servers in a folder and its subfolders, without their forks."""
    found = [
        process
        for process in psutil.process_iter(["cmdline", "cwd", "ppid"])
        if SERVER in (process.info["cmdline"] or []) and (process.info["cwd"] or "").startswith(str(path))
    ]
    return [process for process in found if process.info["ppid"] not in {other.pid for other in found}]


def folders(path: Path) -> list[Path]:
    return list(path.glob(".dvc/tmp/pipeline-warm-*"))


def test_stages_of_one_dvc_share_a_server(project: Workshop) -> None:
    code = "import os; print(os.getppid())"
    first, second = run_dvc(project, RUN_STAGES, code, code).split()
    assert first == second
    assert run_dvc(project, RUN_STAGES, PARENT) == f"{SERVER}\n"


def test_one_variable_turns_it_off(project: Workshop) -> None:
    assert run_dvc(project, RUN_STAGES, PARENT, PIPELINE_WARM="0") != f"{SERVER}\n"
    assert not folders(project.path)


def test_stage_that_no_dvc_runs_runs_cold(project: Workshop) -> None:
    assert project.run(PARENT, server="")[1] != f"{SERVER}\n"
    assert not folders(project.path)


@pytest.mark.parametrize("variables", [{}, {"DVC_ROOT": "{root}"}])
def test_last_module_runs_once_when_dvc_has_ended(project: Workshop, tmp_path: Path, variables: dict[str, str]) -> None:
    variables = {name: value.format(root=tmp_path) for name, value in variables.items()}
    finished = (tmp_path if variables else project.path) / "finished"
    run_dvc(project, RUN_STAGES, f"import os; print(os.path.exists({str(finished)!r}))", DVC_STAGE="a", **variables)
    wait_for(finished.exists, 20)
    wait_for(lambda: not servers(tmp_path), 20)
    assert ast.literal_eval(finished.read_text()) == ("a", ["--only-unfinished"], ["/dev/null"] * 3)


def test_last_module_does_not_run_if_no_stage_was_served(project: Workshop) -> None:
    assert str(project.path) in run_dvc(project, START_SERVER)
    wait_for(lambda: not servers(project.path) and not folders(project.path), 20)
    assert not (project.path / "finished").exists()


def test_last_module_waits_for_a_stage_that_outlives_dvc(project: Workshop) -> None:
    go_on = project.path / "go_on"
    os.mkfifo(go_on)
    code = "print('ready', flush=True); open('go_on').read(); import os; assert not os.path.exists('finished')"
    with start_dvc(project, RUN_STAGES, f"{code}; open('went_on', 'w')") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.wait()
        with opened(go_on):
            pass
        wait_for((project.path / "finished").exists, 20)
    assert (project.path / "went_on").exists()


def test_folder_that_another_stage_made_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold_lock(tmp_path)
    folder = tmp_path / ".dvc/tmp" / f"pipeline-warm-{os.getpid()}-{started_at(os.getpid())}"
    folder.mkdir()
    assert server_of_dvc() == str(folder)


def test_server_that_cannot_start_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold_lock(tmp_path)
    monkeypatch.setattr("sys.executable", "/missing/python")
    assert server_of_dvc() == "0"
    assert not folders(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"write": {"out": {}}}', '{"write": {"out": {"pid": "x"}}}'])
def test_lock_file_that_dvc_is_writing_names_no_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    hold_lock(tmp_path).write_text(text)
    assert server_of_dvc() == "0"


def hold_lock(path: Path) -> Path:
    lock = path / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps({"write": {"out": {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}))
    return lock


def test_folder_of_a_killed_server_is_deleted_by_the_next(project: Workshop) -> None:
    tmp = project.path / ".dvc/tmp"
    living = f"pipeline-warm-{os.getpid()}-{started_at(os.getpid())}"
    for name in ("pipeline-warm-1-1", "pipeline-warm-x", living, "other"):
        (tmp / name).mkdir()
        (tmp / name / "socket").touch()
    run_dvc(project, RUN_STAGES, "pass")
    wait_for(lambda: {path.name for path in tmp.iterdir() if path.is_dir()} == {living, "other"}, 20)
    for path in folders(project.path):
        (path / "socket").unlink()
        path.rmdir()


def test_ancestors_are_those_of_the_kernel() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        found = ancestors(process.pid)
        assert found == [process.pid, os.getpid(), *(each.pid for each in psutil.Process().parents())]
        process.communicate(b"\n")


@pytest.mark.slow
def test_real_dvc_runs_its_stages_warm(clone: Clone) -> None:  # noqa: F811 - the fixture is imported
    note = "open(os.environ['DVC_ROOT'] + '/parent', 'w').write(open(f'/proc/{os.getppid()}/cmdline').read())"
    clone.in_stage("train", f"import os; {note}")
    clone.run("dvc", "exp", "run", "--temp", "--set-param", "train.cv=3", PIPELINE_WARM="")
    assert SERVER in clone.read("parent")
    wait_for(lambda: not servers(clone.path), 20)


@pytest.mark.slow
@pytest.mark.thorough
def test_cold_pipeline_writes_the_bytes_of_a_warm_one(clone: Clone) -> None:  # noqa: F811 - the fixture is imported
    lock = clone.lock()
    clone.launch("-f", PIPELINE_WARM="0")
    assert clone.lock() == lock


def test_commands_run_cold_without_this_package(project: Workshop) -> None:
    shutil.rmtree(project.path / "src/warm")
    assert run_dvc(project, RUN_STAGES, "print('cold')") == "cold\n"


@pytest.mark.slow
def test_stage_of_the_pipeline_runs_without_this_package(fresh: Clone) -> None:  # noqa: F811 - the fixture is imported
    shutil.rmtree(fresh.path / "src/warm")
    fresh.stage("data_load")
    assert (fresh.path / "data/raw/dataset.parquet").exists()


def test_prompt_of_an_active_virtual_environment_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    before = process_settings()
    monkeypatch.setenv("PS1", "(.venv) ")
    assert process_settings() == before
