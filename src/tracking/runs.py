"""Write executions to MLflow as nested runs, and sessions as parent runs.

Stages, the launcher and `make sync` call the same functions, which are idempotent.
"""

import json
import logging
import os
import platform
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote, urlencode

from src.config.data_load import name_table
from src.data.candidates import name_candidates
from src.data.headline import read_headline
from src.text import one_line
from src.tracking import names
from src.tracking.dvc_repo import DvcRepo
from src.tracking.journal import Execution, Journal, Session, Snapshot, now
from src.tracking.lock import LockEntry, hash_file
from src.tracking.logged_model import LOGGED_MODELS, find_logged_model, log_model, name_model, read_estimators
from src.tracking.names import Outcome, Status
from src.tracking.outcomes import UP_TO_DATE
from src.tracking.process import cpu_model
from src.tracking.session import Place
from src.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Run

logger = logging.getLogger(__name__)

# MLflow cuts longer values silently.
MAX_PARAM, MAX_TAG, MAX_NAME, MAX_BATCH = 6000, 5000, 250, 100
# More would hide the runs of stages, and each costs five writes to the store.
MAX_CANDIDATE_RUNS = 20
ARTIFACTS = "artifacts"
CANDIDATES_TABLE = "cv_results.json"
MD5S = "md5s.json"  # MD5 of each file that DVC versions, by path


# --- the parent run ---


def ensure_parent(store: Store, journal: Journal, session: Session) -> Session:
    """Open the parent run of a session, unless it has one, and return the session from the journal."""
    with journal.locked():
        session = journal.read_session(session.id) or session
        if session.run_id is not None and not _is_active(store, session.run_id):
            logger.warning(
                "MLflow run %s does not exist in %s or was deleted; continuing under a new parent run",
                session.run_id, store.label,
            )  # fmt: skip
            session.run_id = None
        if session.run_id is None:
            session.run_id = _find_open_run(store, session, names.KIND, "parent", session.start_time)
        if session.run_id is None:
            session.run_id = _create_run(store, session, session.name, session.start_time, {names.KIND: "parent"})
        elif session.status == "RUNNING" and not session.launched:
            # A run that was opened by hand may have ended.
            store.client.update_run(session.run_id, status="RUNNING")
        journal.write_session(session)
    return session


def write_parent(store: Store, repo: DvcRepo | None, session: Session) -> None:
    """Write the results of a session to its parent run, and end the run.

    Args:
        repo: Repository with the content of plots and reports; None leaves them out.
        session: A session that has ended. Its nested runs have been written.
    """
    assert session.run_id is not None, "the parent run is open"  # noqa: S101 - callers call ensure_parent first
    try:
        _write_results(store, repo, session, session.run_id, session.snapshot or Snapshot())
    finally:
        store.client.set_terminated(session.run_id, session.status, session.end_time)


def _write_results(store: Store, repo: DvcRepo | None, session: Session, run_id: str, snapshot: Snapshot) -> None:
    producers = {stage: _find_producer(store, session, snapshot, stage) for stage in snapshot.outcomes}
    searched = filter(None, [_find_table(snapshot), *snapshot.models])
    tags = {
        names.KIND: "parent",
        "mlflow.note.content": _describe(store, snapshot, producers),
        names.MISSING: ", ".join(snapshot.missing),
        names.OUTCOME: describe_outcomes(snapshot.outcomes, session.status),
        **{names.MD5 + path: snapshot.md5s[path] for path in searched if path in snapshot.md5s},
    }
    for stage, outcome in snapshot.outcomes.items():
        producer = producers[stage]
        tags[names.STAGE_OUTCOME + stage] = outcome
        tags[f"{names.STAGE_OUTCOME}{stage}.run_id"] = producer.info.run_id if producer else names.UNKNOWN
        if producer and outcome in UP_TO_DATE:
            tags |= {key: value for key, value in producer.data.tags.items() if key.startswith("best.")}
    # Several DVC processes may share a run that was opened by hand. MLflow refuses to change a
    # param, so the first value stays; the artifact params.yaml has the last one.
    known = store.client.get_run(run_id).data.params
    params = {key: value for key, value in snapshot.params.items() if fit_key(key) not in known}
    log_values(store, run_id, params=params, metrics=snapshot.metrics, tags=tags)
    if repo:
        _link_data_and_model(store, repo, run_id, snapshot)
    reports = [repo.find_files(path, snapshot.md5s.get(path)) for path in snapshot.reports] if repo else []
    texts = {MD5S: json.dumps(snapshot.md5s, indent=1, sort_keys=True)} if snapshot.md5s else {}
    _log_files(store, run_id, reports, snapshot.texts | texts)


