"""Stages that are interrupted or killed."""

import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.pipeline.clone import COMPLETE_SECONDS, LAUNCHER, STAGES, SYNC, Clone, family, signal_group, wait_for

SLOW_LINE = 'import pathlib, time; pathlib.Path("in_stage").touch(); time.sleep(120)'


def start_in(clone: Clone, stage: str, *command: str) -> "subprocess.Popen[str]":
    """Start a command and wait until a stage is running."""
    clone.in_stage(stage, SLOW_LINE)
    process = clone.start(*command)
    wait_for((clone.path / "in_stage").exists)
    return process


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        # It has ended.
        return []


def stage_process(process: "subprocess.Popen[str]", stage: str) -> psutil.Process:
    return next(child for child in reversed(family(process.pid)) if f"src.stages.{stage}" in command_of(child))


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def assert_nothing_is_left(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


# The first stage, the one that logs a model, and the last; `make soak` tries all signals, stages and moments.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "stage"), [(signal.SIGTERM, "data_load"), (signal.SIGINT, "train"), (signal.SIGTERM, "evaluate")]
)
def test_interruption_in_a_stage_leaves_both_runs_killed(clone: Clone, stage: str, number: signal.Signals) -> None:
    before = clone.lock()
    process = start_in(clone, stage, *LAUNCHER)
    processes = family(process.pid)
    if number == signal.SIGINT:
        signal_group(process, number)
    else:
        process.send_signal(number)
    code, output = end(process)
    assert code == 128 + number, output
    assert_nothing_is_left(processes)
    parent = clone.parent()
    assert parent.info.status == "KILLED"
    assert {name: run.info.status for name, run in clone.nested(parent).items()} == {stage: "KILLED"}
    assert clone.outcomes(parent)[STAGES.index(stage)] == "failed"
    assert clone.lock() == before


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["train"])
def test_kill_of_a_stage_is_recorded_by_the_launcher(clone: Clone, stage: str) -> None:
    process = start_in(clone, stage, *LAUNCHER)
    stage_process(process, stage).kill()
    code, output = end(process)
    assert code not in (0, 2), output
    parent = clone.parent()
    assert parent.info.status == "KILLED"
    assert {name: run.info.status for name, run in clone.nested(parent).items()} == {stage: "KILLED"}


def test_stages_of_a_dvc_that_was_killed_are_not_called_unchanged(clone: Clone) -> None:
    clone.in_stage("train", SLOW_LINE)
    process = clone.start(*LAUNCHER, PIPELINE_WARM="")
    wait_for((clone.path / "in_stage").exists)
    next(child for child in family(process.pid) if "src.utils.dvc_main" in command_of(child)).kill()
    code, output = end(process)
    assert code == 137, output
    assert clone.outcomes()[:4] == ["unchanged", "unchanged", "unchanged", "failed"]
    assert clone.outcomes()[4] == "stale"


def test_killed_launcher_leaves_no_warm_process_and_no_folder(clone: Clone, tmp_path: Path) -> None:
    clone.in_stage("featurize", SLOW_LINE)
    process = clone.start(*LAUNCHER, TMPDIR=str(tmp_path), PIPELINE_WARM="")
    wait_for((clone.path / "in_stage").exists)
    processes = family(process.pid)
    (server,) = [each for each in processes if "src.warm.server" in command_of(each)][:1]
    assert len(server.children()) == 1
    warm = [server, *server.children()]
    process.kill()
    end(process)
    assert_nothing_is_left(warm)
    # DVC gets no signal, but sees its stage fail.
    assert_nothing_is_left(processes)
    assert list(tmp_path.glob("pipeline-warm-*")) == []
    clone.run(*SYNC)
    parent = clone.parent()
    assert parent.info.status == "KILLED"
    assert clone.nested(parent)["featurize"].info.status == "KILLED"


def test_pipeline_completes_after_an_interruption(clone: Clone) -> None:
    before = clone.lock()
    process = start_in(clone, "train", *LAUNCHER)
    signal_group(process, signal.SIGINT)
    end(process)
    clone.git("checkout", "--quiet", "src")
    clone.launch()
    assert clone.lock() == before
    assert clone.status() == []
    assert clone.parent().info.status == "FINISHED"


def test_second_ctrl_c_does_not_interrupt_the_record(clone: Clone) -> None:
    process = start_in(clone, "featurize", *LAUNCHER)
    for _ in range(3):
        signal_group(process, signal.SIGINT)
    assert end(process)[0] == 130
    assert clone.nested(clone.parent())["featurize"].info.status == "KILLED"


def test_ctrl_c_of_bare_dvc_leaves_both_runs_killed(clone: Clone) -> None:
    process = start_in(clone, "featurize", "dvc", "repro")
    signal_group(process, signal.SIGINT)
    end(process)
    wait_for(lambda: clone.parent().info.status != "RUNNING", seconds=COMPLETE_SECONDS)
    parent = clone.parent()
    assert parent.info.status == "KILLED"
    assert clone.nested(parent)["featurize"].info.status == "KILLED"


def test_sync_ends_runs_that_were_killed(clone: Clone) -> None:
    process = start_in(clone, "featurize", "dvc", "repro")
    processes = family(process.pid)
    for each in processes:
        each.kill()
    end(process)
    assert clone.parent().info.status == "RUNNING"
    clone.run(*SYNC)
    parent = clone.parent()
    assert parent.info.status == "KILLED"
    assert clone.nested(parent)["featurize"].info.status == "KILLED"


def test_interrupted_parallel_search_leaves_no_worker_behind(clone: Clone) -> None:
    clone.set_param("train.n_jobs", 2)
    clone.set_param("train.param_grid.logreg.C", [float(c) for c in range(1, 1_000)])
    process = clone.start(*LAUNCHER)
    wait_for(lambda: sum("loky" in " ".join(command_of(child)) for child in family(process.pid)) >= 2)
    processes = family(process.pid)
    process.send_signal(signal.SIGTERM)
    code, output = end(process)
    assert code == 143, output
    assert_nothing_is_left(processes)
    assert clone.nested(clone.parent())["train"].info.status == "KILLED"
