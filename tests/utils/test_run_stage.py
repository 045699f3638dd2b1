import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from src.config.schema import Config
from src.errors import ConfigError, DataError, MissingInputError, TrackingError
from src.utils.mlflow_run_decorator import Terminated
from src.utils.run_stage import run_stage

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, params: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a stage as a command in a folder with settings, and give its exit code."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(params)
    Path("dvc.yaml").write_text("stages:\n  data_load: {cmd: a}\n  train: {cmd: b}\n")

    def run_it(error: BaseException | None = None, name: str = "train", config: str = "params.yaml") -> int:
        def stage(_: Config) -> None:
            if error:
                raise error

        stage.__name__ = name
        monkeypatch.setattr("sys.argv", ["stage", "--config", config])
        try:
            run_stage(stage)
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return run_it


def test_stage_says_where_it_stands_and_how_long_it_took(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first == "[2/2] train"
    assert second.startswith("[2/2] train: done in 0.")


@pytest.mark.parametrize("error", [ConfigError, DataError, MissingInputError, TrackingError])
def test_error_that_a_user_can_mend_is_one_line_and_2(
    run: Run, capsys: pytest.CaptureFixture[str], error: type[Exception]
) -> None:
    assert run(error("what and where.")) == 2
    assert capsys.readouterr().err.splitlines() == ["[2/2] train", f"{error.__name__}: what and where."]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(28, "No space left on device", "data/x.parquet"),
            "OSError: [Errno 28] No space left on device: 'data/",
        ),
        (PermissionError(13, "Permission denied", "data"), "PermissionError: [Errno 13] Permission denied: 'data'"),
    ],
)
def test_error_of_the_machine_is_one_line_and_2(
    run: Run, capsys: pytest.CaptureFixture[str], error: OSError, line: str
) -> None:
    assert run(error) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(line)


@pytest.mark.parametrize(("error", "number"), [(KeyboardInterrupt(), signal.SIGINT), (Terminated(), signal.SIGTERM)])
def test_stage_told_to_stop_gives_128_and_the_signal(run: Run, error: BaseException, number: signal.Signals) -> None:
    assert run(error) == 128 + number


def test_bug_keeps_its_traceback(run: Run) -> None:
    with pytest.raises(ZeroDivisionError):
        run(ZeroDivisionError())


@pytest.mark.parametrize("code", [0, 3])
def test_exit_code_that_a_stage_chose_stands(run: Run, code: int) -> None:
    assert run(SystemExit(code)) == code


def test_missing_settings_are_named(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config="gone.yaml") == 2
    assert capsys.readouterr().err.startswith("ConfigError: gone.yaml is missing")


def test_settings_must_be_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def train(_: Config) -> None:
        """Fit."""

    monkeypatch.setattr("sys.argv", ["stage"])
    with pytest.raises(SystemExit) as caught:
        run_stage(train)
    assert caught.value.code == 2
    assert "python -m src.stages.train" in capsys.readouterr().err


def test_level_of_the_settings_decides_what_is_shown(run: Run, params: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text(params.replace("INFO", "WARNING"))
    assert run() == 0
    assert capsys.readouterr().err == ""


def test_stage_that_dvc_yaml_does_not_name_runs_all_the_same(run: Run) -> None:
    assert run(name="explore") == 0