def describe_outcomes(outcomes: Mapping[str, Outcome], status: Status) -> str:
    """Summarize the outcomes of all stages; empty if there are none.

    >>> describe_outcomes({"split": "unchanged", "train": "ran", "evaluate": "ran"}, "FINISHED")
    '2 ran, 1 unchanged'
    >>> describe_outcomes({"split": "unchanged", "train": "failed", "evaluate": "stale"}, "KILLED")
    'train killed'
    """
    if failed := [stage for stage, outcome in outcomes.items() if outcome == "failed"]:
        stages = failed[0] if len(failed) == 1 else f"{len(failed)} stages"
        return f"{stages} {'killed' if status == 'KILLED' else 'failed'}"
    counts = Counter(outcomes.values())
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in get_args(Outcome) if counts[outcome])


def _find_producer(store: Store, session: Session, snapshot: Snapshot, stage: str) -> "Run | None":
    """Find the run that produced, or failed to produce, the outputs of a stage."""
    query = f"tags.`{names.KIND}` = 'stage' and tags.`{names.STAGE}` = '{stage}' and "
    outcome, entry = snapshot.outcomes[stage], snapshot.entries.get(stage)
    if outcome in ("ran", "failed"):
        # Not by the lock entry: another clone may produce the same at the same time.
        query += f"tags.`{names.SESSION}` = '{session.id}'"
    elif outcome in UP_TO_DATE and entry:
        # A session that is written late must not be linked to a later run.
        query += f"tags.`{names.ENTRY}` = '{entry}' and attributes.start_time <= {session.end_time or now()}"
    else:
        return None
    with store.optional("the search for the runs of stages"):
        runs = store.client.search_runs([store.experiment_id], query, order_by=["start_time DESC"], max_results=1)
        return runs[0] if runs else None
    return None


def _describe(store: Store, snapshot: Snapshot, producers: Mapping[str, "Run | None"]) -> str:
    """Format the headline, and the outcomes as a Markdown table with links to the runs."""
    headline = read_headline(snapshot.metrics, snapshot.params.get("train.scoring", ""))
    # MLflow shows the first three lines of a description until it is expanded.
    rows = [f"{headline.sentence}\n"] if headline else []
    rows += ["| stage | outcome | duration | run |", "| --- | --- | --- | --- |"]
    for stage, outcome in snapshot.outcomes.items():
        duration, link = "", names.UNKNOWN
        if producer := producers[stage]:
            info = producer.info
            if info.end_time:
                duration = f"{(info.end_time - info.start_time) / 1000:.1f} s"
            link = f"[{info.run_id[:8]}]({ui_page(f'experiments/{store.experiment_id}/runs/{info.run_id}')})"
        rows.append(f"| {stage} | {outcome} | {duration} | {link} |")
    return "\n".join(rows)


def _link_data_and_model(store: Store, repo: DvcRepo, run_id: str, snapshot: Snapshot) -> None:
    """Log the table and the model of a parent run to MLflow's columns Dataset and Models."""
    from mlflow.entities import LoggedModelOutput

    path = _find_table(snapshot)
    tables = {path: snapshot.md5s[path]} if path else {}
    datasets = _describe_tables(repo, tables, context="pipeline", name=_name_table(snapshot.params))
    found = [find_logged_model(store, snapshot.md5s[path]) for path in snapshot.models if path in snapshot.md5s]
    # As outputs, because the search behind the runs table does not return models among the inputs.
    models = [LoggedModelOutput(model.model_id, step=0) for model in found if model]
    if datasets:
        with store.optional("tables"):
            store.client.log_inputs(run_id, datasets=datasets)
    if models:
        with store.optional(LOGGED_MODELS):
            store.client.log_outputs(run_id, models=models)


def _find_table(snapshot: Snapshot) -> str | None:
    """Return the path of the table that the pipeline loaded; None if there is none."""
    path = snapshot.params.get("data_load.dataset_path")
    tables = [path for path in snapshot.md5s if path.endswith(".parquet")]
    return path if path in tables else next(iter(tables), None)


