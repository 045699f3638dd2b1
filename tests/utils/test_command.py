import getpass
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from src.config.schema import Config
from src.errors import ConfigError, DataError, MissingInputError, TrackingError
from src.utils.command import command, run_stage
from src.utils.mlflow_run_decorator import Terminated

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a stage as a command in a folder with settings; returns its exit code."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((Path(__file__).parent / "params.yaml").read_text())

    def run(error: BaseException | None = None, *arguments: str) -> int:
        def train(_: Config) -> None:
            if error:
                raise error

        monkeypatch.setattr("sys.argv", ["stage", *(arguments or ("--config", "params.yaml"))])
        with pytest.raises(SystemExit) as caught:
            run_stage(train)
        return int(caught.value.code or 0)

    return run


@pytest.mark.parametrize(
    ("error", "line"),
    [
        *((kind("what and where."), f"{kind.__name__}: what and where.")
          for kind in (ConfigError, DataError, MissingInputError, TrackingError)),
        (OSError(28, "No space left on device", "x"), "OSError: [Errno 28] No space left on device: 'x'"),
        (PermissionError(13, "Permission denied", "data"), "PermissionError: [Errno 13] Permission denied: 'data'"),
    ],
)  # fmt: skip
def test_error_that_a_user_can_fix_is_one_line_and_2(
    run: Run, capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    assert run(error) == 2
    assert capsys.readouterr() == ("", f"{line}\n")


def test_command_and_its_children_stay_in_the_repository_of_their_folder(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/elsewhere/.git")
    assert run() == 0
    assert "GIT_DIR" not in os.environ


@pytest.mark.parametrize(("error", "number"), [(KeyboardInterrupt(), signal.SIGINT), (Terminated(), signal.SIGTERM)])
def test_interrupted_stage_gives_128_and_the_signal(
    run: Run, capsys: pytest.CaptureFixture[str], error: BaseException, number: signal.Signals
) -> None:
    assert run(error) == 128 + number
    assert capsys.readouterr() == ("", "")


def test_error_has_short_lines_of_what_can_be_printed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(DataError("x" * 10**6 + "\n  \x1b[2Jy")) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert (len(first), second) == (1000, "  \\x1b[2Jy")


def test_stage_under_dvc_refuses_to_let_a_later_one_delete_a_file_of_the_user(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("dvc.lock").write_text("stages: {evaluate: {cmd: x}}")
    Path("reports").mkdir()
    Path("reports/metrics.json").write_text("mine")
    assert run() == 0
    capsys.readouterr()
    monkeypatch.setenv("DVC_STAGE", "train")
    assert run(ZeroDivisionError()) == 2
    assert capsys.readouterr().err.startswith(
        "ConfigError: params.yaml: evaluate.metrics_path = 'reports/metrics.json' already exists, and no stage"
    )


def test_bug_keeps_its_traceback(run: Run) -> None:
    def broken(_: Config) -> None:
        raise ZeroDivisionError

    assert run(SystemExit(3)) == 3
    with pytest.raises(ZeroDivisionError):
        run_stage(broken)


def test_settings_must_be_named_and_exist(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(None, "--config", "gone.yaml") == 2
    assert capsys.readouterr().err.startswith("ConfigError: gone.yaml is missing")
    assert run(None, "--conf") == 2
    assert "python -m src.stages.train" in capsys.readouterr().err


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_command_passes_arguments_and_exit_codes_on(returned: int | None, code: int) -> None:
    @command
    def main(first: int, *, second: int) -> int | None:
        """Do it."""
        assert (first, second) == (1, 2)
        return returned

    assert main(1, second=2) == code
    assert (main.__name__, main.__doc__) == ("main", "Do it.")


@pytest.mark.parametrize("own", [{}, {"HOME": "/home/ann"}, {"LOGNAME": "ann"}, {"HOME": "/home/ann", "USER": "ann"}])
def test_user_without_a_name_gets_one_and_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        # So that the values of this test are removed after it.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
        if name in own:
            monkeypatch.setenv(name, own[name])
    monkeypatch.setattr("os.getuid", lambda: 2**31 + 5)

    @command
    def main() -> None:
        assert getpass.getuser() == ("ann" if own.keys() & {"LOGNAME", "USER"} else str(2**31 + 5))
        assert os.environ["HOME"] == own.get("HOME", str(tmp_path / ".dvc/tmp/home"))

    assert main() == 0


def test_user_of_the_system_keeps_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    assert command(lambda: None)() == 0
    assert dict(os.environ) == before
