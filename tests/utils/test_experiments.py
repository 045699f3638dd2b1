import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from src.config.load import load_config
from src.utils.experiments import Result, main, summarize
from src.utils.grid import Trial, expand

PARAMS = Path(__file__).parent / "params.yaml"


def metrics(value: float) -> dict[str, float]:
    ends = {"test_f1_macro_ci95_low": value - 0.1, "test_f1_macro_ci95_high": value + 0.05}
    return {"test_f1_macro": value, "cv_f1_macro_mean": value + 0.01, **ends}


def test_best_comes_first_and_failures_come_last() -> None:
    trials = expand("train.estimator=knn,svm,logreg,mlp train.cv=3", PARAMS)
    results = {
        "knn-cv3": Result(metrics(0.8), 12.34),
        "svm-cv3": Result({}, None),
        "mlp-cv3": Result(metrics(0.9), None),
    }
    assert summarize(trials, results, "f1_macro") == (
        "\n"
        "  name        estimator  test_f1_macro  95 % interval     seconds  cv_f1_macro_mean\n"
        "* mlp-cv3     mlp        0.9000         0.8000 to 0.9500  -        0.9100\n"
        "  knn-cv3     knn        0.8000         0.7000 to 0.8500  12.3     0.8100\n"
        "  svm-cv3     svm        -              -                 -        -\n"
        "  logreg-cv3  logreg     failed         -                 -        -\n"
        "\n"
        "* Best by test_f1_macro. Bring it into the workspace: dvc exp apply mlp-cv3\n"
        "1 failed; see why: dvc queue logs logreg-cv3\n"
    )


def test_lower_loss_is_better() -> None:
    trials = expand("train.cv=3,4", PARAMS)
    results = {"cv3": Result({"test_log_loss": 0.5}, 1.0), "cv4": Result({"test_log_loss": 0.25}, 1.0)}
    text = summarize(trials, results, "neg_log_loss")
    assert text.index("* cv4") < text.index("  cv3")


def test_nothing_is_the_best_if_all_failed() -> None:
    text = summarize(expand("train.cv=3,4", PARAMS), {}, "f1_macro")
    assert "*" not in text
    assert "2 failed; see why: dvc queue logs cv3" in text


@pytest.mark.parametrize("scoring", ["f1_macro", "neg_median_absolute_error"])
def test_no_line_has_more_than_100_characters(scoring: str) -> None:
    first = expand("train.cv=3", PARAMS)[0]
    settings = [{f"long_setting_{i}": f"{'value ' * 20}{n}" for i in range(6)} for n in range(3)]
    trials = [
        dataclasses.replace(first, name=f"{n}-{'long-name-' * 5}", settings=settings[n]) for n in range(len(settings))
    ]
    results = {trial.name: Result(metrics(0.5), 3600.0) for trial in trials}
    text = summarize(trials, results, scoring)
    table = [line for line in text.splitlines() if "dvc exp" not in line]
    assert max(map(len, table)) <= 100
    assert "…" in text
    assert f"dvc exp apply {trials[0].name}" in text or scoring != "f1_macro"


def test_settings_are_shown_as_one_line() -> None:
    trials = [Trial("a", [], {"x": "1\n2\x1b[2J"}, load_config(PARAMS))]
    assert r"1\n2\x1b[2J" in summarize(trials, {}, "f1_macro")


@pytest.mark.usefixtures("workspace")
def test_wrong_grid_queues_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train.cv=3,1"]) == 2
    assert capsys.readouterr().err == (
        "ConfigError: params.yaml with train.cv=1: train.cv = 1: must be greater than or equal to 2.\n"
    )
    assert not Path(".dvc/tmp/exps").exists()


@pytest.mark.usefixtures("workspace")
def test_path_beyond_ascii_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "klon ö").mkdir()
    monkeypatch.chdir(tmp_path / "klon ö")
    assert main(["train.cv=3"]) == 2
    assert "DVC runs experiments only under an ASCII path; move this clone" in capsys.readouterr().err


def test_repository_without_a_commit_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["git", "update-ref", "-d", "HEAD"], cwd=workspace, check=True)
    assert main(["train.cv=3"]) == 2
    assert "ConfigError: DVC cannot run experiments: " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_workers_and_empties_the_queue(workspace: Path, number: int) -> None:
    (workspace / "train.sh").write_text("touch $DVC_ROOT/started-$$; sleep 600")
    (workspace / "own.csv").write_text("changed, but not committed\n")
    bin_dir = Path(sys.executable).parent
    environ = os.environ | {"PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}", "PIPELINE_WARM": "0"}
    command = [sys.executable, "-m", "src.utils.experiments", "train.cv=3,4,5"]
    with subprocess.Popen(command, cwd=workspace, env=environ, stderr=subprocess.PIPE, text=True) as process:
        # Two run at a time, and a slow machine starts them one after the other.
        while len(list(workspace.glob("started-*"))) < 2:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.1)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(90) == 128 + number
        assert process.stderr is not None
        assert "stopped; run `make experiments` again for the other 3 experiments\n" in process.stderr.read()
    assert psutil.wait_procs(family, timeout=5)[1] == []
    status = subprocess.run(["dvc", "queue", "status"], cwd=workspace, env=environ, capture_output=True, text=True)
    assert status.stdout.count("Failed") == 2
    assert "Queued" not in status.stdout
    assert "Running" not in status.stdout
    assert [path.name for path in (workspace / ".dvc/tmp/exps").glob("tmp*")] == []
    assert (workspace / "own.csv").read_text() == "changed, but not committed\n"
