"""A warm stage does what a cold one does: most of these run both ways."""

import ast
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.pipeline.clone import wait_for
from tests.warm.conftest import Workshop

SAME = {
    "exit code 0": "pass",
    "exit code of its own": "raise SystemExit(7)",
    "exit code beyond a byte": "raise SystemExit(300)",
    "message as exit code": "raise SystemExit('what went wrong')",
    "no exit code": "raise SystemExit",
    "exit without cleaning up": "import os; print('lost'); os._exit(9)",
    "uncaught exception": "def f():\n  raise ValueError('no')\nf()",
    "exception with a cause": "try:\n  1 / 0\nexcept ZeroDivisionError as e:\n  raise OSError('x') from e",
    "syntax error": "exec('a b')",
    "hook for uncaught exceptions": "import sys; sys.excepthook = lambda *_: print('hooked')\n1 / 0",
    "uncaught interrupt": "raise KeyboardInterrupt",
    "death by SIGTERM": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "death by SIGKILL": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "death by SIGSEGV": "import ctypes; ctypes.string_at(0)",
    "arguments": "import sys; print(sys.argv, sys.orig_argv[1:], sys.executable)",
    "main module": "import sys; m = sys.modules['__main__']; print(m.__spec__.name, m.__file__, m.__name__)",
    "environment": (
        "import gc, os, sys, resource as r, signal as s, tempfile\n"
        "print(sys.path, os.getcwd(), oct(os.umask(0)), [r.getrlimit(n) for n in range(16)], tempfile.gettempdir())\n"
        "print([(f.encoding, f.errors, f.line_buffering) for f in (sys.stdout, sys.stderr)], sys.stdin.isatty())\n"
        "print(gc.isenabled(), gc.get_threshold(), sys.dont_write_bytecode)\n"
        "print([getattr(h, '__name__', h) for h in map(s.getsignal, s.valid_signals())], s.pthread_sigmask(0, []))"
    ),
    "buffered output": "import sys; print('buffered'); sys.stderr.write('first')",
    "output that is not text": "import os; os.write(1, bytes(range(128)))",
    "exit handlers": "import atexit; atexit.register(print, 'last'); print('first')",
    "exit handler that fails": "import atexit; atexit.register(int, 'x')",
    "thread that goes on": "import threading as t, time\nt.Thread(target=lambda: (time.sleep(.2), print(1))).start()",
    "child process": "import subprocess; print(subprocess.check_output(['echo', 'hello'], text=True))",
    "pool of processes": "import joblib\nprint(joblib.Parallel(2)(joblib.delayed(abs)(n) for n in (-1, -2)))",
    "pool of threads": "import numpy as np; a = np.arange(250000.0).reshape(500, 500); print((a @ a).sum().hex())",
    "size of pools": "import numpy, threadpoolctl as t; print({p['num_threads'] for p in t.threadpool_info()})",
    "missing module": "import no_such_module",
}


@pytest.mark.parametrize("code", SAME.values(), ids=SAME)
def test_warm_stage_does_what_a_cold_one_does(workshop: Workshop, code: str) -> None:
    warm = workshop.run(code, "a b", "-c", "ä")
    assert warm == workshop.run(code, "a b", "-c", "ä", server="0")


def test_output_that_nobody_reads_is_an_error_as_ever(workshop: Workshop) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    warm, cold = (workshop.run("print('x')", stdout=writer, server=server) for server in (workshop.server, "0"))
    assert warm == cold
    assert warm[0] == 120


def test_stage_is_a_fork_of_the_server_if_there_is_one(workshop: Workshop) -> None:
    assert workshop.is_warm()
    assert not workshop.is_warm(server="0")


def test_environment_is_that_of_the_command_and_names_its_process(workshop: Workshop) -> None:
    code = "import os; print({n: v for n, v in os.environ.items() if n not in ('_', 'PIPELINE_WARM')})"
    extra = {"DVC_STAGE": "probe", "MLFLOW_RUN_ID": "ab", "PIPELINE_SESSION": "\udcff"}
    cold = workshop.run(code, extra=extra, server="0")[1]
    with workshop.start(code, extra=extra) as process:
        warm = process.communicate(timeout=60)[0]
    assert ast.literal_eval(warm) == ast.literal_eval(cold) | {"PIPELINE_CLIENT_PID": str(process.pid)}


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_new_files_get_the_mode_of_the_command(workshop: Workshop, tmp_path: Path, umask: int) -> None:
    path = tmp_path / "file"
    assert workshop.run(f"open({str(path)!r}, 'w')", umask=umask)[0] == 0
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_stage_reads_the_standard_input_of_its_command(workshop: Workshop) -> None:
    with workshop.start("print(input()[::-1])", stdin=subprocess.PIPE) as process:
        assert process.communicate("hello\n", timeout=60)[0] == "olleh\n"


def test_long_output_arrives_complete_and_in_order(workshop: Workshop) -> None:
    code, out, _ = workshop.run("for n in range(1_000_000):\n  print(n)")
    assert code == 0
    assert out == "".join(f"{n}\n" for n in range(1_000_000))


def test_output_to_a_terminal_appears_line_by_line(workshop: Workshop) -> None:
    ours, theirs = os.openpty()
    start = workshop.start("print('now'); input()", stdin=subprocess.PIPE, stdout=theirs)
    with start as process, os.fdopen(ours, "rb") as terminal:
        assert terminal.readline() == b"now\r\n"
        process.communicate("\n", timeout=60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1])
@pytest.mark.parametrize("handled", [True, False])
def test_signal_reaches_the_stage(workshop: Workshop, number: signal.Signals, handled: bool) -> None:
    handler = f"signal.signal({int(number)}, lambda n, _: sys.exit(n + 100))" if handled else ""
    # In short naps: Python's handler waits for a call that began just before the signal arrived.
    code = f"import signal, sys, time\n{handler}\nprint('ready', flush=True)\nwhile True:\n  time.sleep(0.05)"
    with workshop.start(code) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(60) == (number + 100 if handled else -number)


def test_suspended_stage_stops_with_its_children_and_continues(workshop: Workshop) -> None:
    code = (
        "import os, subprocess\nwith subprocess.Popen(['sleep', '60']) as worker:\n"
        "  print(os.getpid(), worker.pid, flush=True)\n  input()\n  worker.kill()\nprint('done')"
    )
    with workshop.start(code, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        family = [psutil.Process(process.pid), *map(psutil.Process, map(int, process.stdout.readline().split()))]
        process.send_signal(signal.SIGTSTP)
        wait_for(lambda: {each.status() for each in family} == {psutil.STATUS_STOPPED})
        process.send_signal(signal.SIGCONT)
        assert process.communicate("\n", timeout=60)[0] == "done\n"
    assert process.returncode == 0


def test_interrupt_from_a_terminal_arrives_once(workshop: Workshop) -> None:
    code = (
        "import signal, time\nheard = []\nsignal.signal(signal.SIGINT, lambda *_: heard.append(1))\n"
        "print('ready', flush=True)\nend = time.monotonic() + 0.5\n"
        "while time.monotonic() < end:\n  time.sleep(0.1)\nprint(len(heard))"
    )
    with workshop.start(code, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "1\n"


def test_forks_draw_different_random_numbers(workshop: Workshop) -> None:
    code = "import random, tempfile, uuid, numpy; print(random.random(), numpy.random.rand(), uuid.uuid4())"
    numbers = [workshop.run(code)[1].split() for _ in range(2)]
    assert not set(numbers[0]) & set(numbers[1])
