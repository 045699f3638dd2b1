"""What a session left behind, read from DVC's files: the story that its parent run tells."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.tracking.journal import Session, Snapshot, Visit
from src.tracking.lineage import StageEntry, flatten, read_lock, read_stages
from src.tracking.names import Outcome, Status
from src.tracking.outlook import find_disagreements, foresee_outcomes, spread_staleness
from src.tracking.yaml_cache import read_yaml

UP_TO_DATE = ("ran", "restored", "unchanged")


def take_snapshot(root: Path, session: Session, visits: Sequence[Visit], *, finished: bool, check: bool) -> Snapshot:
    """Read the workspace at the end of a session or of one of its stages.

    Args:
        root: Root in which the stages ran.
        session: The session.
        visits: What ran in it.
        finished: Whether DVC has finished; before, the fate of stages that did not run is unknown.
        check: Whether to ask which stages are stale: DVC, which costs a second or two, or
            `dvc.lock` where nothing but files of an experiment's commit is left.
    """
    stages, lock, settings = read_stages(root), read_lock(root), read_settings(root)
    entries = {name: lock[name].digest if name in lock else None for name in stages}
    for visit in visits:
        # DVC writes the lock only after the stage's process has ended.
        if not finished and visit.status == "FINISHED" and visit.entry:
            lock[visit.stage] = visit.entry
            entries[visit.stage] = visit.entry.digest
    stale: set[str] | None = set()
    if check:
        stale = find_stale_stages(root) if (root / ".dvc").is_dir() else find_disagreements(root, stages, lock)
    # A DVC that cannot tell is kept from it by another, which goes on.
    finished = finished and stale is not None
    outcomes = {
        name: decide_outcome(name, session.before, entries, visits, stale or set(), finished=finished)
        for name in stages
    }
    if finished:
        outcomes = spread_staleness(stages, outcomes)
    else:
        outcomes = foresee_outcomes(root, stages, lock, visits, outcomes)
    if stale is None:
        changed = {name for name, entry in entries.items() if session.before.get(name) != entry}
        # Restored, or written by the other.
        outcomes |= {name: "unknown" for name in changed if outcomes[name] in ("unchanged", "restored")}
    good = [stages[name] for name, outcome in outcomes.items() if outcome in UP_TO_DATE]
    return Snapshot(
        outcomes=outcomes,
        entries=entries,
        params=settings.params,
        texts=settings.texts,
        metrics={
            key: value for stage in good for path in stage.metrics for key, value in read_metrics(root / path).items()
        },
        md5s={path: md5 for stage in good if stage.name in lock for path, md5 in data_md5s(lock[stage.name]).items()},
        plots=[path for stage in good for path in stage.report],
    )


def read_settings(root: Path) -> Snapshot:
    """Read what is known of a session before its first stage has ended."""
    return Snapshot(
        outcomes=dict.fromkeys(read_stages(root), "unknown"),
        params=flat_params(read_yaml(root / "params.yaml")),
        texts={
            name: (root / name).read_text(encoding="utf-8")
            for name in ("dvc.yaml", "dvc.lock", "params.yaml")
            if (root / name).exists()
        },
    )


def decide_outcome(
    stage: str,
    before: Mapping[str, str | None],
    after: Mapping[str, str | None],
    visits: Sequence[Visit],
    stale: set[str],
    *,
    finished: bool,
) -> Outcome:
    """Tell what happened to a stage in a session.

    Args:
        stage: Its name.
        before: Hash of each stage's lock entry before the session; None if it was changed meanwhile.
        after: Hash of each stage's lock entry now; None if there is none.
        visits: What ran in the session, oldest first.
        stale: Stages that DVC would run again.
        finished: Whether DVC has finished.
    """
    last = next((visit for visit in reversed(visits) if visit.stage == stage), None)
    if last is not None and last.status in ("FAILED", "KILLED"):
        return "failed"
    if stage in stale:
        return "stale"
    if last is not None:
        return "ran"
    if not finished and (len(visits) == 0 or not _comes_before(stage, visits[-1].stage, after)):
        return "unknown"
    if after.get(stage) is None:
        return "stale"
    return "unchanged" if before.get(stage) == after[stage] else "restored"


def worst_status(visits: Sequence[Visit]) -> Status:
    """Tell how a session ended from how each of its stages ended last."""
    last = {visit.stage: visit.status for visit in visits}
    if "KILLED" in last.values():
        return "KILLED"
    return "FAILED" if "FAILED" in last.values() else "FINISHED"


def find_stale_stages(root: Path) -> set[str] | None:
    """Ask DVC which stages it would run again; None if it cannot tell."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    try:
        status: dict[str, Any] = json.loads(result.stdout)
    except ValueError:
        return None
    return {name.rpartition(":")[2] for name in status}


def flat_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Make settings comparable side by side: dotted keys, lists as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in flatten(params)}


def read_metrics(path: Path) -> dict[str, float]:
    """Read the numbers of a metrics file; empty if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: float(value) for key, value in flatten(content) if isinstance(value, int | float)}


def data_md5s(entry: StageEntry) -> dict[str, str]:
    """Take the MD5 of what is not code from an entry."""
    files = {**entry.deps, **entry.outs}
    return {path: md5 for path, md5 in files.items() if md5 and not path.startswith("src/")}


def _comes_before(stage: str, other: str, order: Mapping[str, object]) -> bool:
    names = list(order)
    return stage in names and other in names and names.index(stage) < names.index(other)
