"""Summarize a run of the pipeline in the terminal, in at most 30 lines of 100 characters."""

import textwrap
from collections.abc import Iterator, Sequence

from src.config.schema import Config
from src.data.headline import read_headline, short_number
from src.text import format_table, one_line
from src.tracking.journal import Execution, Review, Session, Snapshot
from src.tracking.outcomes import UP_TO_DATE

WIDTH = 100
MAX_LINES, MAX_STAGES = 30, 8


def summarize(
    config: Config, session: Session, executions: Sequence[Execution], warnings: Sequence[str], *, is_long: bool
) -> str:
    """Summarize what happened to each stage, the results, and what needs a decision.

    Args:
        executions: The stages that ran.
        warnings: Warnings that are not in the review of the session.
        is_long: Whether to show every stage, every metric and whole warnings.
    """
    snapshot, review = session.snapshot or Snapshot(), session.review or Review()
    stages = list(_list_stages(session, snapshot, executions, is_long=is_long))
    scores = _list_scores(config, snapshot, review, is_long=is_long)
    best = [f"Chosen: {one_line(review.best, WIDTH - 8)}"] if review.best else []
    places = list(_list_places(config, session, snapshot, review))
    blocks = [block for block in (stages, scores, best, places) if block]
    n_left = 1000 if is_long else MAX_LINES - sum(len(block) + 1 for block in blocks) - 1
    listed = _list_warnings(list(dict.fromkeys([*warnings, *review.warnings])), n_left)
    blocks = [block for block in (stages, scores, best, listed, places) if block]
    return "".join("\n" + "".join(f"{line}\n" for line in block) for block in blocks)


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
        yield f"{one_line(stage, width):<{width}}  {outcomes[stage]:<10}  {time}".rstrip()
    if len(shown) < len(outcomes):
        yield f"and {len(outcomes) - len(shown)} more"


def _list_scores(config: Config, snapshot: Snapshot, review: Review, *, is_long: bool) -> list[str]:
    metrics, headline = snapshot.metrics, read_headline(snapshot.metrics, config.train.scoring)
    scoring = f"cv_{config.train.scoring}_mean"
    # In a pipeline with other metrics, the first ones.
    shown = [name for name in (headline.name if headline else "", scoring) if name in metrics] or sorted(metrics)[:2]
    shown += [name for name in sorted(metrics) if name not in shown] if is_long else []
    if not shown:
        return []

    def number(name: str) -> str:
        return short_number(metrics[name]) if name in metrics else ""

    rows = [["metric", "value", "95 % interval", "baseline", "last commit"]]
    for name in shown:
        interval = " to ".join(filter(None, map(number, (f"{name}_ci95_low", f"{name}_ci95_high"))))
        before = review.committed.get(name)
        change = 0 if before is None else metrics[name] - before
        now = "" if before is None else short_number(before) + (f" ({change:+.3g})" if change else ", the same")
        rows.append([name, number(name), interval, number(f"{name}_baseline"), now])
    # Columns without a value are left out.
    used = [column for column in zip(*rows, strict=True) if any(column[1:])]
    return format_table(list(zip(*used, strict=True)), {0}, WIDTH).splitlines()


def _list_warnings(warnings: Sequence[str], n_lines: int) -> list[str]:
    """Wrap warnings, the first ones first, into some lines."""
    lines = [f"Warnings: {len(warnings)}"] if warnings else []
    more = f"  … `make pipeline ARGS=-v` shows all {len(warnings)}"
    for number, warning in enumerate(warnings, start=1):
        # One line remains for each warning, or for the hint that there are more.
        n_left = n_lines - len(lines) - (number < len(warnings))
        if n_left < 1:
            return [*lines, more]
        lines += textwrap.wrap(
            one_line(warning, 5000), WIDTH, initial_indent="- ", subsequent_indent="  ", placeholder=" …",
            max_lines=min(n_left, 2) if n_lines < 1000 else None, break_on_hyphens=False,
        )  # fmt: skip
    return lines


def _list_places(config: Config, session: Session, snapshot: Snapshot, review: Review) -> Iterator[str]:
    if snapshot.missing:
        first = ", ".join(snapshot.missing[:1])
        yield f"Missing: {one_line(first, 40)} ({len(snapshot.missing)} in all); `dvc pull` fetches what is missing"
    if snapshot.outcomes.get("train") in UP_TO_DATE and str(config.train.model_path) not in snapshot.missing:
        yield f"Model:  {config.train.model_path}"
    if snapshot.outcomes.get("evaluate") in UP_TO_DATE and str(config.evaluate.report_path) not in snapshot.missing:
        yield f"Report: {config.evaluate.report_path}; `make report` opens it"
    if session.run_id:
        yield f"Run:    {one_line(session.name, 27)}, {session.status} ({session.run_id}); `make ui` shows it"
    if session.status == "FINISHED" and review.commit:
        yield f"Commit: {one_line(review.commit, WIDTH - 8)}"
