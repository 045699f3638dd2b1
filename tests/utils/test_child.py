import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from src.utils import child
from src.utils.child import ChildResult, prepared_dvc
from tests.pipeline.clone import wait_for
from tests.utils.conftest import FakeDvc

ROOT = Path(__file__).parents[2]
# As no other command sleeps.
SLEEP = f"4242.{os.getpid()}"


def run_dvc(arguments: list[str], environ: Mapping[str, str], **variables: str) -> ChildResult:
    with prepared_dvc(arguments, environ) as run:
        return run(variables)


def sleeping() -> list[psutil.Process]:
    """List what the fake DVC has left running."""
    return [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", SLEEP]]


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(child, "CTRL_C_SECONDS", 0.2)


@pytest.mark.parametrize("code", [0, 1, 2, 255])
def test_exit_code_is_dvcs_own(fake_dvc: FakeDvc, code: int) -> None:
    fake_dvc(f"exit {code}")
    assert run_dvc([], dict(os.environ)) == ChildResult(code)


def test_dvc_gets_its_arguments_and_environment(fake_dvc: FakeDvc, tmp_path: Path) -> None:
    fake_dvc('echo "$@ $COLOUR" > "$OUT"')
    run_dvc(["repro", "-f", "a b"], {"PATH": os.environ["PATH"], "OUT": str(tmp_path / "out"), "COLOUR": "red"})
    assert (tmp_path / "out").read_text() == "-m dvc repro -f a b red\n"


def test_real_dvc_is_the_one_of_this_python(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_dvc(["--version"], dict(os.environ)) == ChildResult(0)
    version = subprocess.run([sys.executable, "-m", "dvc", "--version"], capture_output=True, text=True, check=True)
    assert capfd.readouterr().out == version.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, 137), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_dvc_that_was_killed_gives_the_code_of_a_shell(fake_dvc: FakeDvc, number: signal.Signals, code: int) -> None:
    fake_dvc(f"kill -{number.name.removeprefix('SIG')} $$; sleep {SLEEP}")
    result = run_dvc([], dict(os.environ))
    # Nobody told this process to stop.
    assert result == ChildResult(code)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "script",
    [
        # A stage in a shell, and nothing else.
        "sleep {sleep} & sleep 0.1; kill -{number} $PPID; wait",
        # A stage that a shell of DVC runs.
        "(sh -c 'sleep {sleep}; true' ; true) & sleep 0.1; kill -{number} $PPID; wait",
        # DVC that has started nothing yet.
        "kill -{number} $PPID; exec sleep {sleep}",
        # A stage that does not listen.
        "sh -c 'trap \"\" TERM; sleep {sleep}; sleep {sleep}' & sleep 0.1; kill -{number} $PPID; wait",
        # DVC that does not listen, nor its stage.
        "trap '' TERM INT; (sleep 0.1; kill -{number} $PPID) & sleep {sleep}; sleep {sleep}",
        # DVC that goes on with the next stage, as with --keep-going.
        "(sleep 0.1; kill -{number} $PPID) & sleep {sleep}; sleep {sleep}; sleep {sleep}",
    ],
)
def test_told_to_stop_gives_128_and_the_signal_and_leaves_no_process(
    fake_dvc: FakeDvc, script: str, number: signal.Signals
) -> None:
    # The signal comes from the child, so that it is there when it comes.
    fake_dvc("sleep 0.2; " + script.format(number=number.name.removeprefix("SIG"), sleep=SLEEP))
    started = time.monotonic()
    try:
        assert run_dvc([], dict(os.environ)) == ChildResult(128 + number, number)
        assert time.monotonic() - started < 8
        assert sleeping() == []
    finally:
        for process in sleeping():
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_handlers_of_signals_are_afterwards_as_they_were(fake_dvc: FakeDvc, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    fake_dvc(f"sleep 0.2; kill -{number.name.removeprefix('SIG')} $PPID; exec sleep {SLEEP}")
    run_dvc([], dict(os.environ))
    assert signal.getsignal(number) is before
    fake_dvc("exit 0")
    run_dvc([], dict(os.environ))
    assert signal.getsignal(number) is before


# --- before the word ---


def test_dvc_imports_before_the_word_and_gets_further_variables_with_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").write_text("stages: {say: {cmd: 'echo \"$COLOUR $SIZE\"'}}\n")
    environ = os.environ | {"COLOUR": "red", "PYTHONPATH": str(ROOT)}
    with contextlib.chdir(tmp_path), prepared_dvc(["repro", "--quiet"], environ) as run:
        assert run({"SIZE": "ten"}) == ChildResult(0)
    assert capfd.readouterr().out == "red ten\n"


def test_dvc_has_little_to_import_after_the_word(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: 'echo 1 > one', outs: [one]}}\n")
    code = (
        "import sys, importlib, src.utils.dvc_main as early, dvc.cli\n"
        "for name in early.MODULES: importlib.import_module(name)\n"
        "before = set(sys.modules)\n"
        "assert not dvc.cli.main(['repro', '--quiet'])\n"
        "print(len([name for name in set(sys.modules) - before if getattr(sys.modules[name], '__file__', None)]))"
    )
    environ = os.environ | {"PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "true"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert int(result.stdout.split()[-1]) < 30


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_runs_and_nothing_is_left_without_the_word(tmp_path: Path, error: type[BaseException]) -> None:
    before = psutil.Process().children()
    with pytest.raises(error), prepared_dvc(["init", "--no-scm", "--cd", str(tmp_path)], dict(os.environ)):
        raise error
    assert psutil.Process().children() == before
    assert list(tmp_path.iterdir()) == []


def test_dvc_that_waits_ends_with_a_killed_launcher() -> None:
    code = (
        "import os\nfrom src.utils.child import prepared_dvc\n"
        "with prepared_dvc(['--version'], os.environ) as run:\n  print('there', flush=True)\n  input()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as launcher:
        assert launcher.stdout is not None
        launcher.stdout.readline()
        (dvc,) = psutil.Process(launcher.pid).children()
        launcher.kill()
        launcher.wait()
        dvc.wait(10)


def test_interrupted_while_it_imports_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with prepared_dvc(["--version"], dict(os.environ)) as run:

        def found() -> list[psutil.Process]:
            return [each for each in psutil.Process().children() if "src.utils.dvc_main" in each.cmdline()]

        wait_for(found)
        (dvc,) = found()
        time.sleep(0.3)
        dvc.send_signal(signal.SIGINT)
        assert run({}) == ChildResult(128 + signal.SIGINT)
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_that_is_ignored_stays_ignored(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True)
    ask = f"{sys.executable} -c 'import signal; print(int(signal.getsignal(2)))'"
    (tmp_path / "dvc.yaml").write_text(f'stages: {{say: {{cmd: "{ask}"}}}}\n')
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        with contextlib.chdir(tmp_path), prepared_dvc(["repro", "--quiet"], environ) as run:
            assert run({}) == ChildResult(0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert capfd.readouterr().out == f"{int(signal.SIG_IGN)}\n"
