"""The nested run of one execution of a stage: opened, filled and closed."""

import json

from src.tracking import names
from src.tracking.candidate_runs import log_candidates
from src.tracking.content import attach_metrics, log_datasets
from src.tracking.journal import Session, Visit
from src.tracking.lineage import StageEntry
from src.tracking.logged_model import log_model, packages_of
from src.tracking.runs import create_run, log_file, log_values
from src.tracking.session import Place
from src.tracking.snapshot import data_md5s
from src.tracking.store import Store


def open_stage_run(store: Store, session: Session, visit: Visit) -> None:
    """Create the nested run under the parent of the session."""
    tags = {
        "mlflow.parentRunId": session.run_id or "",
        names.SOURCE: f"src/stages/{visit.stage}.py",
        names.KIND: "stage",
        names.STAGE: visit.stage,
    }
    visit.run_id = create_run(store, session, visit.stage, visit.start_time, tags)


def close_stage_run(store: Store, place: Place, visit: Visit) -> None:
    """Log everything about an execution that has ended, and end its run with its status.

    Args:
        store: The store.
        place: Where the stage ran.
        visit: The execution, whose run exists.
    """
    import mlflow

    run_id = visit.run_id
    assert run_id is not None, "the nested run was opened"  # noqa: S101 - callers open it first
    if mlflow.active_run():
        # A stage may use MLflow's fluent functions, which resume this run.
        mlflow.end_run()
    tags = dict(visit.tags)
    if visit.entry:
        tags |= {names.MD5 + path: md5 for path, md5 in data_md5s(visit.entry).items()}
        if visit.status == "FINISHED":
            tags[names.ENTRY] = visit.entry.digest or ""
    log_values(store, run_id, params=visit.params, metrics=visit.metrics, tags=tags)
    if visit.traceback:
        store.client.log_text(run_id, visit.traceback, "traceback.txt")
    if visit.status == "FINISHED" and visit.candidates:
        log_candidates(store, run_id, visit.candidates, visit.end_time)
    if visit.entry:
        _log_content(store, place, run_id, visit, visit.entry)
    store.client.set_terminated(run_id, visit.status, visit.end_time)
    visit.complete = True


def _log_content(store: Store, place: Place, run_id: str, visit: Visit, entry: StageEntry) -> None:
    import mlflow

    inputs, outputs = _tables(entry.deps), _tables(entry.outs)
    # The first stage reads no file of DVC: its table stands for the source.
    log_datasets(store, place, run_id, inputs or outputs, context=visit.stage)
    if visit.status != "FINISHED":
        return
    for path in visit.plots:
        log_file(store, place, run_id, path, entry.outs.get(path))
    for path in visit.models:
        if md5 := entry.outs.get(path):
            with mlflow.start_run(run_id=run_id):
                log_model(place, path, md5, inputs, packages_of(_estimators(visit.params)))
        elif md5 := entry.deps.get(path):
            attach_metrics(store, run_id, md5, visit.metrics)


def _tables(files: dict[str, str | None]) -> dict[str, str]:
    return {path: md5 for path, md5 in files.items() if md5 and path.endswith(".parquet")}


def _estimators(params: dict[str, str]) -> list[str]:
    """Read the estimators of the settings: a name, or a list as JSON."""
    value = params.get(names.ESTIMATOR, "")
    return [str(name) for name in json.loads(value)] if value.startswith("[") else [value]
