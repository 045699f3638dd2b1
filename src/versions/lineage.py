"""Show where a version came from: `python -m src.versions.lineage REFERENCE [--json]`.

REFERENCE is an MLflow run id, a logged model (`m-…`), a registered model (`models:/iris@champion` or
`models:/iris/3`), a git tag, a commit, or the MD5 of a file, which is looked up in MLflow and in the `dvc.lock` and
`.dvc` files of all commits.
"""

import argparse
import json
import logging
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config.load import load_config
from src.errors import TrackingError, VersionError
from src.tracking import names
from src.tracking.runs import MD5S, fit_key
from src.tracking.session import flatten
from src.tracking.store import Store, open_store
from src.utils.command import command
from src.versions.commands import find_commit, git, list_tags
from src.versions.revision import read_cpu, read_recorded, read_revision

if TYPE_CHECKING:
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

Lineage = dict[str, Any]

RECORDS = ("--", "dvc.lock", "*.dvc")
REGISTERED = re.compile(r"models:/([^/]+)(?:/(\d+)|@([^/@]+))")
# DVC marks the MD5 of a folder.
RUN_ID_OR_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def trace(root: Path, reference: str, experiment_name: str) -> Lineage:
    """Collect the commit, the data, the settings and the metrics behind a version.

    Returns:
        Plain values by section; `unknown` for what is not recorded.

    Raises:
        VersionError: The reference is unknown.
    """
    try:
        store = open_store(root, experiment_name)
    except TrackingError as error:
        logger.warning("%s", error)
        store = None
    if registered := REGISTERED.fullmatch(reference):
        return _trace_registered(root, store, reference, *registered.groups())
    model = re.fullmatch(r"(?:models:/)?(m-[0-9a-f]{32})", reference)
    if not model and not RUN_ID_OR_MD5.fullmatch(reference):
        return _trace_commit(root, store, reference)
    run = _search_run(store, model[1] if model else reference) if store else None
    path, commit, tags = ("", "", []) if model else find_file(root, reference)
    if store and run:
        lineage = _trace_run(root, store, run)
    elif commit:
        # A table may have been added before the pipeline first ran.
        lineage = {"git": {"commit": commit}}
        with suppress(VersionError):
            lineage = _trace_commit(root, store, commit)
    else:
        where = f"MLflow store {store.label}" if store else "MLflow, whose store cannot be used,"
        raise VersionError(f"{reference} is neither a run or model of {where} nor a file in a commit of this clone.")
    if commit:
        lineage = {"file": {"path": path, "md5": reference}, **lineage}
        # Other tags of the commit may record another file.
        lineage["git"]["tags"] = tags
    return lineage


def find_file(root: Path, md5: str) -> tuple[str, str, list[str]]:
    """Find the first commit of any branch, tag or experiment that records a file, by its MD5.

    Returns:
        Path, commit, and tags that record the same file, oldest version first; empty if there is none.
    """
    # -m also searches merge commits.
    for commit in git(root, "log", "--all", "-m", "--reverse", "--format=%H", f"-S{md5}", *RECORDS).splitlines():
        revision = read_revision(root, commit)
        recorded = [*revision.outputs.items(), *revision.dependencies.items(), *revision.added.items()]
        # The search also finds commits that removed it.
        if path := next((path for path, value in recorded if value == md5), None):
            tags = git(root, "tag", "--contains", commit, "--sort=version:refname").splitlines()
            lines = ""
            # `git grep` fails if nothing matches.
            with suppress(VersionError):
                lines = git(root, "grep", "--files-with-matches", md5, *tags, *RECORDS) if tags else ""
            matching = {line.rpartition(":")[0] for line in lines.splitlines()}
            return path, commit, [tag for tag in tags if tag in matching]
    return "", "", []


