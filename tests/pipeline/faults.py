"""Kill the pipeline while it writes, and check that nothing is lost.

`python -m tests.pipeline.faults [--trials N] [--seed SEED]`, or `make soak N=40`, does so at random
moments in a temporary clone.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.pipeline.clone import LAUNCHER, SYNC, Clone, family, fresh_clone

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
TARGETS = ("launcher", "group", "dvc", "stage", "server")
# What is being written when the signal comes, and the stage that writes it.
WINDOWS = {
    "dvc.lock": "data_load",
    ".dvc/tmp/rwlock": "featurize",
    "data/processed/train.parquet": "data_split",
    "models/model.joblib": "train",
    "reports/metrics.json": "evaluate",
    "session.json": "featurize",
    "mlflow.db": "train",
}
PAUSE = Path(__file__).parent / "pause"
END_SECONDS = 90.0


@dataclass(frozen=True)
class Fault:
    """A signal at a moment.

    Attributes:
        window: What is being written in that moment, or "" for `delay` seconds after the start.
    """

    window: str
    target: str
    number: signal.Signals
    delay: float = 0.0

    def __str__(self) -> str:
        moment = f"while {self.window} is written" if self.window else f"after {self.delay:.1f} s"
        return f"{self.number.name} to {self.target} {moment}"


def strike(clone: Clone, fault: Fault) -> list[psutil.Process]:
    """Run stages, and send the signal in its moment.

    Returns:
        The processes that ran then; empty if the pipeline ended before that moment.
    """
    paused = clone.path.with_name("paused")
    paused.unlink(missing_ok=True)
    variables = {"PIPELINE_WARM": ""}
    if fault.window and fault.window != "mlflow.db":
        variables |= {"PAUSE_AT": fault.window, "PAUSED": str(paused), "PYTHONPATH": str(PAUSE)}
    stages = ["--single-item", WINDOWS[fault.window]] if fault.window else []
    process = clone.start(*LAUNCHER, "--force", *stages, **variables)
    begin = time.monotonic() + fault.delay
    everyone: list[psutil.Process] = []
    while process.poll() is None:
        time.sleep(0.005)
        if not _is_open(clone, fault, paused, begin):
            continue
        everyone = [each for each in family(process.pid) if _send(each, signal.SIGSTOP)]
        targets = _find_targets(everyone, fault.target)
        for each in targets:
            _send(each, fault.number)
        for each in everyone:
            _send(each, signal.SIGCONT)
        if targets:
            break
        everyone = []
    process.communicate(timeout=END_SECONDS)
    return everyone


def _is_open(clone: Clone, fault: Fault, paused: Path, begin: float) -> bool:
    if not fault.window:
        return time.monotonic() > begin
    if fault.window == "mlflow.db":
        # SQLite's file of a transaction.
        return clone.path.joinpath("mlflow.db-journal").exists()
    # It stops right after it has written its pid.
    written = paused.read_text() if paused.exists() else ""
    return written.endswith("\n") and _is_stopped(int(written))


def find_damage(clone: Clone, lock: str, processes: Sequence[psutil.Process]) -> list[str]:
    """Run the pipeline after a fault, and list what is not as before.

    Args:
        lock: `dvc.lock` before the fault.
        processes: What ran when the signal came.
    """
    problems = [f"{each} is left" for each in psutil.wait_procs(processes, timeout=END_SECONDS)[1]]
    for command in (LAUNCHER, SYNC):
        result = clone.run(*command, code=None)
        if result.returncode:
            problems.append(f"{command[-1]} exits with {result.returncode}: {result.stderr[-2000:]}")
    if clone.lock() != lock:
        problems.append("dvc.lock differs")
    if status := clone.status():
        problems.append(f"dvc status: {status}")
    if changes := clone.git("status", "--porcelain"):
        problems.append(f"git status: {changes}")
    problems += [f"run {run.info.run_name} is RUNNING" for run in clone.runs("attributes.status = 'RUNNING'")]
    return problems


def _find_targets(processes: Sequence[psutil.Process], target: str) -> list[psutil.Process]:
    if target == "launcher":
        return [processes[0]] if processes else []
    if target == "group":
        # What Ctrl-C in a terminal reaches: the warm server and its forks have sessions of their own.
        return [each for each in processes if _group(each) == _group(processes[0])]
    module = {"dvc": "src.utils.dvc_main", "stage": "src.stages.", "server": "src.warm.server"}[target]
    return [each for each in processes if module in _command(each) and (target != "server" or each.ppid())][:1]


def _group(process: psutil.Process) -> int:
    with suppress(ProcessLookupError):
        return os.getpgid(process.pid)
    return -1


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _is_stopped(pid: int) -> bool:
    with suppress(psutil.Error):
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    return False


def _send(process: psutil.Process, number: int) -> bool:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True


def main() -> int:
    """Strike at random, and print how many faults did no damage."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--trials", type=int, default=40, help="number of faults")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10_000, help="to repeat the same faults")
    options = parser.parse_args()
    choose = random.Random(options.seed)  # noqa: S311 - no secret
    n_held = n_struck = 0
    with tempfile.TemporaryDirectory() as folder:
        clone = fresh_clone(Path(folder, "repo"))
        clone.launch()
        clone.git("commit", "--quiet", "--all", "--allow-empty", "--message", "Run")
        lock = clone.lock()
        while n_struck < options.trials:
            window = choose.choice([*WINDOWS, "", "", ""])
            fault = Fault(window, choose.choice(TARGETS), choose.choice(SIGNALS), choose.uniform(0, 6))
            processes = strike(clone, fault)
            if not processes:
                continue
            n_struck += 1
            problems = find_damage(clone, lock, processes)
            n_held += not problems
            sys.stdout.write(f"{n_struck:3} {fault}: {'; '.join(problems) or 'held'}\n")
            sys.stdout.flush()
            if problems:
                clone.git("checkout", "--quiet", ".")
    sys.stdout.write(f"{n_held} of {n_struck} held (seed {options.seed})\n")
    return int(n_held < n_struck)


if __name__ == "__main__":
    sys.exit(main())
