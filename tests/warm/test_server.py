"""Who is served, what ends with what, and what is left behind: on real processes."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import psutil
import pytest

from src.warm import client
from src.warm.launch import warm_server
from src.warm.server import Server
from tests.pipeline.clone import wait_for
from tests.warm.conftest import Workshop, copy_code, start_workshop

SLEEP = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
# As one with workers does.
SLEEP_WITH_CHILD = f"import subprocess\nsubprocess.Popen(['sleep', '60'])\n{SLEEP}"
# A launcher that says where its server is, starts a stage under it, and waits for it.
LAUNCHER = """
import os, subprocess, sys
from src.warm.launch import warm_server
with warm_server() as server:
    print(server, flush=True)
    command = [sys.executable, "-m", "src.stages.probe", sys.argv[1]]
    sys.exit(subprocess.run(command, env=os.environ | {"PIPELINE_WARM": server}).returncode)
"""


def fork_of(process: "subprocess.Popen[str]") -> psutil.Process:
    """Read which process a sleeping stage is, warm or cold."""
    assert process.stdout is not None
    return psutil.Process(int(process.stdout.readline()))


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


# --- who is served ---


def test_only_its_user_can_reach_a_server(workshop: Workshop) -> None:
    facts = Path(workshop.server).stat()
    assert (facts.st_uid, stat.S_IMODE(facts.st_mode)) == (os.getuid(), 0o700)


def test_folder_that_others_can_enter_is_not_used(own_workshop: Workshop) -> None:
    Path(own_workshop.server).chmod(0o755)
    assert not own_workshop.is_warm()
    Path(own_workshop.server).chmod(0o700)
    assert own_workshop.is_warm()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_server_does_not_greet_another_user(own_workshop: Workshop) -> None:
    ask = (
        "import os, socket, sys; os.chdir(sys.argv[1]); client = socket.socket(socket.AF_UNIX); "
        "os.setuid(int(sys.argv[2])); client.connect('socket'); print(client.recv(1).decode())"
    )
    # As if somebody had got in.
    Path(own_workshop.server).chmod(0o755)
    (Path(own_workshop.server) / "socket").chmod(0o777)
    for user, answer in (("0", client.HELLO.decode()), ("65534", "")):
        command = [sys.executable, "-c", ask, own_workshop.server, user]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{answer}\n"


def test_server_of_another_user_is_not_used(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    client._connect(workshop.server).close()
    own, other = os.getuid(), os.getuid() + 1
    with monkeypatch.context() as patch:
        patch.setattr(client, "peer_of", lambda _: (1, other))
        with pytest.raises(PermissionError):
            client._connect(workshop.server)
    monkeypatch.setattr(os, "getuid", lambda: other)
    monkeypatch.setattr(client, "peer_of", lambda _: (1, other))
    with pytest.raises(PermissionError):
        client._connect(workshop.server)
    assert Path(workshop.server).stat().st_uid == own


def test_process_that_is_not_below_the_launcher_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    script = "import os, sys\nif os.fork():\n  sys.exit()\nos.setsid()\nimport subprocess\n"
    script += "while os.getppid() == int(sys.argv[1]):\n  pass\n"
    script += f"subprocess.run([{sys.executable!r}, '-m', 'src.stages.probe', sys.argv[2]])"
    out = tmp_path / "parent"
    code = f"import os, psutil; open({str(out)!r}, 'w').write(' '.join(psutil.Process(os.getppid()).cmdline()) + '.')"
    environ = workshop.environ | {"PIPELINE_WARM": workshop.server}
    command = [sys.executable, "-c", script, str(os.getpid()), code]
    subprocess.run(command, cwd=workshop.path, env=environ, check=True)
    wait_for(lambda: out.exists() and out.read_text().endswith("."))
    assert "src.warm.server" not in out.read_text()


def test_what_is_no_request_does_not_disturb_the_server(workshop: Workshop) -> None:
    for content in (b"", b"x", b"\0\0\0\4null", b"\0\0\0\2{}", b"\0\0\0\1{", b"\xff\xff\xff\xff"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{workshop.server}/socket")
            client.sendall(content)
    assert workshop.is_warm()


@pytest.mark.parametrize(
    "options",
    [
        {"extra": {"OMP_NUM_THREADS": "1"}},
        {"extra": {"PYTHONWARNINGS": "error"}},
        {"extra": {"SOME_SETTING": "1"}},
        {"preexec_fn": lambda: os.nice(1)},
        {"preexec_fn": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})},
        {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)},
        {"pass_fds": [0]},
    ],
    ids=[
        "variable of a library",
        "variable of Python",
        "any variable",
        "niceness",
        "cpus",
        "ignored signal",
        "nothing",
    ],
)
def test_command_that_no_fork_can_be_like_runs_by_itself(workshop: Workshop, options: dict[str, object]) -> None:
    like_the_server = options == {"pass_fds": [0]} or (
        "preexec_fn" in options and options["preexec_fn"].__code__.co_names[1:2] == ("sched_setaffinity",)  # type: ignore[attr-defined]  # a lambda
        and len(os.sched_getaffinity(0)) == 1
    )  # fmt: skip
    assert workshop.is_warm(**options) is like_the_server


def test_command_with_a_file_of_its_own_runs_by_itself(workshop: Workshop) -> None:
    reader, writer = os.pipe()
    try:
        code = f"import os; os.write({writer}, b'seen')"
        assert workshop.run(code, pass_fds=[writer])[0] == 0
        assert os.read(reader, 4) == b"seen"
    finally:
        os.close(reader)
        os.close(writer)


def test_interpreter_with_options_runs_by_itself(workshop: Workshop) -> None:
    command = [sys.executable, "-X", "dev", "-m", "src.stages.probe", "import sys; print(sys.flags.dev_mode)"]
    environ = workshop.environ | {"PIPELINE_WARM": workshop.server}
    result = subprocess.run(command, cwd=workshop.path, env=environ, capture_output=True, text=True, check=True)
    assert result.stdout == "True\n"


def test_code_of_another_clone_is_not_taken_from_the_server(workshop: Workshop, tmp_path: Path) -> None:
    copy_code(tmp_path)
    assert not workshop.is_warm(cwd=tmp_path)


def test_two_stages_run_at_once(workshop: Workshop) -> None:
    with workshop.start(SLEEP) as first, workshop.start(SLEEP) as second:
        forks = {fork_of(first), fork_of(second)}
        assert {fork.ppid() for fork in forks} == {workshop.process.pid}
        first.terminate()
        assert first.wait(60) == -signal.SIGTERM
        assert second.poll() is None
        second.terminate()


def test_two_clones_at_once_have_a_server_each(workshop: Workshop, own_workshop: Workshop) -> None:
    with workshop.start(SLEEP) as first, own_workshop.start(SLEEP) as second:
        parents = [fork_of(first).ppid(), fork_of(second).ppid()]
        assert parents == [workshop.process.pid, own_workshop.process.pid]
        first.terminate()
        second.terminate()


def test_client_that_cannot_be_accepted_costs_the_server_nothing() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        # Nobody can connect to it, and it refuses to accept.
        Server(listener, os.getpid(), outlives=False)._accept()


# --- what a fork starts from ---


def test_server_has_one_thread_and_a_fork_begins_with_one(workshop: Workshop) -> None:
    assert workshop.process.num_threads() == 1
    assert workshop.run("import psutil; print(psutil.Process().num_threads())", server=workshop.server)[1] in (
        # The pool that OpenBLAS has in any process; none of it was there before the fork.
        f"{n}\n" for n in range(1, 2 * len(os.sched_getaffinity(0)) + 1)
    )  # fmt: skip


def test_changed_code_is_imported_anew(own_workshop: Workshop) -> None:
    code = "from src.data.files import made_up; print(made_up)"
    assert own_workshop.run(code)[0] == 1
    path = own_workshop.path / "src/data/files.py"
    path.write_text(f"{path.read_text()}\nmade_up = 'anew'\n")
    assert own_workshop.is_warm()
    assert own_workshop.run(code) == (0, "anew\n", "")


def test_module_that_cannot_be_imported_is_the_affair_of_the_stage_that_needs_it(tmp_path: Path) -> None:
    copy_code(tmp_path)
    (tmp_path / "src/stages/train.py").write_text("raise ValueError('half written')\n")
    with start_workshop(tmp_path) as workshop:
        assert workshop.is_warm()
        code, _, err = workshop.run("import src.stages.train")
        assert code == 1
        assert "ValueError: half written" in err


# --- what ends with what ---


def test_fork_dies_with_its_command(workshop: Workshop) -> None:
    with workshop.start(SLEEP_WITH_CHILD) as process:
        fork = fork_of(process)
        (child,) = fork.children()
        process.kill()
        process.wait()
        wait_for(lambda: is_gone(fork) and is_gone(child), 5)
    assert workshop.is_warm()


@pytest.mark.parametrize("server", [None, "0"])
def test_what_a_stage_leaves_running_goes_on_when_it_has_ended(workshop: Workshop, server: str | None) -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, stderr=-3).pid)"
    exit_code, out, _ = workshop.run(code, server=server)
    assert exit_code == 0
    left = psutil.Process(int(out))
    # Long enough for the server to notice.
    time.sleep(1)
    assert not is_gone(left)
    left.kill()


def test_crash_of_a_stage_leaves_the_server_as_it_was(workshop: Workshop) -> None:
    server = workshop.process
    assert workshop.run("import ctypes; ctypes.string_at(0)")[0] == -signal.SIGSEGV
    assert workshop.is_warm()
    assert workshop.process == server


def test_stage_whose_server_is_killed_counts_as_killed_and_the_next_runs_by_itself(own_workshop: Workshop) -> None:
    with own_workshop.start(SLEEP) as process:
        fork = fork_of(process)
        own_workshop.process.kill()
        assert process.wait(60) == -signal.SIGKILL
        wait_for(lambda: is_gone(fork), 5)
    assert own_workshop.run("print('by itself')") == (0, "by itself\n", "")


def test_stale_socket_is_passed_by(own_workshop: Workshop) -> None:
    server = own_workshop.process
    server.kill()
    wait_for(lambda: is_gone(server), 5)
    assert (Path(own_workshop.server) / "socket").is_socket()
    assert own_workshop.run("print('by itself')") == (0, "by itself\n", "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_launcher_that_is_killed(
    workshop: Workshop, tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-c", LAUNCHER, SLEEP_WITH_CHILD]
    # A temporary folder whose name is too long for the address of a socket, and has a space in it.
    folder = tmp_path / ("a " * 60)
    folder.mkdir()
    environ = workshop.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(command, cwd=workshop.path, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server_dir = Path(process.stdout.readline().rstrip("\n"))
        assert server_dir.parent == folder
        fork = fork_of(process)
        family = [*fork.children(), fork, *psutil.Process(process.pid).children(recursive=True)]
        assert "sleep" in family[0].name()
        assert "src.warm.server" in " ".join(psutil.Process(fork.ppid()).cmdline())
        process.send_signal(number)
        process.wait()
        wait_for(lambda: all(is_gone(each) for each in family), 5)
        wait_for(lambda: not server_dir.exists(), 5)
    assert list(folder.iterdir()) == []


def test_nothing_is_left_when_the_launcher_ends(tmp_path: Path) -> None:
    copy_code(tmp_path)
    with start_workshop(tmp_path) as workshop:
        server = workshop.process
        assert workshop.is_warm()
    assert is_gone(server)
    assert not Path(workshop.server).exists()


def test_nothing_is_left_of_what_a_library_makes_without_a_home(tmp_path: Path) -> None:
    copy_code(tmp_path / "copy")
    (tmp_path / "tmp").mkdir()
    with start_workshop(tmp_path / "copy", HOME="/proc/nowhere", TMPDIR=str(tmp_path / "tmp")) as workshop:
        for _ in range(2):
            code = "import pathlib, matplotlib, tempfile; print(pathlib.Path(matplotlib.get_cachedir()).parent)"
            assert workshop.run(f"{code}; print(tempfile.gettempdir())") == (
                0, f"{workshop.server}\n{tmp_path / 'tmp'}\n", "",
            )  # fmt: skip
    assert list((tmp_path / "tmp").iterdir()) == []


@contextlib.contextmanager
def in_environment(**variables: str) -> Iterator[None]:
    with mock.patch.dict(os.environ, variables):
        yield


def test_one_variable_turns_it_off() -> None:
    before = psutil.Process().children()
    with in_environment(PIPELINE_WARM="0"), warm_server() as server:
        assert server == "0"
        assert psutil.Process().children() == before


def test_folder_for_the_socket_that_cannot_be_made_costs_only_the_warmth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/no/such/folder")
    with warm_server() as server:
        assert server == "0"


def test_platform_without_the_means_costs_only_the_warmth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with warm_server() as server:
        assert server == "0"


def test_variable_that_names_no_server_is_passed_by(workshop: Workshop, tmp_path: Path) -> None:
    for server in (str(tmp_path), str(tmp_path / "gone"), "", "/dev/null"):
        assert workshop.run("print('by itself')", server=server) == (0, "by itself\n", "")
