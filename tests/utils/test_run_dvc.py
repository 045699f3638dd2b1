import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
import yaml

from src.errors import ConfigError
from src.utils import run_dvc
from src.utils.run_dvc import ChildResult, start_dvc
from tests.utils.conftest import FakeDvc

ROOT = Path(__file__).parents[2]
# DVC sends itself a signal when it opens a file, once another file exists. Python imports this module at its start.
SIGNAL_AT_OPEN = """
import os, signal, sys
def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith(f"/{os.environ['AT_FILE']}"):
        is_dvc = "src.utils.dvc_main" in sys.orig_argv
        if is_dvc and os.environ["AT_MODE"] in str(arguments[1]) and os.path.exists(os.environ["AT_EXISTING"]):
            os.kill(os.getpid(), signal.SIGTERM)
sys.addaudithook(hook)
"""
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
    """Work in a repository without git."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    return tmp_path


def write_stages(folder: Path, **commands: str) -> None:
    """Write a pipeline whose stages run one after the other."""
    stages = {
        name: {"cmd": command, "outs": [name]} | ({"deps": [previous]} if previous else {})
        for previous, (name, command) in zip(["", *commands], commands.items(), strict=False)
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))


@pytest.fixture
def asking_folder(dvc_folder: Path) -> Path:
    """Add stages that print variables."""
    ask = f"{sys.executable} -S -c 'import signal; print(int(signal.getsignal(2)))'"
    say = "{cmd: 'echo $COLOUR $OF_STAGES > said', outs: [said]}"
    (dvc_folder / "dvc.yaml").write_text(f'stages:\n  say: {say}\n  ask: {{cmd: "{ask} > asked", outs: [asked]}}\n')
    return dvc_folder


@pytest.mark.parametrize(
    ("number", "script", "options"),
    [
        (signal.SIGINT, "kill -{number} {launcher}; exec sleep {sleep}", []),
        (signal.SIGTERM, "kill -{number} {launcher}; exec sleep {sleep}", []),
        (signal.SIGHUP, "kill -{number} {launcher}; exec sleep {sleep}", []),
        (signal.SIGINT, "kill -{number} {launcher}; sleep {sleep}; sleep {sleep}; sleep {sleep}", []),
        (signal.SIGTERM, "sh -c 'sleep {sleep}; true' & kill -{number} {launcher}; wait", []),
        (signal.SIGTERM, "trap '' TERM; kill -{number} {launcher}; sleep {sleep}; sleep {sleep}", []),
        (signal.SIGINT, "kill -{number} {launcher}; exec sleep {sleep}", ["--keep-going"]),
        (signal.SIGTERM, "kill -{number} {launcher}; exec sleep {sleep}", ["--quiet"]),
    ],
    ids=["Ctrl-C", "SIGTERM", "closed terminal", "commands of a shell", "a process in the background",
         "a stage that ignores signals",         "a DVC that continues with the next stage", "a DVC without messages"],
)  # fmt: skip
def test_signal_stops_dvc_and_its_stages_and_leaves_no_process(
    dvc_folder: Path, number: signal.Signals, script: str, options: list[str]
) -> None:
    before = signal.getsignal(number)
    # The signal comes from the stage, so that the stage is running when it comes.
    command = script.format(number=number.name.removeprefix("SIG"), sleep=SLEEP, launcher=os.getpid())
    write_stages(dvc_folder, first=command, second=f"touch second; sleep {SLEEP}")
    try:
        assert run(["repro", *options]) == ChildResult(128 + number, number)
        assert sleeping() == []
        assert signal.getsignal(number) is before
        assert not (dvc_folder / "second").exists()
    finally:
        for process in sleeping():
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stage_can_record_how_it_ended(
    dvc_folder: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(run_dvc, "STOP_SECONDS", 30)
    record = "sleep 0.5; echo recorded > ended; exit 1"
    name = number.name.removeprefix("SIG")
    write_stages(dvc_folder, first=f"trap '{record}' TERM; kill -{name} {os.getpid()}; while :; do sleep 0.05; done")
    assert run(["repro"]) == ChildResult(128 + number, number)
    assert (dvc_folder / "ended").read_text() == "recorded\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_dvc_that_ignores_signals_is_killed_with_its_stages(
    fake_dvc: FakeDvc, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(run_dvc, "DVC_SECONDS", 0.5)
    name = number.name.removeprefix("SIG")
    fake_dvc(f"trap '' TERM INT; (sleep 0.1; kill -{name} $PPID) & sleep {SLEEP}; sleep {SLEEP}; sleep {SLEEP}")
    try:
        assert run([]) == ChildResult(128 + number, number)
        assert sleeping() == []
    finally:
        for process in sleeping():
            process.kill()


def test_signal_between_two_stages_begins_no_stage(dvc_folder: Path) -> None:
    # DVC gets the signal while the first stage runs, and the stage ends as usual.
    write_stages(dvc_folder, first="trap '' TERM; kill -TERM $PPID; sleep 0.3; touch first", second="touch second")
    # Of DVC, by where it is interrupted.
    assert run(["repro"]).exit_code in (130, 252)
    assert not (dvc_folder / "second").exists()


@pytest.mark.parametrize(
    ("file", "mode", "recorded"),
    # In the third case DVC may still record the first stage.
    [("dvc.lock", "w", [["first"]]), ("first", "r", [[]]), ("tmp/lock", "", [[], ["first"]])],
    ids=["it writes", "it reads", "it takes its lock again"],
)
def test_dvc_without_a_stage_is_interrupted_at_once_unless_it_is_busy(
    dvc_folder: Path, capfd: pytest.CaptureFixture[str], file: str, mode: str, recorded: list[list[str]]
) -> None:
    write_stages(dvc_folder, first="echo > first", second="touch second")
    (dvc_folder / "sitecustomize.py").write_text(SIGNAL_AT_OPEN)
    variables = {"PYTHONPATH": f"{dvc_folder}:{ROOT}", "AT_FILE": file, "AT_MODE": mode, "AT_EXISTING": "first"}
    assert run(["repro"], os.environ | variables).exit_code == 252
    assert "ERROR: interrupted" in capfd.readouterr().err
    lock = dvc_folder / "dvc.lock"
    assert list(yaml.safe_load(lock.read_text())["stages"] if lock.exists() else []) in recorded
    assert not (dvc_folder / "second").exists()


def test_stage_ends_with_a_killed_launcher(dvc_folder: Path) -> None:
    write_stages(dvc_folder, first=f"touch begun; exec sleep {SLEEP}")
    code = (
        "import os\nfrom src.utils.run_dvc import start_dvc\n"
        "with start_dvc(['repro'], os.environ) as dvc:\n  dvc.run({}, dict)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as launcher:
        while not (dvc_folder / "begun").exists():
            time.sleep(0.01)
        (dvc,) = psutil.Process(launcher.pid).children()
        launcher.kill()
        launcher.wait()
        dvc.wait(30)
    assert sleeping() == []


@pytest.mark.parametrize("quiet", [True, False])
def test_stages_of_real_dvc_get_the_variables_and_an_ignored_ctrl_c_stays_ignored(
    asking_folder: Path, quiet: bool
) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = run(
            ["repro", *(["--quiet"] if quiet else [])], COLOUR="red", PIPELINE_OUTCOMES=str(asking_folder / "o")
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert result == ChildResult(0)
    assert (asking_folder / "said").read_text() == "red stages\n"
    if not quiet:
        assert (asking_folder / "o").read_text() == '{"say": "ran", "ask": "ran"}'
        assert (asking_folder / "asked").read_text() == f"{int(signal.SIG_IGN)}\n"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_runs_and_nothing_is_left_if_the_launcher_fails_before(
    asking_folder: Path, error: type[BaseException]
) -> None:
    before = psutil.Process().children()
    with pytest.raises(error), start_dvc(["repro"], os.environ):
        raise error
    assert psutil.Process().children() == before
    assert not (asking_folder / "said").exists()


def test_dvc_that_was_never_run_does_not_read_to_the_end(dvc_folder: Path) -> None:
    # Reading an alias bomb takes DVC minutes.
    levels = [f"a{level}: &a{level} [{f'*a{level - 1},' * 10}]\n" for level in range(1, 9)]
    (dvc_folder / "params.yaml").write_text("a0: &a0 [x]\n" + "".join(levels))
    (dvc_folder / "dvc.yaml").write_text("stages: {say: {cmd: 'echo ${a0}', outs: [said]}}\n")
    before = psutil.Process().children()
    with pytest.raises(ConfigError), start_dvc(["repro"], os.environ):
        raise ConfigError
    assert psutil.Process().children() == before


def test_dvc_that_waits_ends_silently_with_a_killed_launcher(asking_folder: Path) -> None:
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
    assert not (asking_folder / "said").exists()


def test_ctrl_c_while_dvc_is_imported_prints_nothing(asking_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (asking_folder / "dvc").mkdir()
    (asking_folder / "dvc" / "__init__.py").write_text("import time\nopen('importing', 'w').close()\ntime.sleep(60)\n")
    with start_dvc(["repro"], os.environ) as dvc:
        process = next(child for child in psutil.Process().children() if "src.utils.dvc_main" in child.cmdline())
        while not (asking_folder / "importing").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert dvc.run({}, dict) == ChildResult(128 + signal.SIGINT)
    assert capfd.readouterr() == ("", "")
