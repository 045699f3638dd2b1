"""Decide how a session ended, once DVC has ended, from what DVC reports and what the journal contains."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from src.tracking.dvc_repo import DvcRepo, Stage, open_repo
from src.tracking.journal import Execution, Journal, Session, Snapshot, now
from src.tracking.names import Outcome, Status
from src.tracking.session import TEXTS, flatten, read_settings

UP_TO_DATE = ("ran", "restored", "unchanged")


def end_session(
    journal: Journal, session: Session, *, is_newest: bool, status: Status | None = None, check: bool = True
) -> None:
    """Decide how a session ended, and write it to the journal.

    Args:
        session: A session whose owner has ended, or is about to end.
        is_newest: Whether it is the last session in its folder.
        status: How it ended, if the owner knows.
        check: Whether to ask DVC which stages are stale.
    """
    for execution in journal.executions(session.id):
        if execution.status == "RUNNING" and execution.process.is_alive() is False:
            # It was killed before it could record how it ended.
            execution.status, execution.end_time = "KILLED", now()
            journal.write_execution(session.id, execution)
    executions = journal.executions(session.id)
    with _open_results(journal.root, session, executions, is_newest=is_newest) as repo:
        if repo is not None:
            executions = assign_stages(repo.stages, executions)
            session.snapshot = take_snapshot(
                repo, session, executions, dvc_outcomes=journal.dvc_outcomes(session.id), check=check
            )
            last = {execution.stage: execution for execution in executions}
            for execution in executions:
                # An execution without sizes was started by hand: the lock entry is of an earlier one.
                is_locked = execution is last[execution.stage] and execution.sizes
                if session.snapshot.outcomes.get(execution.stage) == "ran" and is_locked:
                    execution.entry = repo.lock.get(execution.stage)
                journal.write_execution(session.id, execution)
        elif session.snapshot:
            failed = [execution.stage for execution in executions if execution.status in ("FAILED", "KILLED")]
            session.snapshot.outcomes |= dict.fromkeys(failed, "failed")
    # DVC reports a stage that was killed as failed.
    if status == "FAILED" and worst_status(executions) == "KILLED":
        status = "KILLED"
    if session.status == "RUNNING" or status:
        session.status = status or ("KILLED" if session.launched else worst_status(executions))
    if session.end_time is None:
        ends = [execution.end_time for execution in executions if execution.end_time]
        session.end_time = now() if session.launched or not ends else max(ends)
    journal.write_session(session)


def take_snapshot(
    repo: DvcRepo,
    session: Session,
    executions: Sequence[Execution],
    *,
    dvc_outcomes: Mapping[str, Outcome],
    check: bool,
) -> Snapshot:
    """Read the results of a session.

    Args:
        repo: The workspace, or the commit of an experiment.
        executions: Executions, oldest first, with DVC's names of the stages.
        dvc_outcomes: Outcomes that the launcher's DVC logged; empty without a launcher.
        check: Whether to ask DVC which stages are stale.
    """
    lock = repo.lock
    entries = {name: lock[name].digest if name in lock else None for name in repo.stages}
    stale, missing = repo.find_stale() if check else (set[str](), {})
    if stale is not None:
        # DVC deletes the outputs of a stage before it runs it.
        stale |= {name for name in missing if dvc_outcomes.get(name) == "ran"}
    outcomes: dict[str, Outcome] = {
        name: decide_outcome(name, session.before, entries, executions, dvc_outcomes, stale=stale)
        for name in repo.stages
    }
    if stale is not None:
        outcomes = _spread_staleness(repo.stages, outcomes)
    good = [stage for name, stage in repo.stages.items() if outcomes[name] in UP_TO_DATE]
    bad_outs = {path for stage in repo.stages.values() if stage not in good for path in stage.outs}
    md5s = {
        path: md5
        for stage in good
        if (entry := lock.get(stage.name))
        for path, md5 in {**entry.deps, **entry.outs}.items()
        if md5 and path in repo.data_paths
    }
    return Snapshot(
        outcomes=outcomes,
        entries=entries,
        params=flatten(repo.read_yaml("params.yaml")),
        metrics=repo.read_metrics(without=bad_outs),
        md5s=md5s,
        missing=sorted({path for paths in missing.values() for path in paths}),
        reports=[path for stage in good for path in stage.reports],
        models=[path for path in repo.model_paths if path in md5s],
        texts={name: text for name in TEXTS if (text := repo.read_text(name)) is not None},
    )


def decide_outcome(
    stage: str,
    before: Mapping[str, str | None],
    after: Mapping[str, str | None],
    executions: Sequence[Execution],
    dvc_outcomes: Mapping[str, Outcome],
    *,
    stale: set[str] | None,
) -> Outcome:
    """Decide what happened to a stage in a session.

    Args:
        before: Digest of each stage's lock entry before the session; None if unknown.
        after: Digest of each stage's lock entry now; None if there is none.
        executions: Executions of the session, oldest first.
        dvc_outcomes: Outcomes that the launcher's DVC logged.
        stale: Stages that DVC would run again; None if another DVC holds its lock.
    """
    last = next((execution for execution in reversed(executions) if execution.stage == stage), None)
    if last is not None and last.status in ("FAILED", "KILLED"):
        return "failed"
    # Under bare DVC, what ran may be stale by now because the user has edited its code since.
    if stale is not None and stage in stale and (last is None or stage in dvc_outcomes):
        # A shell command that fails leaves no other trace.
        return "failed" if dvc_outcomes.get(stage) == "ran" else "stale"
    if last is not None:
        return "ran"
    if stage in dvc_outcomes:
        return dvc_outcomes[stage]
    if after.get(stage) is None:
        return "stale"
    if stale is None and before.get(stage) != after[stage]:
        # The other DVC may have written it.
        return "unknown"
    return "unchanged" if before.get(stage) == after[stage] else "restored"


def worst_status(executions: Sequence[Execution]) -> Status:
    """Return the worst of the last statuses of each stage."""
    last = {execution.stage: execution.status for execution in executions}
    if "KILLED" in last.values():
        return "KILLED"
    return "FAILED" if "FAILED" in last.values() else "FINISHED"


def assign_stages(stages: Mapping[str, Stage], executions: Sequence[Execution]) -> list[Execution]:
    """Set the stage of each execution to DVC's name, such as `train@iris` for a `foreach` stage.

    It is found by the outputs that DVC locked for the process.
    """
    for execution in executions:
        written = set(execution.sizes)
        named = [name for name, stage in stages.items() if written & set(stage.outs)]
        if named and execution.stage not in named:
            execution.stage = named[0]
    return list(executions)


def _spread_staleness(stages: Mapping[str, Stage], decided: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """Mark stages after a failed or stale one as stale; DVC checks each stage by itself."""
    outcomes = dict(decided)
    producer = {path: name for name, stage in stages.items() for path in stage.outs}

    def is_up_to_date(name: str) -> bool:
        before = {producer[path] for path in stages[name].deps if path in producer}
        if outcomes[name] == "unchanged" and not all(is_up_to_date(other) for other in before):
            outcomes[name] = "stale"
        return outcomes[name] not in ("failed", "stale")

    for name in stages:
        is_up_to_date(name)
    return outcomes


@contextmanager
def _open_results(
    main_root: Path, session: Session, executions: Sequence[Execution], *, is_newest: bool
) -> Iterator[DvcRepo | None]:
    """Open the workspace or commit with the results of a session; None if they were overwritten."""
    work_root = Path(session.work_root)
    if session.exp_commit:
        with open_repo(main_root, session.exp_commit) as repo:
            yield repo
    elif is_newest and (work_root / "dvc.yaml").exists():
        with open_repo(work_root) as repo:
            yield repo if repo and _is_unchanged(work_root, repo, session, executions) else None
    else:
        yield None


def _is_unchanged(work_root: Path, repo: DvcRepo, session: Session, executions: Sequence[Execution]) -> bool:
    """Return whether the workspace still has the results of the session.

    Compares the settings, and the size of each output with its size in `dvc.lock`; hashing all files
    again would take too long.
    """
    texts = session.snapshot.texts if session.snapshot else {}
    here = read_settings(work_root).texts
    if any(texts.get(name) not in (None, here.get(name)) for name in ("dvc.yaml", "params.yaml")):
        return False
    locked = {path: size for entry in repo.lock.values() for path, size in entry.sizes.items()}
    last = {execution.stage: execution for execution in executions}.values()
    finished = [execution for execution in last if execution.status == "FINISHED"]
    sizes = [item for execution in finished for item in execution.sizes.items()]
    # A size of 0: another command of the stage wrote the file later.
    return all(locked.get(path, size) == size for path, size in sizes if size)
