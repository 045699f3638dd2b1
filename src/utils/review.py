"""Review the results of a run for the summary: what won, what changed, and what needs a decision."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from src.config.schema import Config
from src.data.candidates import name_candidates
from src.data.columns import declared_columns, read_columns
from src.data.findings import read_findings
from src.data.headline import read_headline
from src.errors import ConfigError, MissingInputError
from src.report.inputs import list_candidates, read_candidates, sort_candidates
from src.text import show
from src.tracking.dvc_repo import DvcRepo
from src.tracking.git import read_file, run_git
from src.tracking.journal import Execution, Review, Session, Snapshot
from src.tracking.lock import LockEntry, parse_lock
from src.tracking.names import UNKNOWN
from src.tracking.outcomes import UP_TO_DATE


def review_results(config: Config, session: Session, executions: Sequence[Execution], repo: DvcRepo) -> Review:
    """Review the results in the workspace.

    Args:
        session: A session that has just ended.
        executions: Its executions.
        repo: The workspace.
    """
    snapshot = session.snapshot or Snapshot()
    up_to_date = [stage for stage, outcome in snapshot.outcomes.items() if outcome in UP_TO_DATE]
    last = {execution.stage: execution for execution in executions}
    found = list(_find_failures(last.values()))
    found += [text for execution in last.values() for text in execution.warnings]
    for stage in up_to_date:
        # A stage that was skipped, or whose log level is ERROR, logged nothing.
        if stage != "data_load" or not (stage in last and last[stage].warnings):
            found += _find_problems(stage, config, snapshot.metrics)
    committed, now = read_file(repo.root, "HEAD", "dvc.lock"), repo.read_text("dvc.lock")
    entries = _parse(committed) if committed and committed != now else {}
    metrics = snapshot.metrics if committed == now else repo.read_metrics(revision="HEAD") if entries else {}
    return Review(
        best=_name_best(config) if "train" in up_to_date else "",
        committed=metrics,
        commit=_advise(repo.root) if committed != now and session.git.branch != UNKNOWN else "",
        warnings=list(dict.fromkeys([*found, *_compare_outputs(entries, repo.lock)])),
    )


def _advise(root: Path) -> str:
    """Return the commands that commit the results."""
    untracked = run_git(root, "ls-files", "--others", "--exclude-standard").stdout.splitlines()
    names = shlex.join(untracked[:3]) + (" …" if len(untracked) > 3 else "")
    return (f"git add {names} && " if untracked else "") + 'git commit -am "…"'


def _name_best(config: Config) -> str:
    """Return what the search chose, such as `svm C=10, the best of 12 candidates`."""
    with suppress(MissingInputError):
        candidates = sort_candidates(read_candidates(config.train.cv_results_path))
        # There is none if nothing was searched.
        if not {"estimator", "rank"} <= set(candidates):
            return ""
        named = list_candidates(candidates)
        if candidates["rank"].notna().any():
            which = "the best of" if candidates["rank"].iloc[0] == 1 else "chosen from"
            return name_candidates(named)[0] + (f", {which} {len(named)} candidates" if len(named) > 1 else "")
    return ""


def _find_failures(executions: Iterable[Execution]) -> Iterator[str]:
    for execution in executions:
        if execution.status == "FAILED" and execution.error:
            yield f"stage {execution.stage} failed: {execution.error}"


def _find_problems(stage: str, config: Config, metrics: Mapping[str, float]) -> Iterator[str]:
    """Find what a stage warns about, from what it wrote."""
    with suppress(MissingInputError):
        if stage == "data_load":
            declared = declared_columns(config)
            columns = read_columns(config.data_load.schema_path)
            unused = [name for name, column in columns.items() if column["kind"] == "ignore" and name not in declared]
            if unused:
                yield f"unused columns: {len(unused)}, such as {show(unused[0])}; no kind fits their values"
        elif stage == "data_split":
            for finding in read_findings(config.data_split.checks_path):
                yield f"data check {finding.kind}: {finding.message}"
        elif stage == "evaluate":
            headline = read_headline(metrics, config.train.scoring)
            if headline and headline.problem:
                yield headline.problem


def _compare_outputs(committed: Mapping[str, LockEntry], now: Mapping[str, LockEntry]) -> Iterator[str]:
    """Find outputs that differ from the last commit although a stage had the same inputs."""
    for name, entry in now.items():
        before = committed.get(name)
        if before is None or (before.cmd, before.deps, before.params) != (entry.cmd, entry.deps, entry.params):
            continue
        paths = [path for path, md5 in entry.outs.items() if before.outs.get(path, md5) != md5]
        if paths:
            yield (
                f"{paths[0]} differs from the last commit, although stage {name} had the same inputs; "
                "a different CPU or package version may change the last digits (docs/how-to/versions.md)"
            )


def _parse(lock: str) -> dict[str, LockEntry]:
    try:
        return parse_lock(lock)
    except ConfigError:
        return {}
