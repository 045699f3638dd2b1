import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from src.utils import child
from src.utils.child import ChildResult, run_dvc
from tests.utils.conftest import FakeDvc

# As no other command sleeps.
SLEEP = f"4242.{os.getpid()}"


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