def find_run(store: Store, run_id: str) -> "Run":
    """Return a run, or its parent if it is nested; raise a `VersionError` if it does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        run = store.client.get_run(run_id)
        parent_id = run.data.tags.get("mlflow.parentRunId")
        return store.client.get_run(parent_id) if parent_id else run
    except MlflowException as error:
        raise VersionError(f"MLflow store {store.label} has no run {run_id}.") from error


def find_parents(store: Store, root: Path, commit: str) -> "list[Run]":
    """Find the parent runs with the results of a commit: its table, its models and its metrics.

    Returns:
        Runs published as a tag of this commit come first, then runs that trained the model instead of
        reusing it, then runs made at this commit; newest first.
    """
    revision = read_revision(root, commit)
    if not revision.md5s:
        return []
    paths = {flatten(revision.params).get("data_load.dataset_path"), *revision.models.values()} & revision.md5s.keys()
    same = [f"tags.`{names.MD5}{path}` = '{revision.md5s[path]}'" for path in sorted(filter(None, paths))]
    query = " and ".join([f"tags.`{names.KIND}` = 'parent'", "attributes.status = 'FINISHED'", *same])
    runs = store.client.search_runs([store.experiment_id], query, order_by=["start_time DESC"])
    published = list_tags(root, commit)

    def has_results(run: "Run") -> bool:
        # Older code tagged each file.
        tagged = {path: run.data.tags.get(names.MD5 + path) for path in revision.md5s}
        if any(md5 not in (None, revision.md5s[path]) for path, md5 in tagged.items()):
            return False
        scores = {fit_key(name): value for name, value in revision.metrics.items()}
        return None not in tagged.values() or (bool(same or scores) and scores.items() <= run.data.metrics.items())

    def rank(run: "Run") -> tuple[bool, bool, bool]:
        tags = run.data.tags
        has_trained = tags.get(f"{names.STAGE_OUTCOME}train") == "ran"
        return tags.get(names.GIT_TAG) in published, has_trained, tags.get(names.GIT_COMMIT) == commit

    return sorted(filter(has_results, runs), key=rank, reverse=True)


def read_md5s(run: "Run") -> dict[str, str]:
    """Return the MD5 of each file of a parent run, from its artifact, or from its tags, as older code wrote them."""
    import mlflow

    # The artifact may be missing or out of reach. The errors of artifact stores share no base class.
    with suppress(Exception):
        return dict(mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/{MD5S}"))
    return {key.removeprefix(names.MD5): md5 for key, md5 in run.data.tags.items() if key.startswith(names.MD5)}


def _search_run(store: Store, reference: str) -> "Run | None":
    from mlflow.exceptions import MlflowException

    if reference.startswith("m-"):
        try:
            return find_run(store, store.client.get_logged_model(reference).source_run_id or "")
        except (MlflowException, VersionError):
            return None
    # An MD5 looks like a run id.
    with suppress(VersionError):
        return find_run(store, reference)
    search = partial(store.client.search_runs, [store.experiment_id], order_by=["start_time ASC"])
    parents = search(f"tags.`{names.KIND}` = 'parent'", max_results=50_000)
    found = [run for run in parents if reference in run.data.tags.values()]
    with store.optional("the search for tables", quiet=True):
        found = found or search(f"dataset.digest = '{reference}'", max_results=1)
    return find_run(store, found[0].info.run_id) if found else None


def _trace_registered(
    root: Path, store: Store | None, reference: str, name: str, number: str | None, alias: str | None
) -> Lineage:
    from mlflow.exceptions import MlflowException

    if store is None:
        raise VersionError(f"{reference} cannot be found, since MLflow's store cannot be used.")
    try:
        client = store.client
        found = (
            client.get_model_version(name, number) if number else client.get_model_version_by_alias(name, str(alias))
        )
    except MlflowException as error:
        raise VersionError(f"MLflow store {store.label} has no {reference}; `make models` lists all.") from error
    if names.GIT_COMMIT not in found.tags:
        raise VersionError(f"{reference} has no tag {names.GIT_COMMIT}: `make register` did not register it.")
    version = {"name": found.name, "version": str(found.version), **dict(sorted(found.tags.items()))}
    return {"registered model": version, **_trace_commit(root, store, found.tags[names.GIT_COMMIT])}


def _trace_run(root: Path, store: Store, run: "Run") -> Lineage:
    tags = run.data.tags
    commit, published = tags.get(names.GIT_COMMIT, names.UNKNOWN), tags.get(names.GIT_TAG)
    git_tags = [published] if published else []
    # The tag points at the commit of the results, which follows that of the run. This clone may have neither.
    with suppress(VersionError):
        git_tags = list_tags(root, find_commit(root, published or commit))
    branch, dirty = (tags.get(name, names.UNKNOWN) for name in (names.GIT_BRANCH, names.GIT_DIRTY))
    return {
        "run": {"id": run.info.run_id, "name": run.info.run_name, "status": run.info.status},
        "git": {"commit": commit, "branch": branch, "dirty": dirty, "tags": git_tags},
        "source": _find_source(store, run, run.data.params),
        "files": read_md5s(run),
        "made on": _find_machine(store, run),
        "params": dict(run.data.params),
        "metrics": dict(run.data.metrics),
    }


def _trace_commit(root: Path, store: Store | None, reference: str) -> Lineage:
    commit = find_commit(root, reference)
    revision = read_recorded(root, reference, commit)
    params = flatten(revision.params)
    run = next(iter(find_parents(store, root, commit)), None) if store else None
    return {
        "run": {"id": run.info.run_id, "name": run.info.run_name, "status": run.info.status} if run else {},
        "git": {"commit": commit, "tags": list_tags(root, commit)},
        "source": _find_source(store, run, params),
        "files": revision.md5s,
        "made on": _find_machine(store, run, read_cpu(root, reference)),
        "params": params,
        "metrics": revision.metrics,
    }


def _find_source(store: Store | None, parent: "Run | None", params: Mapping[str, str]) -> dict[str, str]:
    """Return the origin of the data from the run that loaded it, or else from the settings."""
    loaded = _producer_tags(store, parent, "data_load")
    recorded = {key: value for key, value in loaded.items() if key.startswith("source.")}
    return recorded or {key: value for key, value in params.items() if key.startswith("data_load.source")}


def _find_machine(store: Store | None, parent: "Run | None", cpu: str | None = None) -> dict[str, str]:
    """Return where the model was trained, even if a later run reused it elsewhere."""
    trained = _producer_tags(store, parent, "train")
    cpu, python = trained.get(names.CPU) or cpu, trained.get(names.PYTHON)
    return {"cpu": cpu or names.UNKNOWN, "python": python or names.UNKNOWN}


def _producer_tags(store: Store | None, parent: "Run | None", stage: str) -> dict[str, str]:
    from mlflow.exceptions import MlflowException

    # The run may be unknown, or deleted from the store.
    with suppress(MlflowException):
        if store and parent:
            run_id = parent.data.tags.get(f"{names.STAGE_OUTCOME}{stage}.run_id", names.UNKNOWN)
            return dict(store.client.get_run(run_id).data.tags) if run_id != names.UNKNOWN else {}
    return {}


def format_text(lineage: Lineage) -> str:
    """Format a lineage as text: a heading for each section, a line for each entry."""
    lines = []
    for section, entries in lineage.items():
        lines.append(section)
        texts = {key: ", ".join(value) if isinstance(value, list) else value for key, value in entries.items()}
        width = max(map(len, texts), default=0)
        lines += [f"  {key:<{width}}  {value}" for key, value in texts.items()] or [f"  {names.UNKNOWN}"]
    return "\n".join(lines) + "\n"


@command
def main() -> None:
    """Trace, from the command line."""
    parser = argparse.ArgumentParser(prog="lineage", description=__doc__)
    parser.add_argument(
        "reference", help="an MLflow run id, a logged or registered model, a git tag, a commit, or the MD5 of a file"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    lineage = trace(Path.cwd(), options.reference, load_config(Path("params.yaml")).tracking.experiment_name)
    sys.stdout.write(json.dumps(lineage, indent=2) + "\n" if options.json else format_text(lineage))


if __name__ == "__main__":
    sys.exit(main())
