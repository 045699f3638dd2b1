"""Summarize a run of the pipeline in the terminal, in at most 30 lines of 100 characters."""

import textwrap
from collections.abc import Iterator, Sequence

from src.config.schema import Config
from src.data.headline import read_headline
from src.text import one_line, short_number
from src.tracking.journal import Execution, Review, Session, Snapshot
from src.tracking.outcomes import UP_TO_DATE

WIDTH = 100
MAX_STAGES, MAX_WARNINGS, MAX_WARNING_LINES = 8, 4, 2


def summarize(
    config: Config, session: Session, executions: Sequence[Execution], warnings: Sequence[str], *, is_long: bool
) -> str:
    """Summarize what happened to each stage, the results, and what to decide about.

    Args:
        executions: The stages that ran.
        warnings: Warnings that are not in the review of the session.
        is_long: Whether to show every stage, every metric and whole warnings.
    """
    snapshot, review = session.snapshot or Snapshot(), session.review or Review()
    all_warnings = list(dict.fromkeys([*warnings, *review.warnings]))
    blocks = [
        list(_list_stages(session, snapshot, executions, is_long=is_long)),
        list(_list_scores(config, snapshot, review, is_long=is_long)),
        [f"Best: {_fit(review.best, WIDTH - 6)}"] if review.best else [],
        list(_list_warnings(all_warnings, is_long=is_long)),
        list(_list_places(config, session, snapshot, review)),
    ]
    return "".join("\n" + "".join(f"{line}\n" for line in block) for block in blocks if block)


def _list_stages(
    session: Session, snapshot: Snapshot, executions: Sequence[Execution], *, is_long: bool
) -> Iterator[str]:
    outcomes = snapshot.outcomes
    if not outcomes:
        return
    if session.status == "FINISHED" and set(outcomes.values()) == {"unchanged"}:
        yield f"Nothing to do: all {len(outcomes)} stages are up to date."
        return
    shown = list(outcomes)
    if len(shown) > MAX_STAGES and not is_long:
        # What ran or failed matters most.
        shown = sorted(shown, key=lambda stage: outcomes[stage] == "unchanged")[: MAX_STAGES - 1]
        shown = [stage for stage in outcomes if stage in shown]
    seconds = {
        execution.stage: (execution.end_time - execution.start_time) / 1000
        for execution in executions
        if execution.end_time
    }
    width = max(12, *(min(len(stage), 50) for stage in shown))
    yield f"{'stage':<{width}}  {'outcome':<10}  seconds"
    for stage in shown:
        time = f"{seconds[stage]:7.1f}" if stage in seconds else ""
        yield f"{_fit(stage, width):<{width}}  {outcomes[stage]:<10}  {time}".rstrip()
    if len(shown) < len(outcomes):
        yield f"and {len(outcomes) - len(shown)} more"


def _list_scores(config: Config, snapshot: Snapshot, review: Review, *, is_long: bool) -> Iterator[str]:
    metrics, headline = snapshot.metrics, read_headline(snapshot.metrics, config.train.scoring)
    scoring = f"cv_{config.train.scoring}_mean"
    # In a pipeline with other metrics, the first ones.
    shown = [name for name in (headline.name if headline else "", scoring) if name in metrics] or sorted(metrics)[:2]
    shown += [name for name in sorted(metrics) if name not in shown] if is_long else []
    if not shown:
        return
    width = max(len(_fit(name, 36)) for name in ["metric", *shown])
    header = f"{'metric':<{width}}  {'value':>9}  {'95 % interval':<19}  {'baseline':>9}"
    yield header + ("  last commit" if review.committed else "")
    for name in shown:
        low, high = metrics.get(f"{name}_ci95_low"), metrics.get(f"{name}_ci95_high")
        interval = "" if low is None or high is None else f"{short_number(low)} to {short_number(high)}"
        baseline = metrics.get(f"{name}_baseline")
        cells = f"{_fit(name, 36):<{width}}  {short_number(metrics[name]):>9}  {interval:<19}"
        cells += f"  {'' if baseline is None else short_number(baseline):>9}"
        before = review.committed.get(name)
        if before is not None:
            change = metrics[name] - before
            cells += f"  {short_number(before)}" + (f" ({change:+.4g})" if change else ", the same")
        yield cells.rstrip()


def _list_warnings(warnings: Sequence[str], *, is_long: bool) -> Iterator[str]:
    if not warnings:
        return
    yield f"Warnings: {len(warnings)}"
    n_lines = 1000 if is_long else MAX_WARNING_LINES
    for warning in warnings if is_long else warnings[:MAX_WARNINGS]:
        yield from textwrap.wrap(
            one_line(warning, 5000),
            WIDTH,
            initial_indent="- ",
            subsequent_indent="  ",
            max_lines=n_lines,
            placeholder=" …",
            break_on_hyphens=False,
        )
    if len(warnings) > MAX_WARNINGS and not is_long:
        yield f"  and {len(warnings) - MAX_WARNINGS} more: `make pipeline ARGS=-v` shows all"


def _list_places(config: Config, session: Session, snapshot: Snapshot, review: Review) -> Iterator[str]:
    if snapshot.missing:
        first = ", ".join(snapshot.missing[:1])
        yield f"Missing: {_fit(first, 50)} ({len(snapshot.missing)} in all); `dvc pull` fetches what is missing"
    if snapshot.outcomes.get("train") in UP_TO_DATE and str(config.train.model_path) not in snapshot.missing:
        yield f"Model:  {config.train.model_path}"
    if snapshot.outcomes.get("evaluate") in UP_TO_DATE and str(config.evaluate.report_path) not in snapshot.missing:
        yield f"Report: {config.evaluate.report_path}; `make report` opens it"
    if session.run_id:
        yield f"Run:    {_fit(session.name, 27)}, {session.status} ({session.run_id}); `make ui` shows it"
    if session.status == "FINISHED" and not review.is_committed:
        yield 'Commit: `git commit -am "…"` keeps this result; `make publish TAG=…` shares it'


def _fit(text: str, width: int) -> str:
    return one_line(text, width)
