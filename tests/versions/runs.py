"""Runs as the tracking of the pipeline records them."""

from typing import TYPE_CHECKING

from src.tracking import names
from src.tracking.store import Store, open_store
from tests.versions.project import Project

if TYPE_CHECKING:
    from mlflow.entities import Run

EXPERIMENT = "pipeline"
SOURCE = {"source.name": "rows.csv", "source.url": "https://example.org/rows.csv"}
MACHINE = {names.CPU: "Chip 1", names.PYTHON: "3.12.1"}


def open_runs(project: Project) -> Store:
    return open_store(project.root, EXPERIMENT)


def add_run(
    store: Store,
    tags: dict[str, str],
    params: dict[str, str] | None = None,
    metrics: dict[str, float] | None = None,
    status: str = "FINISHED",
) -> str:
    run_id: str = store.client.create_run(store.experiment_id, tags=tags).info.run_id
    for key, value in (params or {}).items():
        store.client.log_param(run_id, key, value)
    for key, number in (metrics or {}).items():
        store.client.log_metric(run_id, key, number)
    store.client.set_terminated(run_id, status)
    return run_id


def parent_tags(project: Project, revision: str, **tags: str) -> dict[str, str]:
    commit = project.git("rev-parse", f"{revision}^{{commit}}")
    return {
        names.KIND: "parent",
        names.GIT_COMMIT: commit,
        names.GIT_BRANCH: "main",
        names.GIT_DIRTY: "false",
        **{names.MD5 + path: md5 for path, md5 in project.recorded(revision).items()},
        **{key.replace("__", "."): value for key, value in tags.items()},
    }


def create_runs(project: Project) -> None:
    """Record a parent of each version with a nested run of its stage, and no run of the third result."""
    store = open_runs(project)
    for tag in ("v1.0.0", "v1.1.0"):
        nested = add_run(store, {names.KIND: "stage", **SOURCE, **MACHINE})
        stages = {f"stage__{stage}__run_id": nested for stage in ("train", "data_load")}
        tags = parent_tags(project, tag, git__tag=tag, stage__train="ran", **stages)
        parent = add_run(store, tags, {"train.scale": tag[3]}, {"f1": 0.5})
        store.client.set_tag(nested, "mlflow.parentRunId", parent)


def parent_of(project: Project, tag: str) -> "Run":
    store = open_runs(project)
    (run,) = store.client.search_runs([store.experiment_id], f"tags.`{names.GIT_TAG}` = '{tag}'")
    return run
