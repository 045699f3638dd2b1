"""What the server imports, when, and what a fork makes of it."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.warm.imports import learn, read_learned, resize_pools
from tests.pipeline.clone import wait_for
from tests.warm.conftest import PROBE, Workshop, create_project, opened, start_workshop

# Appends its name to a file when it is imported.
NOTE = "open('imported', 'a').write(__name__ + ' ')\n"
# Blocks whoever imports it until the test has opened the gate for writing and closed it.
GATE = "if __name__ != '__main__':\n    open('gate-{}').read()\n"
LEARNED = ".dvc/tmp/warm-imports.json"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    create_project(path)
    return path


def wait_for_imports(path: Path, *names: str) -> None:
    imported = path / "imported"
    wait_for(lambda: imported.exists() and imported.read_text().split() == list(names), 20)


def test_stages_are_imported_in_the_order_of_the_pipeline_and_then_what_is_preloaded(project: Path) -> None:
    for name in ("a", "b", "c"):
        (project / f"src/stages/{name}.py").write_text(NOTE)
    (project / "src/utils/last.py").write_text(NOTE + "def use():\n    __name__ = 'used'\n    " + NOTE)
    commands = ["python -m src.stages.c --config x", "python  -m  src.stages.b", "python -m src.stages.missing"]
    stages = [f"  s{n}:\n    cmd: {command}\n" for n, command in enumerate(commands)]
    (project / "dvc.yaml").write_text("stages:\n" + "".join(stages))
    with start_workshop(project, "src.utils.last", "src.utils.last:use", "src.utils.last:missing"):
        wait_for_imports(project, "src.stages.c", "src.stages.b", "src.stages.a", "src.utils.last", "used")


def test_folder_without_dvc_yaml_has_a_server_too(project: Path) -> None:
    (project / "src/stages/a.py").write_text(NOTE)
    with start_workshop(project) as workshop:
        wait_for_imports(project, "src.stages.a")
        assert workshop.is_warm()


def test_server_learns_what_a_stage_imports_late(project: Path) -> None:
    (project / ".dvc/tmp").mkdir(parents=True)
    (project / "src/utils/late.py").write_text(NOTE)
    with start_workshop(project) as workshop:
        assert workshop.run("import src.utils.late")[0] == 0
        # Once by the fork, and then by the server for the other stages.
        wait_for_imports(project, "src.utils.late", "src.utils.late")
        assert workshop.run("import sys; print('src.utils.late' in sys.modules)")[1] == "True\n"
        assert workshop.run("import src.utils.late")[0] == 0
    assert "src.utils.late" in json.loads((project / LEARNED).read_text())["src.stages.probe"]
    (project / "imported").unlink()
    with start_workshop(project) as workshop:
        wait_for_imports(project, "src.utils.late")
    assert [path.name for path in (project / ".dvc/tmp").iterdir()] == ["warm-imports.json"]


def test_what_a_second_run_imports_keeps_no_first_run_waiting(project: Path) -> None:
    (project / ".dvc/tmp").mkdir(parents=True)
    (project / "src/utils/late.py").write_text("")
    with start_workshop(project) as workshop:
        workshop.run("pass")
        workshop.run("import src.utils.late")
    learned = json.loads((project / LEARNED).read_text())
    assert "src.utils.late" in learned[""]
    assert "src.utils.late" not in learned["src.stages.probe"]


def test_experiment_in_a_folder_of_its_own_teaches_the_main_repository(project: Path, tmp_path: Path) -> None:
    (tmp_path / "main/.dvc/tmp").mkdir(parents=True)
    (project / "src/utils/late.py").write_text("")
    with start_workshop(project, DVC_ROOT=str(tmp_path / "main")) as workshop:
        workshop.run("import src.utils.late")
    assert "src.utils.late" in (tmp_path / "main" / LEARNED).read_text()


@pytest.mark.parametrize("text", ["", "{", '{"src.stages.probe": ["no.such_module"]}'])
def test_unusable_memory_costs_nothing(project: Path, text: str) -> None:
    (project / ".dvc/tmp").mkdir(parents=True)
    (project / LEARNED).write_text(text)
    with start_workshop(project) as workshop:
        assert workshop.is_warm()


def test_module_that_cannot_be_imported_fails_in_the_stage_that_needs_it(project: Path) -> None:
    (project / "src/stages/broken.py").write_text("raise ValueError('half written')\n")
    with start_workshop(project) as workshop:
        assert workshop.is_warm()
        code, _, err = workshop.run("import src.stages.broken")
        assert code == 1
        assert err.endswith("ValueError: half written\n")


def test_changed_code_is_imported_again(project: Path) -> None:
    (project / "src/utils/value.py").write_text("value = 1\n")
    with start_workshop(project, "src.utils.value") as workshop:
        code = "from src.utils.value import value; print(value)"
        assert workshop.run(code)[1] == "1\n"
        (project / "src/utils/value.py").write_text("value = 222\n")
        assert workshop.run(code)[1] == "222\n"
        assert workshop.is_warm()


def test_server_with_a_thread_serves_nobody(project: Path) -> None:
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=[60], daemon=True).start()\n" + NOTE
    (project / "src/utils/threaded.py").write_text(thread)
    with start_workshop(project, "src.utils.threaded") as workshop:
        wait_for_imports(project, "src.utils.threaded")
        assert not workshop.is_warm()


def test_server_that_imported_libraries_has_one_thread(workshop: Workshop) -> None:
    assert workshop.process.num_threads() == 1


# --- stages that start while the server imports ---


@pytest.fixture
def gated(project: Path) -> Iterator[Workshop]:
    """A server that imports `a`, waits at gate 1, imports `b` and waits at gate 2."""
    for number, name in enumerate(("a", "b"), start=1):
        (project / f"src/stages/{name}.py").write_text(GATE.format(number) + PROBE)
        os.mkfifo(project / f"gate-{number}")
    (project / "src/stages/early.py").write_text(PROBE)
    commands = "".join(f"python -m src.stages.{name}\n" for name in ("a", "b", "probe"))
    (project / "dvc.yaml").write_text(commands)
    with start_workshop(project) as workshop:
        yield workshop


def test_stage_starts_when_its_own_imports_are_done_and_ends_while_the_server_imports(gated: Workshop) -> None:
    code = "import sys; print('src.stages.b' in sys.modules, 'src.stages.probe' in sys.modules)"
    # It runs as `__main__`, so that its own name is missing.
    with opened(gated.path / "gate-1"):
        process = gated.start(code, stage="early")
        wait_for(lambda: is_waiting(process.pid), 20)
    with process, opened(gated.path / "gate-2"):
        assert process.communicate(timeout=20)[0] == "False False\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_command_that_is_stopped_while_it_waits_never_starts(gated: Workshop, number: signal.Signals) -> None:
    begun = gated.path / "begun"
    with opened(gated.path / "gate-1"):
        process = gated.start(f"open({str(begun)!r}, 'w')", stage="b")
        wait_for(lambda: is_waiting(process.pid), 20)
    with process:
        with opened(gated.path / "gate-2"):
            process.send_signal(number)
            if number == signal.SIGKILL:
                process.wait(20)
            else:
                # The server must find it when the gate opens.
                wait_for(lambda: has_handled(process.pid, number))
        assert process.wait(20) == -number
    assert gated.is_warm()
    assert not begun.exists()


def is_waiting(pid: int) -> bool:
    """Return whether a command waits for its fork: then it catches SIGUSR1."""
    return bool(int(read_status(pid)["SigCgt"], 16) & 1 << (signal.SIGUSR1 - 1))


def has_handled(pid: int, number: signal.Signals) -> bool:
    """Return whether a command that got a signal waits again."""
    status = read_status(pid)
    return status["State"].startswith("S") and not int(status["ShdPnd"], 16) & 1 << (number - 1)


def read_status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


# --- pools ---


@pytest.mark.parametrize(
    ("environ", "size"),
    [
        ({}, None),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"}, 1),
        ({"OPENBLAS_NUM_THREADS": "4096"}, None),
        ({"OPENBLAS_NUM_THREADS": "0"}, None),
        ({"OPENBLAS_NUM_THREADS": "many"}, None),
    ],
)
def test_pools_have_the_size_that_the_environment_sets(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], size: int | None
) -> None:
    import numpy  # noqa: F401 - loads OpenBLAS
    from threadpoolctl import ThreadpoolController

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    pools = ThreadpoolController().select(internal_api="openblas").lib_controllers
    for pool in pools:
        pool.set_num_threads(2 if size == 1 else 1)
    resize_pools()
    assert {pool.num_threads for pool in pools} == {size or len(os.sched_getaffinity(0))}


@pytest.mark.parametrize("content", ["", "[]", '{"": 5}', "[[[", '{"a"'])
def test_damaged_record_of_imports_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / LEARNED).write_text(content)
    assert read_learned() == {}
    learn("some", loaded=set())
    assert __name__ in read_learned()["some"]
