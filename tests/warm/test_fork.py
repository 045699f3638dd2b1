"""A warm stage does what a cold one does: each of these runs both ways."""

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
    "negative exit code": "raise SystemExit(-1)",
    "message as exit code": "raise SystemExit('what went wrong')",
    "no exit code": "raise SystemExit",
    "exit without cleaning up": "import os; print('lost'); os._exit(9)",
    "uncaught exception": "def f():\n  raise ValueError('no')\nf()",
    "exception with a cause": "try:\n  1 / 0\nexcept ZeroDivisionError as e:\n  raise OSError('x') from e",
    "exception group": "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
    "syntax error": "exec('a b')",
    "hook for uncaught exceptions": "import sys; sys.excepthook = lambda *_: print('hooked')\n1 / 0",
    "uncaught interrupt": "raise KeyboardInterrupt",
    "death by SIGTERM": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "death by SIGKILL": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "death by SIGSEGV": "import ctypes; ctypes.string_at(0)",
    "abort": "import os; os.abort()",
    "arguments": "import sys; print(sys.argv[2:], sys.orig_argv[1:], sys.executable)",
    "main module": "import sys; m = sys.modules['__main__']; print(m.__spec__.name, m.__file__, sorted(vars(m)))",
    "search path": "import sys; print(sys.path)",
    "working folder": "import os; print(os.getcwd())",
    "umask": "import os; print(oct(os.umask(0)))",
    "limits": "import resource; print([resource.getrlimit(n) for n in range(16)])",
    "encoding": "import sys as s; print([(f.encoding, f.errors, f.line_buffering) for f in (s.stdout, s.stderr)])",
    "standard input": "import sys; print(sys.stdin.encoding, sys.stdin.isatty(), sys.stdin.fileno())",
    "order of output": "import os\nfor n in range(99):\n  os.write(1, b'o%d ' % n); os.write(2, b'e%d ' % n)",
    "buffered output": "import sys; print('buffered'); sys.stderr.write('first')",
    "output that is not text": "import os; os.write(1, bytes(range(128)))",
    "exit handlers": "import atexit; atexit.register(print, 'last'); print('first')",
    "thread that goes on": "import threading as t, time\nt.Thread(target=lambda: (time.sleep(.2), print(1))).start()",
    "child process": "import subprocess; print(subprocess.check_output(['echo', 'hello'], text=True))",
    "pool of processes": (
        "import multiprocessing as m\nwith m.get_context('fork').Pool(2) as p:\n  print(p.map(abs, [-1, -2]))"
    ),
    "pool of threads": "import numpy as np; a = np.arange(250000.0).reshape(500, 500); print((a @ a).sum().hex())",
    "size of pools": "import numpy, threadpoolctl as t; print({p['num_threads'] for p in t.threadpool_info()})",
    "collection of garbage": "import gc; print(gc.isenabled(), gc.get_threshold())",
    "signals": "import signal as s; print([getattr(h, '__name__', h) for h in map(s.getsignal, s.valid_signals())])",
    "warnings": "import warnings; warnings.warn('careful')",
    "faults of a stage's own imports": "import no_such_module",
}


@pytest.mark.parametrize("code", SAME.values(), ids=SAME)
def test_warm_stage_gives_what_a_cold_one_gives(workshop: Workshop, code: str) -> None:
    warm = workshop.run(code, "a b", "-c", "ä")
    assert warm == workshop.run(code, "a b", "-c", "ä", server="0")


def test_fork_is_a_child_of_the_server_and_not_of_the_command(workshop: Workshop) -> None:
    assert workshop.is_warm()
    assert not workshop.is_warm(server="0")


def test_environment_is_that_of_the_command(workshop: Workshop) -> None:
    code = "import os; print({n: v for n, v in os.environ.items() if n not in ('_', 'PIPELINE_WARM')})"
    extra = {"DVC_STAGE": "probe", "MLFLOW_RUN_ID": "ab", "PIPELINE_SESSION": "\udcff"}
    warm = workshop.run(code, extra=extra)
    assert "'DVC_STAGE': 'probe'" in warm[1]
    assert warm == workshop.run(code, extra=extra, server="0")


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_new_files_get_the_mode_of_the_command(workshop: Workshop, tmp_path: Path, umask: int) -> None:
    path = tmp_path / "file"
    assert workshop.run(f"open({str(path)!r}, 'w')", umask=umask)[0] == 0
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_standard_input_reaches_the_stage(workshop: Workshop) -> None:
    with workshop.start("print(input()[::-1])", stdin=subprocess.PIPE) as process:
        assert process.communicate("hello\n", timeout=60)[0] == "olleh\n"


def test_large_output_arrives_whole_and_in_order(workshop: Workshop) -> None:
    code, out, _ = workshop.run("for n in range(1_000_000):\n  print(n)")
    assert code == 0
    assert out == "".join(f"{n}\n" for n in range(1_000_000))


def test_output_is_seen_while_the_stage_runs(workshop: Workshop) -> None:
    with workshop.start("import time; print('now', flush=True); time.sleep(60)") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        process.terminate()


def test_reader_that_goes_away_ends_a_stage_as_ever(workshop: Workshop) -> None:
    def run(server: str | None) -> tuple[int, str]:
        with workshop.start("while True:\n  print('x' * 9999)", server=server) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.read(1)
            process.stdout.close()
            return process.wait(60), process.stderr.read()

    assert run(None) == run("0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGQUIT])
@pytest.mark.parametrize("handled", [True, False])
def test_signal_reaches_the_stage(workshop: Workshop, number: signal.Signals, handled: bool) -> None:
    handler = f"signal.signal({int(number)}, lambda n, _: sys.exit(n + 100))" if handled else ""
    # In short naps: a handler of Python waits for a call that began just before the signal came.
    code = f"import signal, sys, time\n{handler}\nprint('ready', flush=True)\nwhile True:\n  time.sleep(0.05)"

    def run(server: str | None) -> int:
        with workshop.start(code, server=server) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(number)
            return process.wait(60)

    assert run(None) == run("0") == (number + 100 if handled else -number)


def test_suspended_stage_stands_still_and_goes_on(workshop: Workshop) -> None:
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


def test_interrupt_of_a_terminal_is_heard_once(workshop: Workshop) -> None:
    code = (
        "import signal, time\nheard = []\nsignal.signal(signal.SIGINT, lambda *_: heard.append(1))\n"
        "print('ready', flush=True)\nend = time.monotonic() + 1\n"
        "while time.monotonic() < end:\n  time.sleep(0.1)\nprint(len(heard))"
    )
    with workshop.start(code, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "1\n"


def test_stage_counts_as_the_command_that_dvc_started(workshop: Workshop) -> None:
    code = "from src.tracking.process import own_key, find_dvc_driver\nprint(own_key().pid)"
    with workshop.start(code) as process:
        assert process.communicate(timeout=60)[0] == f"{process.pid}\n"


def test_forks_draw_different_random_numbers(workshop: Workshop) -> None:
    code = "import random, tempfile, uuid, numpy; print(random.random(), numpy.random.rand(), uuid.uuid4())"
    numbers = [workshop.run(code)[1].split() for _ in range(2)]
    assert not set(numbers[0]) & set(numbers[1])
