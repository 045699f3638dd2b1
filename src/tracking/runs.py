"""What parent and nested runs are written with: made to fit MLflow's limits."""

import platform
import tempfile
from collections.abc import Mapping
from pathlib import Path

from src.tracking import names
from src.tracking.cache import find_files
from src.tracking.journal import Session, now
from src.tracking.process import cpu_model
from src.tracking.session import Place
from src.tracking.store import Store

# MLflow cuts longer values without a word.
MAX_PARAM, MAX_TAG, MAX_BATCH = 6000, 5000, 100


def create_run(store: Store, session: Session, name: str, start_time: int, tags: Mapping[str, str]) -> str:
    """Create a run with what every run of a session carries; gives its id."""
    from mlflow.tracking.context.registry import resolve_tags

    known = {
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
    # MLflow adds its own: user, commit.
    all_tags = resolve_tags({key: value for key, value in known.items() if value})
    run = store.client.create_run(store.experiment_id, start_time=start_time, tags=all_tags, run_name=name)
    return str(run.info.run_id)


def log_values(
    store: Store,
    run_id: str,
    *,
    params: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log many values in few calls; keys and lengths are made to fit."""
    from mlflow.entities import Metric, Param, RunTag

    moment = now()
    # Of keys that fit alike the last stands: MLflow refuses a batch that names one twice.
    fitted = {fit_key(key): _fit(value, MAX_PARAM) for key, value in (params or {}).items()}
    run_params = [Param(key, value) for key, value in fitted.items()]
    run_metrics = [Metric(fit_key(key), value, moment, 0) for key, value in (metrics or {}).items()]
    run_tags = [RunTag(fit_key(key), _fit(value, MAX_TAG)) for key, value in (tags or {}).items() if value]
    for start in range(0, max(len(run_params), len(run_metrics), len(run_tags)), MAX_BATCH):
        part = slice(start, start + MAX_BATCH)
        store.client.log_batch(run_id, metrics=run_metrics[part], params=run_params[part], tags=run_tags[part])


def log_file(store: Store, place: Place, run_id: str, path: str, md5: str | None) -> None:
    """Log a file, or each file of a folder, under its path in the repository, if its content can still be found.

    The copy of a report in Markdown gets the commit of the run as its last line: the
    report itself is older than the commit that holds it.
    """
    files = find_files(place.main_root, place.work_root, path, md5)
    if not files:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            # DVC's cache names files by their hash.
            named = Path(folder) / name
            named.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".md"):
                text = content.read_text(encoding="utf-8")
                named.write_text(f"{text}\n{_describe_commit(store, run_id)}\n", encoding="utf-8")
            else:
                named.symlink_to(content)
        store.client.log_artifacts(run_id, folder)


def _describe_commit(store: Store, run_id: str) -> str:
    tags = store.client.get_run(run_id).data.tags
    commit = tags.get(names.GIT_COMMIT, names.UNKNOWN)
    changed = {"false": "", "true": ", with changes that were not committed"}
    dirty = changed.get(tags.get(names.GIT_DIRTY, ""), ", perhaps with changes that were not committed")
    return f"Recorded by MLflow run `{run_id}` at commit `{commit}`{dirty}."


def fit_key(key: str) -> str:
    """Replace what MLflow does not allow in a key."""
    key = "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in key)[:250]
    # MLflow takes a key for a path, and refuses one that leads elsewhere than it says.
    return "/".join(part if part not in ("", ".", "..") else "_" for part in key.split("/"))[:250].rstrip("/")


def _fit(value: str, limit: int) -> str:
    if len(value) <= limit:
        return value
    return f"{value[: limit - 40]}… (cut, {len(value)} characters)"
