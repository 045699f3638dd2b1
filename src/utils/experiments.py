"""Try settings as DVC experiments, two at a time: `python -m src.utils.experiments "train.estimator=knn,svm"`."""

import argparse
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from src.config.load import load_config
from src.config.train import is_loss, metric_of
from src.data.headline import read_headline, short_number
from src.errors import BusyError, ConfigError
from src.text import format_table, message_of
from src.tracking.git import run_git
from src.tracking.journal import Journal
from src.tracking.repair import repair
from src.tracking.session import numbers
from src.utils import sync_runs
from src.utils.command import command
from src.utils.exclusive import exclusive
from src.utils.grid import PARAMS, Trial, expand
from src.utils.logs import setup_logging
from src.utils.outputs import check_outputs

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.repo.experiments.queue.base import QueueEntry
    from dvc.repo.experiments.queue.celery import LocalCeleryQueue

logger = logging.getLogger(__name__)

JOBS = 2
WIDTH = 100  # of a terminal
POLL_SECONDS = 0.5
# A stage records that it was stopped, and DVC deletes the temporary folder.
END_SECONDS = 60.0
# Otherwise workers that end at once would be restarted forever.
MAX_STARTS = 3
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True)
class Result:
    """What DVC recorded for an experiment that succeeded.

    Attributes:
        seconds: Time of its stages; None if all came from the run cache, or if nothing is recorded.
    """

    metrics: dict[str, float]
    seconds: float | None


