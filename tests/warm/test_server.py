"""Which clients are served, and what ends with what: on real processes."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from unittest import mock

import psutil
import pytest

from src.warm import client
from src.warm.launch import warm_server
from tests.pipeline.clone import wait_for
from tests.warm.conftest import SERVER, Workshop, create_project, fork_of, is_gone, start_workshop

SLEEP = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
SLEEP_WITH_CHILD = f"import subprocess\nsubprocess.Popen(['sleep', '60'])\n{SLEEP}"
# A launcher that prints the folder of its server, starts a stage and waits for it.
LAUNCHER = """
import os, subprocess, sys
from src.warm.launch import warm_server
with warm_server() as server:
    print(server, flush=True)
    command = [sys.executable, "-m", "src.stages.probe", sys.argv[1]]
    sys.exit(subprocess.run(command, env=os.environ | {"PIPELINE_WARM": server}).returncode)
"""
# Runs its arguments when this process is no longer its parent.
DETACH = (
    "import os, subprocess, sys\nparent = os.getpid()\nif os.fork():\n  sys.exit()\n"
    "while os.getppid() == parent:\n  pass\nsubprocess.run(sys.argv[1:])"
)
CONNECT = (
    "import os, socket, sys\nos.chdir(sys.argv[1])\nos.setuid(int(sys.argv[2]))\n"
    "client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\nclient.settimeout(0.5)\nclient.connect('socket')\n"
    "try:\n  print('closed' if not client.recv(1) else '')\nexcept TimeoutError:\n  print('waits')"
)


# --- which clients are served ---


def test_only_the_user_can_enter_the_folder_of_a_server(workshop: Workshop) -> None:
    facts = Path(workshop.server).stat()
    assert (facts.st_uid, stat.S_IMODE(facts.st_mode)) == (os.getuid(), 0o700)


@pytest.mark.parametrize("mode", [0o710, 0o707, 0o755])
def test_folder_that_others_can_enter_is_not_used(own_workshop: Workshop, mode: int) -> None:
    Path(own_workshop.server).chmod(mode)
    assert not own_workshop.is_warm()
    Path(own_workshop.server).chmod(0o700)
    assert own_workshop.is_warm()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_server_refuses_another_user(own_workshop: Workshop) -> None:
    # As if another user had entered the folder.
    Path(own_workshop.server).chmod(0o755)
    (Path(own_workshop.server) / "socket").chmod(0o777)
    for user, answer in (("0", "waits"), ("65534", "closed")):
        command = [sys.executable, "-c", CONNECT, own_workshop.server, user]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{answer}\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("owner", [0, 65534])
def test_client_refuses_the_server_or_the_folder_of_another_user(tmp_path: Path, owner: int) -> None:
    folder = tmp_path / "server"
    folder.mkdir(0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(folder / "socket"))
        # The kernel reports who listens.
        os.seteuid(65534 - owner)
        try:
            listener.listen()
        finally:
            os.seteuid(0)
        os.chown(folder, owner, owner)
        with pytest.raises(PermissionError):
            client._connect(str(folder))


def test_process_that_does_not_belong_to_the_launcher_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    out = tmp_path / "parent"
    code = f"import os, psutil; open({str(out)!r}, 'w').write(' '.join(psutil.Process(os.getppid()).cmdline()) + '.')"
    environ = workshop.environ | {"PIPELINE_WARM": workshop.server}
    stage = [sys.executable, "-m", "src.stages.probe", code]
    subprocess.run([sys.executable, "-c", DETACH, *stage], cwd=workshop.path, env=environ, check=True)
    wait_for(lambda: out.exists() and out.read_text().endswith("."))
    assert SERVER not in out.read_text()


def test_invalid_request_does_not_disturb_the_server(workshop: Workshop) -> None:
    for content in (b"x", b"null", b"{}", b"[]", b'{"settings": 1}', b"\xff"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(f"{workshop.server}/socket")
            connection.sendall(content)
            assert connection.recv(1) == b""
    assert workshop.is_warm()
    assert workshop.process.num_fds() < 10


@pytest.mark.parametrize(
    "options",
    [
        {"extra": {"OMP_NUM_THREADS": "1"}},
        {"extra": {"SOME_SETTING": "1"}},
        {"preexec_fn": lambda: os.nice(1)},
        {"preexec_fn": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})},
        {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)},
        {"preexec_fn": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])},
    ],
    ids=["variable of a library", "any variable", "niceness", "cpus", "ignored signal", "blocked signal"],
)
def test_stage_that_a_fork_cannot_imitate_runs_cold(workshop: Workshop, options: dict[str, object]) -> None:
    if "sched_setaffinity" in str(getattr(options.get("preexec_fn"), "__code__", "")) and os.cpu_count() == 1:
        pytest.skip("there is one CPU only")
    assert not workshop.is_warm(**options)


@pytest.mark.parametrize("extra", ["DVC_STAGE", "PIPELINE_SESSION", "MLFLOW_RUN_ID"])
def test_variable_that_differs_between_stages_does_not_matter(workshop: Workshop, extra: str) -> None:
    assert workshop.is_warm(extra={extra: "other"})


def test_command_with_an_inherited_file_runs_cold(workshop: Workshop) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader) as file, os.fdopen(writer, "w"):
        assert workshop.run(f"import os; os.write({writer}, b'seen\\n')", pass_fds=[writer])[0] == 0
        assert file.readline() == "seen\n"


def test_interpreter_with_options_runs_cold(workshop: Workshop) -> None:
    command = [sys.executable, "-X", "dev", "-m", "src.stages.probe", "import sys; print(sys.flags.dev_mode)"]
    environ = workshop.environ | {"PIPELINE_WARM": workshop.server}
    result = subprocess.run(command, cwd=workshop.path, env=environ, capture_output=True, text=True, check=True)
    assert result.stdout == "True\n"


def test_stage_of_another_clone_runs_cold(workshop: Workshop, tmp_path: Path) -> None:
    create_project(tmp_path / "other")
    assert not workshop.is_warm(cwd=tmp_path / "other")


@pytest.mark.parametrize("server", ["{tmp_path}", "{tmp_path}/missing", "/dev/null"])
def test_variable_that_names_no_server_is_ignored(workshop: Workshop, tmp_path: Path, server: str) -> None:
    assert workshop.run("print('cold')", server=server.format(tmp_path=tmp_path)) == (0, "cold\n", "")


def test_two_stages_run_at_once_and_only_one_is_stopped(workshop: Workshop) -> None:
    with workshop.start(SLEEP) as first, workshop.start(SLEEP) as second:
        assert {fork_of(first).ppid(), fork_of(second).ppid()} == {workshop.process.pid}
        first.terminate()
        assert first.wait(60) == -signal.SIGTERM
        assert second.poll() is None
        second.terminate()


# --- what ends with what ---


def test_fork_and_its_children_die_with_its_command(workshop: Workshop) -> None:
    with workshop.start(SLEEP_WITH_CHILD) as process:
        fork = fork_of(process)
        (child,) = fork.children()
        process.kill()
        process.wait()
        wait_for(lambda: is_gone(fork) and is_gone(child), 10)
    assert workshop.is_warm()
    assert workshop.process.children() == []


def test_process_that_a_stage_leaves_running_goes_on(workshop: Workshop) -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, stderr=-3).pid)"
    left = psutil.Process(int(workshop.run(code)[1]))
    # The server has reaped the fork.
    wait_for(lambda: not workshop.process.children(), 10)
    assert not is_gone(left)
    left.kill()


def test_crash_of_a_stage_does_not_disturb_the_server(workshop: Workshop) -> None:
    server = workshop.process
    assert workshop.run("import ctypes; ctypes.string_at(0)")[0] == -signal.SIGSEGV
    assert workshop.is_warm()
    assert workshop.process == server


def test_stage_dies_with_its_server_and_the_next_one_runs_cold(own_workshop: Workshop) -> None:
    with own_workshop.start(SLEEP) as process:
        fork = fork_of(process)
        own_workshop.process.kill()
        assert process.wait(60) == -signal.SIGKILL
        wait_for(lambda: is_gone(fork), 10)
    assert (Path(own_workshop.server) / "socket").is_socket()
    assert own_workshop.run("print('cold')") == (0, "cold\n", "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_launcher_that_is_killed(
    workshop: Workshop, tmp_path: Path, number: signal.Signals
) -> None:
    # The name of this temporary folder is too long for the address of a socket, and has spaces in it.
    folder = tmp_path / ("a " * 60)
    folder.mkdir()
    environ = workshop.environ | {"TMPDIR": str(folder)}
    command = [sys.executable, "-c", LAUNCHER, SLEEP_WITH_CHILD]
    with subprocess.Popen(command, cwd=workshop.path, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server_dir = Path(process.stdout.readline().rstrip("\n"))
        assert server_dir.parent == folder
        fork = fork_of(process)
        family = [*fork.children(), fork, *psutil.Process(process.pid).children(recursive=True)]
        assert SERVER in " ".join(psutil.Process(fork.ppid()).cmdline())
        process.send_signal(number)
        process.wait()
        wait_for(lambda: all(is_gone(each) for each in family), 10)
        wait_for(lambda: not server_dir.exists(), 10)
    assert list(folder.iterdir()) == []


def test_server_and_its_folder_end_with_the_context(tmp_path: Path) -> None:
    create_project(tmp_path / "project")
    with start_workshop(tmp_path / "project") as workshop:
        server = workshop.process
        assert workshop.is_warm()
    assert is_gone(server)
    assert not Path(workshop.server).exists()


def test_server_that_ignores_sigterm_ends_all_the_same(tmp_path: Path) -> None:
    create_project(tmp_path / "project")
    previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with start_workshop(tmp_path / "project") as workshop:
            server = workshop.process
            assert workshop.is_warm()
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert is_gone(server)


def test_temporary_folder_that_an_import_makes_ends_with_the_server(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    make = "import atexit, shutil, tempfile\nmade = tempfile.mkdtemp()\natexit.register(shutil.rmtree, made)\n"
    create_project(tmp_path / "project", maker=make)
    with start_workshop(tmp_path / "project", TMPDIR=str(tmp_path / "tmp")) as workshop:
        code = "from src.stages.maker import made; import os, tempfile; print(made, os.listdir(made))"
        wait_for(lambda: workshop.server in workshop.run(code)[1])
        # A second fork still finds it, and makes its own folders where others do.
        assert workshop.run(code)[0] == 0
        assert workshop.run("import tempfile; print(tempfile.gettempdir())")[1] == f"{tmp_path / 'tmp'}\n"
    assert list((tmp_path / "tmp").iterdir()) == []


# --- where no server can run ---


def test_one_variable_turns_it_off() -> None:
    with mock.patch.dict(os.environ, PIPELINE_WARM="0"), warm_server() as server:
        assert server == "0"
        assert not any(SERVER in child.cmdline() for child in psutil.Process().children() if server in child.cmdline())


@pytest.mark.parametrize(("name", "value"), [("tempfile.tempdir", "/proc/missing"), ("sys.platform", "darwin")])
def test_machine_on_which_no_server_can_run_runs_cold(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(name, value)
    with contextlib.closing(mock.Mock()), warm_server() as server:
        assert server == "0"
    assert list(tmp_path.iterdir()) == []