def _name_table(params: Mapping[str, str]) -> str:
    """Return the name of the table, such as `iris`, from flat settings."""
    prefix = "data_load.source."
    source = {key.removeprefix(prefix): value for key, value in params.items() if key.startswith(prefix)}
    return name_table(source, params.get("data_load.external_path", ""))


def ui_page(path: str, **query: str) -> str:
    """Return the address of a page of MLflow's UI, such as `experiments/1`, relative to the UI."""
    # Without workflowType the UI opens its view for language models.
    return f"#/{path}?{urlencode({**query, 'workflowType': 'machine_learning'}, quote_via=quote)}"


# --- the nested run of a stage ---


def open_execution(store: Store, session: Session, execution: Execution) -> None:
    """Create the nested run of an execution under the parent of its session."""
    tags = {
        names.PARENT_ID: session.run_id or "",
        names.SOURCE: f"src/stages/{execution.stage.partition('@')[0]}.py",
        names.KIND: "stage",
        names.STAGE: execution.stage,
    }
    execution.run_id = _create_run(store, session, execution.stage, execution.start_time, tags)


def write_execution(
    store: Store, place: Place, session: Session, execution: Execution, repo: DvcRepo | None = None
) -> None:
    """Write an execution that has ended to its nested run, and end the run with its status.

    Args:
        place: Where the stage ran.
        session: Its session, whose parent run is open.
        execution: The execution. This function notes in it what was written; the caller writes it to
            the journal.
        repo: The repository, once DVC has ended, which adds what DVC recorded of the stage. None in
            the process of the stage, which takes files from the workspace.
    """
    if execution.run_id is None:
        execution.run_id = _find_open_run(store, session, names.STAGE, execution.stage, execution.start_time)
    if execution.run_id is None:
        open_execution(store, session, execution)
    run_id = execution.run_id
    assert run_id is not None, "the nested run is open"  # noqa: S101 - opened above
    if not execution.logged:
        import mlflow

        active = mlflow.active_run()
        if active and active.info.run_id == run_id:
            # Otherwise MLflow ends the run as FINISHED when the process exits.
            mlflow.end_run()
        try:
            _write_returned(store, place, session, run_id, execution, repo)
        finally:
            store.client.set_terminated(run_id, execution.status, execution.end_time)
        execution.logged = True
    if repo is not None and not execution.complete:
        _add_lock_entry(store, repo, run_id, execution)
        execution.complete = True


def _write_returned(
    store: Store, place: Place, session: Session, run_id: str, execution: Execution, repo: DvcRepo | None
) -> None:
    """Write what a stage returned, or its traceback."""
    import mlflow

    log_values(store, run_id, params=execution.params, metrics=execution.metrics, tags=execution.tags)
    if execution.traceback:
        with store.optional(ARTIFACTS):
            store.client.log_text(run_id, execution.traceback, "traceback.txt")
    if execution.status != "FINISHED":
        return
    with store.optional("candidates of a search"):
        _write_candidates(store, session, run_id, execution)
    find = partial(_find_content, place, execution, repo)
    _log_files(store, run_id, map(find, execution.artifacts))
    content = find(execution.model).get(execution.model) if execution.model else None
    if content and execution.model and _is_recorded(execution, execution.model, content):
        tables = [file for path in execution.reads if path.endswith(".parquet") for file in find(path).values()]
        settings = session.snapshot.params if session.snapshot else {}
        estimators = read_estimators(execution.params.get("train.estimator", ""))
        mlflow.start_run(run_id=run_id, nested=True)
        try:
            with store.optional(LOGGED_MODELS):
                name = name_model(_name_table(settings), execution.tags.get("best.estimator", ""))
                table = next(iter(tables), None)
                execution.model_id = log_model(place, content, execution.model, table, estimators, name=name)
        finally:
            # After an error, `with mlflow.start_run()` would end the run as FAILED.
            mlflow.end_run(execution.status)


def _find_content(place: Place, execution: Execution, repo: DvcRepo | None, path: str) -> dict[str, Path]:
    """Find the content of a file, or of each file of a folder, as the execution read or wrote it."""
    if repo is None:
        here = place.work_root / path
        files = sorted(file for file in here.rglob("*") if file.is_file()) if here.is_dir() else [here]
        return {Path(os.path.relpath(file, place.work_root)).as_posix(): file for file in files if file.is_file()}
    entry = execution.entry or LockEntry("")
    return repo.find_files(path, entry.outs.get(path) or entry.deps.get(path))