@command
def main(arguments: list[str] | None = None) -> int:
    """Run every combination of a grid as an experiment, record them in MLflow, and print a table."""
    parser = argparse.ArgumentParser(prog="experiments", description=__doc__)
    parser.add_argument("grid", help="settings and their values, as `dvc exp run --set-param` takes them")
    options = parser.parse_args(arguments)
    root = Path.cwd()
    if not (str(root).isascii() and str(root).isprintable()):
        raise ConfigError(
            "DVC runs experiments only under an ASCII path; move this clone, or change params.yaml by hand."
        )
    config = load_config(Path(PARAMS))
    setup_logging(config.base.log_level)
    taken = run_git(root, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads", "refs/tags").stdout.split()
    trials = expand(options.grid, Path(PARAMS), taken)
    with exclusive(root, "experiments"), _collected_signals() as signals:
        repair(root)
        check_outputs(config)
        untracked = run_git(root, "ls-files", "--others", "--exclude-standard", "--", "*.dvc").stdout.splitlines()
        if untracked:
            raise ConfigError(f"experiments have only what git knows: run `git add {shlex.join(untracked)}` first.")
        run_trials(root, trials, signals)
        if signals:
            return 128 + signals[0]
        code = sync_runs.main([])
        results = read_results(root, trials)
        scorings = {trial.config.train.scoring for trial in trials}
        scoring = scorings.pop() if len(scorings) == 1 else config.train.scoring
        sys.stdout.write(summarize(trials, results, scoring))
        if config.tracking.enabled:
            sys.stdout.write("Compare all of them in MLflow: make ui\n")
        return 1 if len(results) < len(trials) else code


@contextmanager
def _collected_signals() -> Iterator[list[int]]:
    """Collect signals instead of ending at once: DVC stashes the changes of the user while it queues an experiment."""
    received: list[int] = []
    previous = {number: signal.signal(number, lambda number, _: received.append(number)) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run_trials(root: Path, trials: Sequence[Trial], signals: Sequence[int] = ()) -> None:
    """Queue the experiments that do not exist yet, and run them.

    Args:
        root: Root of the repository.
        trials: The experiments.
        signals: Signals received so far; the first one stops the experiments.

    Raises:
        BusyError: DVC's workers ended before the experiments.
        ConfigError: DVC cannot queue an experiment, for example because git has no commit.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            entries = _queue(repo, trials, signals)
            if entries:
                logger.info(
                    "running %d experiments, %d at a time; `dvc queue logs NAME` shows a log", len(entries), JOBS
                )
                _run(repo.experiments.celery_queue, entries, signals)
    except DvcException as error:
        raise ConfigError(f"DVC cannot run experiments: {message_of(error).rstrip('.')}.") from error


def _queue(repo: "Repo", trials: Sequence[Trial], signals: Sequence[int]) -> "list[QueueEntry]":
    """Queue each experiment that does not exist yet with the same code, data and settings."""
    from dvc.repo import lock_repo
    from dvc.repo.experiments.refs import ExpRefInfo

    experiments, queue = repo.experiments, repo.experiments.celery_queue
    names, baseline = {trial.name for trial in trials}, experiments.scm.get_rev()
    earlier = [*queue.iter_queued(), *(done.entry for done in queue.iter_done())]
    # Otherwise `dvc queue logs NAME` might show an earlier one.
    old = {entry.stash_rev for entry in earlier if entry.name in names and entry.baseline_rev == baseline}
    if old:
        queue.remove(old)
    entries = []
    for trial in trials:
        if signals:
            break
        params = {PARAMS: trial.overrides}
        ref = str(ExpRefInfo(baseline, trial.name))
        with lock_repo(repo):
            if repo.scm.get_ref(ref):
                if _is_same(repo, trial, ref):
                    logger.info("skipping %s, which exists with the same code, data and settings", trial.name)
                    continue
                repo.scm.remove_ref(ref)
            entries.append(experiments.queue_one(queue, params=params, name=trial.name))
    return entries


def _is_same(repo: "Repo", trial: Trial, ref: str) -> bool:
    """Return whether an experiment would start from the same files as one that exists."""
    queue = repo.experiments.tempdir_queue
    entry = queue.put(params={PARAMS: trial.overrides}, name=trial.name)
    queue.stash.remove_revs([queue.stash.stash_revs[entry.stash_rev]])
    # What DVC and stages write.
    written = [
        ".dvc/tmp",
        "*dvc.lock",
        *("/".join(out.index_key[1]) for out in repo.index.outs if not out.use_cache),
    ]
    paths = ["--", ".", *(f":(exclude){path}" for path in written)]
    return run_git(Path(repo.root_dir), "diff", "--quiet", entry.stash_rev, ref, *paths).returncode == 0


def _run(queue: "LocalCeleryQueue", entries: "Sequence[QueueEntry]", signals: Sequence[int]) -> None:
    waiting = {entry.stash_rev: entry.name for entry in entries}
    before, workers, n_starts = set(psutil.Process().children()), set[psutil.Process](), 0
    try:
        while waiting and not signals:
            if not any(map(_is_running, workers)):
                if n_starts == MAX_STARTS:
                    raise BusyError("DVC's workers ended before the experiments; .dvc/tmp/exps/celery/*.out says why.")
                n_starts += queue.start_workers(JOBS) > 0
                workers = set(psutil.Process().children()) - before
            time.sleep(POLL_SECONDS)
            for done in queue.iter_done():
                if name := waiting.pop(done.entry.stash_rev, None):
                    n_done = len(entries) - len(waiting)
                    logger.info("%d of %d: %s %s", n_done, len(entries), name, "done" if done.result else "failed")
    finally:
        _end(queue, set(waiting), workers)
    if waiting:
        logger.warning("stopped; run `make experiments` again for the other %d experiments", len(waiting))


def _end(queue: "LocalCeleryQueue", stash_revs: set[str], workers: set[psutil.Process]) -> None:
    """Remove experiments from the queue, and end the workers with what they run."""
    queued = {entry.stash_rev for entry in queue.iter_queued()}
    if queued & stash_revs:
        queue.remove(queued & stash_revs)
    if queued - stash_revs:
        # The user has queued others in the meantime.
        return
    groups = {worker.pid: _members(worker.pid) for worker in workers}
    for number in (signal.SIGINT, signal.SIGKILL):
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, number)
        if not psutil.wait_procs(set().union(*groups.values()), END_SECONDS)[1]:
            break


def _members(group: int) -> set[psutil.Process]:
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group:
                found.add(process)
    return found


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read_results(root: Path, trials: Sequence[Trial]) -> dict[str, Result]:
    """Read the experiments that succeeded, by name, from DVC, and their times from the journal."""
    from dvc.repo import Repo

    names = {trial.name for trial in trials}
    journal = Journal(root)
    sessions = journal.sessions()
    results = {}
    with Repo(str(root)) as repo:
        shown = repo.experiments.show(hide_queued=True, hide_failed=True, hide_workspace=True)
        for experiment in (experiment for baseline in shown for experiment in baseline.experiments or ()):
            state = experiment.revs[0]
            if experiment.name not in names or state.data is None:
                continue
            files = [file.get("data") or {} for file in state.data.metrics.values()]
            metrics = {key: value for file in files for key, value in numbers(file).items()}
            mine = [session for session in sessions if session.exp_commit == state.rev]
            executions = [execution for session in mine for execution in journal.executions(session.id)]
            times = [execution.end_time - execution.start_time for execution in executions if execution.end_time]
            results[experiment.name] = Result(metrics, sum(times) / 1000 if times else None)
    return results


def summarize(trials: Sequence[Trial], results: Mapping[str, Result], scoring: str) -> str:
    """Return a table of the experiments, best first, and the next steps, as text."""
    metric, cv_metric = f"test_{metric_of(scoring)}", f"cv_{scoring}_mean"
    headlines = {name: read_headline(result.metrics, scoring) for name, result in results.items()}
    sign = 1 if is_loss(scoring) else -1

    def rank(trial: Trial) -> tuple[bool, bool, float, float]:
        headline, result = headlines.get(trial.name), results.get(trial.name)
        # Of equal test scores, the better one of the cross-validation, whose scorers are never losses.
        cv = -result.metrics.get(cv_metric, 0.0) if result else 0.0
        return result is None, headline is None, sign * headline.value if headline else 0.0, cv

    ranked = sorted(trials, key=rank)
    best = next((trial.name for trial in ranked if headlines.get(trial.name)), None)
    settings = [key for key in trials[0].settings if len({trial.settings[key] for trial in trials}) > 1]
    settings = settings or list(trials[0].settings)
    rows = [["  name", *settings, metric, "95 % interval", "seconds", cv_metric]]
    for trial in ranked:
        result, headline = results.get(trial.name), headlines.get(trial.name)
        interval = headline.interval if headline else None
        cv_score = result.metrics.get(cv_metric) if result else None
        rows.append([
            f"{'*' if trial.name == best else ' '} {trial.name}",
            *(trial.settings[key] for key in settings),
            "failed" if result is None else short_number(headline.value) if headline else "-",
            " to ".join(map(short_number, interval)) if interval else "-",
            "-" if result is None or result.seconds is None else f"{result.seconds:.1f}",
            "-" if cv_score is None else short_number(cv_score),
        ])  # fmt: skip
    if max(sum(len(cell) + 2 for cell in row) for row in rows) > WIDTH:
        rows = [row[:-1] for row in rows]
    lines = ["", format_table(rows, range(len(settings) + 1), WIDTH)]
    if best:
        lines += [f"* Best by {metric}. Bring it into the workspace: dvc exp apply {best}"]
    if failed := [trial.name for trial in ranked if trial.name not in results]:
        lines += [f"{len(failed)} failed; see why: dvc queue logs {failed[0]}"]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
