"""Print a summary at the end of a run of the pipeline."""

from collections.abc import Sequence

from src.config.schema import Config
from src.tracking.journal import Execution, Session, Snapshot
from src.tracking.outcomes import UP_TO_DATE


def summarize(config: Config, session: Session, executions: Sequence[Execution]) -> str:
    """Return the outcome of each stage, the metrics, and where to find the results, as text."""
    snapshot = session.snapshot or Snapshot()
    lines = ["", f"{'stage':<14}{'outcome':<12}seconds"]
    for stage, outcome in snapshot.outcomes.items():
        seconds = [
            (execution.end_time - execution.start_time) / 1000
            for execution in executions
            if execution.stage == stage and execution.end_time
        ]
        lines.append(f"{stage:<14}{outcome:<12}{f'{seconds[-1]:7.1f}' if seconds else ''}".rstrip())
    if session.status == "FINISHED" and set(snapshot.outcomes.values()) == {"unchanged"}:
        lines += ["", f"Nothing to do: all {len(snapshot.outcomes)} stages are up to date."]
    if snapshot.metrics:
        # Metrics of single classes, such as `test_f1_class.setosa`, would hide the others.
        shown = {name: value for name, value in sorted(snapshot.metrics.items()) if "_class." not in name}
        width = max(26, *(len(name) + 2 for name in shown))
        lines += ["", *(f"{name:<{width}}{value:.4f}" for name, value in shown.items())]
    lines += [""]
    if snapshot.missing:
        first = ", ".join(snapshot.missing[:2])
        lines += [f"Not in this clone: {first} ({len(snapshot.missing)} in all); `dvc pull` fetches what is missing"]
    if snapshot.outcomes.get("train") in UP_TO_DATE and str(config.train.model_path) not in snapshot.missing:
        lines += [f"Model: {config.train.model_path}"]
    if snapshot.outcomes.get("evaluate") in UP_TO_DATE and str(config.evaluate.model_card_path) not in snapshot.missing:
        lines += [f"Card:  {config.evaluate.model_card_path}"]
    if session.run_id:
        lines += [f"Run:   {session.name} ({session.run_id}), {session.status}; compare runs with `make ui`"]
    return "\n".join(lines) + "\n"