def _is_recorded(execution: Execution, path: str, content: Path) -> bool:
    """Return whether a file is what the stage wrote. Unpickling a model that replaced it could run any code."""
    recorded = execution.entry.outs.get(path) if execution.entry else None
    if recorded is None or recorded == hash_file(content):
        return True
    logger.warning("%s is not logged: %s has not the MD5 %s of dvc.lock", path, content, recorded)
    return False


def _add_lock_entry(store: Store, repo: DvcRepo, run_id: str, execution: Execution) -> None:
    """Add to a nested run what DVC recorded of the stage: hashes, tables, the model that it wrote or scored."""
    tags = {names.STAGE: execution.stage}
    entry = execution.entry
    if entry is None:
        log_values(store, run_id, tags=tags)
        return
    files = {path: md5 for path, md5 in {**entry.deps, **entry.outs}.items() if md5 and path in repo.data_paths}
    tags |= {names.ENTRY: entry.digest}
    # These link a model to the runs that scored it. The hashes of tables are in MLflow's datasets.
    tags |= {names.MD5 + path: files[path] for path in repo.model_paths if path in files}
    log_values(store, run_id, tags=tags)
    with store.optional("names of runs"):
        store.client.update_run(run_id, name=execution.stage)
    # The first stage reads no file that DVC tracks, so its own table is logged.
    tables = {path: files[path] for path in entry.deps if path in files} or files
    tables = {path: md5 for path, md5 in tables.items() if path.endswith(".parquet")}
    if datasets := _describe_tables(repo, tables, context=execution.stage):
        with store.optional("tables"):
            store.client.log_inputs(run_id, datasets=datasets)
    with store.optional(LOGGED_MODELS):
        _add_scores(store, repo, run_id, execution, entry)


def _add_scores(store: Store, repo: DvcRepo, run_id: str, execution: Execution, entry: LockEntry) -> None:
    """Connect a logged model with the runs that scored it."""
    if execution.model and execution.model_id and (md5 := entry.outs.get(execution.model)):
        store.client.set_logged_model_tags(execution.model_id, {"dvc.md5": md5})
        # DVC skips `evaluate` if the model is equal to one that it has scored.
        query = f"tags.`{names.MD5}{execution.model}` = '{md5}' and tags.`{names.STAGE}` != '{execution.stage}'"
        query += f" and tags.`{names.KIND}` = 'stage' and status = 'FINISHED'"
        for run in store.client.search_runs([store.experiment_id], query, max_results=1):
            _attach_metrics(store, run.info.run_id, md5, run.data.metrics)
    for path in repo.model_paths:
        if md5 := entry.deps.get(path):
            _attach_metrics(store, run_id, md5, execution.metrics)


def _attach_metrics(store: Store, run_id: str, model_md5: str, metrics: Mapping[str, float]) -> None:
    """Copy the metrics of a run to the logged model that it scored."""
    from mlflow.entities import LoggedModelInput, Metric

    model = find_logged_model(store, model_md5)
    if model is None:
        return
    store.client.log_inputs(run_id, models=[LoggedModelInput(model.model_id)])
    moment = now()
    values = [
        Metric(fit_key(key), value, moment, 0, model_id=model.model_id, run_id=run_id) for key, value in metrics.items()
    ]
    store.client.log_batch(run_id, metrics=values)


