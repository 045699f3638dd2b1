import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from src.utils import run_dvc
from src.utils.run_dvc import ChildResult, start_dvc
from tests.utils.conftest import FakeDvc

ROOT = Path(__file__).parents[2]
# As no other command sleeps.
SLEEP = f"4242.{os.getpid()}"


def run(arguments: list[str], environ: Mapping[str, str] | None = None, **variables: str) -> ChildResult:
    with start_dvc(arguments, os.environ if environ is None else environ) as dvc:
        return dvc.run(variables, lambda: {"OF_STAGES": "stages"})


def sleeping() -> list[psutil.Process]:
    """List what the fake DVC left running."""
    return [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", SLEEP]]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_dvc, "STOP_SECONDS", 0.5)
    monkeypatch.setattr(run_dvc, "CTRL_C_SECONDS", 0.2)


@pytest.mark.parametrize(("end", "code"), [("exit 0", 0), ("exit 255", 255), ("kill -KILL $$", 137), ("kill $$", 143)])
def test_exit_code_is_that_of_dvc_as_a_shell_reports_it(fake_dvc: FakeDvc, end: str, code: int) -> None:
    fake_dvc(f"{end}; sleep {SLEEP}")
    assert run([]) == ChildResult(code)


def test_dvc_gets_its_arguments_and_the_variables_of_the_launcher(fake_dvc: FakeDvc, tmp_path: Path) -> None:
    fake_dvc('echo "$@|$COLOUR|$SIZE|$OF_STAGES|$HOME" > "$OUT"')
    run(["repro", "-f", "a b"], {"PATH": os.environ["PATH"], "OUT": str(tmp_path / "out"), "COLOUR": "red"}, SIZE="ten")
    assert (tmp_path / "out").read_text() == "repro -f a b|red|ten|stages|\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "script",
    [
        "sleep {sleep} & kill -{number} $PPID; wait",
        "(sh -c 'sleep {sleep}; true' ; true) & kill -{number} $PPID; wait",
        "kill -{number} $PPID; exec sleep {sleep}",
        "sh -c 'trap \"\" TERM; sleep {sleep}; sleep {sleep}' & sleep 0.1; kill -{number} $PPID; wait",
        "trap '' TERM INT; (sleep 0.1; kill -{number} $PPID) & sleep {sleep}; sleep {sleep}",
        "(sleep 0.1; kill -{number} $PPID) & sleep {sleep}; sleep {sleep}; sleep {sleep}",
    ],
    ids=["a stage", "a stage in a shell", "no stage yet", "a stage that ignores signals",
         "a DVC that ignores signals", "a DVC that continues with the next stage"],
)  # fmt: skip
def test_signal_stops_dvc_and_its_stages_and_leaves_no_process(
    fake_dvc: FakeDvc, script: str, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    # The signal comes from the child, so that the child exists when it comes.
    fake_dvc(script.format(number=number.name.removeprefix("SIG"), sleep=SLEEP))
    try:
        assert run([]) == ChildResult(128 + number, number)
        assert sleeping() == []
        assert signal.getsignal(number) is before
    finally:
        for process in sleeping():
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stage_can_record_how_it_ended_before_dvc_is_stopped(
    fake_dvc: FakeDvc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(run_dvc, "STOP_SECONDS", 30)
    stage = f"trap 'echo stage >> {tmp_path}/ended; exit 1' TERM; touch {tmp_path}/begun; while :; do sleep 0.05; done"
    fake_dvc(
        f'sh -c "{stage}" & while [ ! -e {tmp_path}/begun ]; do sleep 0.05; done;'
        f"kill -{number.name.removeprefix('SIG')} $PPID; wait; echo dvc >> {tmp_path}/ended"
    )
    assert run([]) == ChildResult(128 + number, number)
    assert (tmp_path / "ended").read_text() == "stage\ndvc\n"


def test_interruption_while_the_launcher_answers_stops_dvc(fake_dvc: FakeDvc, tmp_path: Path) -> None:
    fake_dvc(f"touch {tmp_path}/begun")

    def interrupt() -> dict[str, str]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    with start_dvc([], os.environ) as dvc:
        assert dvc.run({}, interrupt) == ChildResult(143, signal.SIGTERM)
    assert not (tmp_path / "begun").exists()


# --- the real DVC ---


@pytest.fixture
def dvc_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a repository without git whose stages print variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    ask = f"{sys.executable} -S -c 'import signal; print(int(signal.getsignal(2)))'"
    say = "{cmd: 'echo $COLOUR $OF_STAGES > said', outs: [said]}"
    (tmp_path / "dvc.yaml").write_text(f'stages:\n  say: {say}\n  ask: {{cmd: "{ask} > asked", outs: [asked]}}\n')
    return tmp_path


@pytest.mark.parametrize("quiet", [True, False])
def test_stages_of_real_dvc_get_the_variables_and_an_ignored_ctrl_c_stays_ignored(
    dvc_folder: Path, quiet: bool
) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = run(["repro", *(["--quiet"] if quiet else [])], COLOUR="red", PIPELINE_OUTCOMES=str(dvc_folder / "o"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert result == ChildResult(0)
    assert (dvc_folder / "said").read_text() == "red stages\n"
    if not quiet:
        assert (dvc_folder / "o").read_text() == '{"say": "ran", "ask": "ran"}'
        assert (dvc_folder / "asked").read_text() == f"{int(signal.SIG_IGN)}\n"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_runs_and_nothing_is_left_if_the_launcher_fails_before(
    dvc_folder: Path, error: type[BaseException]
) -> None:
    before = psutil.Process().children()
    with pytest.raises(error), start_dvc(["repro"], os.environ):
        raise error
    assert psutil.Process().children() == before
    assert not (dvc_folder / "said").exists()


def test_dvc_that_waits_ends_silently_with_a_killed_launcher(dvc_folder: Path) -> None:
    code = (
        "import os\nfrom src.utils.run_dvc import start_dvc\n"
        "with start_dvc(['repro'], os.environ):\n  print('started', flush=True)\n  input()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as launcher:
        assert launcher.stdout is not None
        launcher.stdout.readline()
        (dvc,) = psutil.Process(launcher.pid).children()
        launcher.kill()
        launcher.wait()
        dvc.wait(30)
    assert not (dvc_folder / "said").exists()


@pytest.mark.usefixtures("dvc_folder")
def test_ctrl_c_while_dvc_imports_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with start_dvc(["repro"], os.environ) as dvc:
        process = next(child for child in psutil.Process().children() if "src.utils.dvc_main" in child.cmdline())
        # Python starts in a tenth of that, and DVC imports for longer.
        while process.cpu_times().user < 0.2:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert dvc.run({}, dict) == ChildResult(128 + signal.SIGINT)
    assert capfd.readouterr() == ("", "")