def _describe_tables(
    repo: DvcRepo, tables: Mapping[str, str], context: str, name: str | None = None
) -> "list[DatasetInput]":
    """Describe tables as MLflow datasets, without reading their rows.

    Args:
        tables: MD5 of each table, by path.
        name: Name of the only table; by default its path.
    """
    import pyarrow.parquet as pq
    from mlflow.entities import Dataset, DatasetInput, InputTag

    described = []
    for path, md5 in tables.items():
        files = list(repo.find_files(path, md5).values())
        if not files:
            continue
        metadata = pq.read_metadata(files[0])
        n_rows = metadata.num_rows + sum(pq.read_metadata(file).num_rows for file in files[1:])
        columns = [
            {"name": column.name, "type": _mlflow_type(str(column.type)), "required": True}
            for column in metadata.schema.to_arrow_schema()
        ]
        profile = {"num_rows": n_rows, "num_elements": n_rows * len(columns)}
        dataset = Dataset(
            name=name or path,
            digest=md5,
            source_type="local",
            source=json.dumps({"uri": path}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps(profile),
        )
        described.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
    return described


def _mlflow_type(arrow_type: str) -> str:
    """Return MLflow's name of an Arrow type."""
    if arrow_type.startswith(("timestamp", "date")):
        return "datetime"
    types = {"double": "double", "float": "float", "bool": "boolean", "int64": "long", "uint32": "long",
             "binary": "binary"}  # fmt: skip
    return types.get(arrow_type, "integer" if "int" in arrow_type else "string")


# --- the candidates of a search ---


def _write_candidates(store: Store, session: Session, run_id: str, execution: Execution) -> None:
    """Log all candidates of a search as a table, and the best as runs under the run of the stage."""
    if not execution.candidates:
        return
    from mlflow.entities import ViewType

    table = json.dumps(_tabulate(execution.candidates), ensure_ascii=False)
    store.client.log_text(run_id, table, CANDIDATES_TABLE)
    # MLflow's UI and `mlflow.load_table` find tables by this tag.
    store.client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps([{"path": CANDIDATES_TABLE, "type": "table"}]))
    query = f"tags.`{names.PARENT_ID}` = '{run_id}' and tags.`{names.KIND}` = 'candidate'"
    # Deleted runs are found too, and not created again.
    found = store.client.search_runs([store.experiment_id], query, ViewType.ALL, max_results=MAX_CANDIDATE_RUNS)
    known = {run.data.tags.get(names.CANDIDATE): run.info for run in found}
    labels = name_candidates([(candidate["estimator"], candidate["params"]) for candidate in execution.candidates])
    best = zip(labels, execution.candidates[:MAX_CANDIDATE_RUNS], strict=False)
    for number, (label, candidate) in enumerate(best, start=1):
        info = known.get(str(number))
        if info and (info.lifecycle_stage != "active" or info.status != "RUNNING"):
            continue
        params = {"estimator": candidate["estimator"], **candidate["params"]}
        candidate_id = info.run_id if info else None
        if candidate_id is None:
            tags = {
                names.PARENT_ID: run_id,
                names.KIND: "candidate",
                names.CANDIDATE: str(number),
            }
            name = one_line(f"{number} {label}", MAX_NAME)
            candidate_id = _create_run(store, session, name, execution.start_time, tags)
        log_values(store, candidate_id, params=params, metrics=candidate["metrics"])
        store.client.set_terminated(candidate_id, "FINISHED", execution.end_time)


def _tabulate(candidates: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Build a table in the format of `mlflow.load_table`; NaN becomes null."""
    params = sorted({name for candidate in candidates for name in candidate["params"]})
    metrics = sorted({name for candidate in candidates for name in candidate["metrics"]})
    rows = []
    for candidate in candidates:
        scores = [candidate["metrics"].get(name) for name in metrics]
        cells = [None if score is None or score != score else score for score in scores]
        rows.append([candidate["estimator"], *(candidate["params"].get(name) for name in params), *cells])
    return {"columns": ["estimator", *params, *metrics], "data": rows}


# --- all runs ---


def _create_run(store: Store, session: Session, name: str, start_time: int, tags: Mapping[str, str]) -> str:
    """Create a run with the tags that all runs of a session share, and return its id."""
    from mlflow.tracking.context.registry import resolve_tags

    shared = {
        names.SESSION: session.id,
        names.GIT_COMMIT: session.git.commit,
        names.GIT_BRANCH: session.git.branch,
        names.GIT_DIRTY: session.git.dirty,
        names.HOST: session.owner.host,
        names.CPU: cpu_model(),
        names.PYTHON: platform.python_version(),
        names.EXP_NAME: session.exp_name,
        names.EXP_BASELINE: session.exp_baseline,
        names.SOURCE: "dvc.yaml",
        **tags,
    }
    # MLflow adds its own tags, such as the user.
    all_tags = resolve_tags({key: value for key, value in shared.items() if value})
    run = store.client.create_run(store.experiment_id, start_time=start_time, tags=all_tags, run_name=name)
    return str(run.info.run_id)


def _find_open_run(store: Store, session: Session, tag: str, value: str, start_time: int) -> str | None:
    """Find the run of a process that was killed before it could write the id of the run to the journal."""
    query = f"tags.`{names.SESSION}` = '{session.id}' and tags.`{tag}` = '{value}'"
    query += f" and attributes.status = 'RUNNING' and attributes.start_time = {start_time}"
    with store.optional("the search for lost runs", quiet=True):
        runs = store.client.search_runs([store.experiment_id], query, max_results=1)
        return str(runs[0].info.run_id) if runs else None
    return None


def end_lost_runs(store: Store, session: Session) -> None:
    """End all runs of a session that has ended, whatever left them open."""
    query = f"tags.`{names.SESSION}` = '{session.id}' and attributes.status = 'RUNNING'"
    with store.optional("the search for lost runs", quiet=True):
        for run in store.client.search_runs([store.experiment_id], query):
            store.client.set_terminated(run.info.run_id, "KILLED", session.end_time)


def identify(run: "Run") -> tuple[str, ...] | None:
    """Identify a run by what is equal in every store that has it; None if this project did not write it."""
    tags = run.data.tags
    if names.SESSION not in tags or names.KIND not in tags:
        return None
    # Of a session, one run is the parent. A run that was opened by hand may have begun before it.
    began = "" if tags[names.KIND] == "parent" else str(run.info.start_time)
    # DVC's address of a stage becomes known later than its name.
    stage = tags.get(names.STAGE, "").partition("@")[0]
    return tags[names.SESSION], tags[names.KIND], stage, tags.get(names.CANDIDATE, ""), began


def _is_active(store: Store, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

    try:
        return bool(store.client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return False
        raise


def _log_files(
    store: Store, run_id: str, found: Iterable[Mapping[str, Path]], texts: Mapping[str, str] | None = None
) -> None:
    """Log files as artifacts under their paths in the repository; DVC's cache has them under their hashes."""
    files = {name: content for group in found for name, content in group.items()}
    if not files and not texts:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (texts or {}).items():
            Path(folder, name).write_text(text, encoding="utf-8")
        for name, content in files.items():
            target = Path(os.path.normpath(Path(folder, name)))
            if not target.is_relative_to(folder):
                # An artifact of a stage may be anywhere.
                target = Path(folder, target.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(content.resolve())
        with store.optional(ARTIFACTS):
            store.client.log_artifacts(run_id, folder)


def log_values(
    store: Store,
    run_id: str,
    *,
    params: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log values in batches, with keys and values that fit MLflow's limits."""
    from mlflow.entities import Metric, Param, RunTag

    moment = now()
    # MLflow refuses a batch with the same key twice; of keys that become equal, the last stays.
    fitted = {fit_key(key): _fit(value, MAX_PARAM) for key, value in (params or {}).items()}
    run_params = [Param(key, value) for key, value in fitted.items()]
    run_metrics = [Metric(fit_key(key), value, moment, 0) for key, value in (metrics or {}).items()]
    run_tags = [RunTag(fit_key(key), _fit(value, MAX_TAG)) for key, value in (tags or {}).items() if value]
    for start in range(0, max(len(run_params), len(run_metrics), len(run_tags)), MAX_BATCH):
        part = slice(start, start + MAX_BATCH)
        _log_batch(store, run_id, {"metrics": run_metrics[part], "params": run_params[part], "tags": run_tags[part]})


def _log_batch(store: Store, run_id: str, batch: dict[str, Any]) -> None:
    """Log values at once, or one by one if the server refuses them, such as a param that is too long for it."""
    with store.optional("a batch", quiet=True):
        store.client.log_batch(run_id, **batch)
        return
    for kind, values in batch.items():
        for value in values:
            with store.optional(f"some {kind}"):
                store.client.log_batch(run_id, **{kind: [value]})


def fit_key(key: str) -> str:
    """Replace characters that MLflow does not allow in a key.

    >>> fit_key("test_f1_class.a[1]"), fit_key("../etc")
    ('test_f1_class.a_1_', '_/etc')
    """
    key = "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in key)[:250]
    # MLflow treats a key as a path, which must be normalized.
    return "/".join(part if part not in ("", ".", "..") else "_" for part in key.split("/"))[:250].rstrip("/")


def _fit(value: str, limit: int) -> str:
    if len(value) <= limit:
        return value
    return f"{value[: limit - 40]}… (cut, {len(value)} characters)"
