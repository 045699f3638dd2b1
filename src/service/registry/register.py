"""Register the model of a version in MLflow, and judge it: `python -m src.service.registry.register [--run v1.0.0]`."""

import argparse
import hashlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from src.config.load import load_config
from src.config.schema import Config
from src.data.headline import read_headline
from src.errors import TrackingError, VersionError
from src.service.registry.gate import Verdict, judge
from src.text import one_line
from src.tracking import names
from src.tracking.git import read_file
from src.tracking.logged_model import find_logged_model
from src.tracking.store import AGAIN_HINT, Store, explain, open_store
from src.tracking.sync import sync
from src.utils.command import command
from src.utils.exclusive import exclusive
from src.versions.commands import SEMANTIC_VERSION, find_commit, list_tags, refuse_changes
from src.versions.lineage import find_file, find_parents, find_run
from src.versions.load import RUN_ID, LoadedRun, load_run
from src.versions.revision import read_recorded, refuse_stale

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

EXIT_REFUSED = 1
# Tags of a model version.
MODEL_MD5, DATA_MD5, LOCK_MD5 = "dvc.md5", "data.md5", "dvc.lock"
GATE, GATE_CHAMPION = "gate", "gate.champion"
METRIC, METRIC_VALUE = "metric", "metric.value"
MAX_DESCRIPTION = 5000


def register(root: Path, reference: str | None = None) -> Verdict:
    """Register the model of a commit under `registry.model_name`, and judge it.

    A model that is registered already keeps its version, and is judged again.

    Args:
        root: Root of the repository.
        reference: A tag or commit with results, or the id of a pipeline run; None for HEAD.

    Raises:
        VersionError: The state is not committed or stale, the run has not finished, or it has no model.
        ConfigError: A setting of the gate is wrong.
        TrackingError: The store cannot be used.
        BusyError: Another process is registering or running stages in this clone.
    """
    config = load_config(root / "params.yaml")
    with exclusive(root, "register"):
        store = open_store(root, config.tracking.experiment_name, AGAIN_HINT)
        with explained(store):
            commit = find_results(root, store, reference)
            version = _find_or_create(root, store, commit, reference, config)
            return judge_version(root, store, version, config)


@contextmanager
def explained(store: Store) -> Iterator[None]:
    """Turn errors of MLflow and of its server into a `TrackingError`."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        raise TrackingError(explain(error, store.uri, AGAIN_HINT)) from error


def find_results(root: Path, store: Store, reference: str | None) -> str:
    """Find the commit that has the results of a reference.

    Only committed results are registered, so that anyone can find the code, data and model behind a version.

    Raises:
        VersionError: There is none, or its stages are stale.
    """
    if reference and RUN_ID.fullmatch(reference):
        return _find_results_of_run(root, store, reference)
    if reference is None:
        refuse_changes(root, "register")
        refuse_stale(root, "register")
    commit = find_commit(root, reference or "HEAD")
    read_recorded(root, reference or "HEAD", commit)
    return commit


def _find_results_of_run(root: Path, store: Store, run_id: str) -> str:
    run = find_run(store, run_id)
    if run.info.status != "FINISHED":
        raise VersionError(f"run {run_id} is {run.info.status}, not FINISHED; register a run that has finished.")
    loaded = load_run(root, run_id)
    _, model_md5 = find_model(loaded)
    head = find_commit(root, "HEAD")
    candidates = [head, *filter(None, [run.data.tags.get(names.GIT_TAG), find_file(root, model_md5)[1]])]
    for candidate in candidates:
        try:
            commit = find_commit(root, candidate)
            if read_recorded(root, candidate, commit).md5s == loaded.md5s:
                return commit
        except VersionError:
            continue
    raise VersionError(f"the results of run {run_id} are in no commit of this clone; commit dvc.lock, then register.")


def find_model(run: LoadedRun) -> tuple[str, str]:
    """Return the path and the MD5 of the model of a version.

    Raises:
        VersionError: It has none.
    """
    path = str(run.params.get("train", {}).get("model_path", ""))
    if not (md5 := run.md5s.get(path)):
        raise VersionError(f"{run.label} has no model; it has {', '.join(run.md5s) or 'no dvc.lock'}.")
    return path, md5


def _find_or_create(root: Path, store: Store, commit: str, reference: str | None, config: Config) -> "ModelVersion":
    """Return the version of a commit's model and table, with up-to-date tags."""
    name, run = config.registry.model_name, load_run(root, commit)
    _, model_md5 = find_model(run)
    logged = find_logged_model(store, model_md5)
    if logged is None and config.tracking.enabled:
        # A run may not have been written yet, or was made in another clone.
        sync(root, config.tracking.experiment_name)
        logged = find_logged_model(store, model_md5)
    if logged is None:
        raise VersionError(
            f"MLflow store {store.label} has no logged model of {reference or commit[:9]}; run `make sync`, or check "
            "MLFLOW_TRACKING_URI and tracking.experiment_name."
        )
    tags = _read_tags(root, commit, run, model_md5)
    same = [
        version
        for version in list_versions(store.client, name)
        if all(version.tags.get(key, "") == tags[key] for key in (MODEL_MD5, DATA_MD5))
    ]
    if same:
        version = min(same, key=lambda each: int(each.version))
        # A published commit stays the version's commit.
        if names.GIT_TAG in tags or names.GIT_TAG not in version.tags:
            for key, value in tags.items():
                store.client.set_model_version_tag(name, version.version, key, value)
        logger.info("%s/%s is registered already", show_name(name), version.version)
        return store.client.get_model_version(name, str(version.version))
    parents = find_parents(store, root, commit)
    run_id = parents[0].info.run_id if parents else logged.source_run_id
    if not store.client.search_registered_models(named(name)):
        store.client.create_registered_model(name)
    source = f"models:/{logged.model_id}"
    version = store.client.create_model_version(name, source, run_id=run_id, tags=tags, model_id=logged.model_id)
    logger.info("registered the model of %s as %s/%s", reference or commit[:9], show_name(name), version.version)
    return version


def _read_tags(root: Path, commit: str, run: LoadedRun, model_md5: str) -> dict[str, str]:
    data = str(run.params.get("data_load", {}).get("dataset_path", ""))
    lock = read_file(root, commit, "dvc.lock") or ""
    tags = {
        names.GIT_COMMIT: commit,
        MODEL_MD5: model_md5,
        DATA_MD5: run.md5s.get(data, ""),
        LOCK_MD5: hashlib.md5(lock.encode(), usedforsecurity=False).hexdigest(),
    }
    if headline := read_headline(run.metrics, str(run.params.get("train", {}).get("scoring", ""))):
        tags |= {METRIC: headline.name, METRIC_VALUE: repr(headline.value)}
    if published := published_tag(root, commit):
        tags[names.GIT_TAG] = published
    return {key: value for key, value in tags.items() if value}


def published_tag(root: Path, commit: str) -> str | None:
    """Return the semantic version that was published from a commit; None if there is none, or no such commit here."""
    with suppress(VersionError):
        return next((tag for tag in list_tags(root, commit) if SEMANTIC_VERSION.fullmatch(tag)), None)
    return None


def judge_version(root: Path, store: Store, version: "ModelVersion", config: Config) -> Verdict:
    """Judge a version, and write the result to its tags and description in MLflow.

    Raises:
        VersionError: Its commit is not in this clone.
    """
    commit = version.tags.get(names.GIT_COMMIT, "")
    if not commit:
        raise VersionError(f"{version.name}/{version.version} has no tag git.commit; register it by `make register`.")
    try:
        find_commit(root, commit)
    except VersionError as error:
        raise VersionError(f"commit {commit[:9]} of this version is not in this clone; run `git fetch`.") from error
    verdict = judge(root, store, version, commit, config)
    with store.optional("the description of a model version"):
        store.client.update_model_version(version.name, verdict.version, verdict.markdown[:MAX_DESCRIPTION])
    # Last, since it allows the promotion.
    for tag, value in ((GATE_CHAMPION, verdict.champion or "none"), (GATE, verdict.result)):
        store.client.set_model_version_tag(version.name, verdict.version, tag, value)
    return verdict


def list_versions(client: "MlflowClient", name: str) -> "list[ModelVersion]":
    """List the versions of a registered model, newest first."""
    # One page has 10,000.
    found = client.search_model_versions(named(name))
    return sorted(found, key=lambda version: int(version.version), reverse=True)


def named(name: str) -> str:
    """Return MLflow's filter for the name of a registered model."""
    quoted = name.replace("'", "\\'")
    return f"name = '{quoted}'"


def show_name(name: str) -> str:
    """Show the name of a model in a message."""
    return one_line(name, 80)


@command
def main() -> int:
    """Register, from the command line; exit code 0 if the model passed the gate, 1 if not."""
    parser = argparse.ArgumentParser(prog="register", description=__doc__)
    parser.add_argument("--run", help="a tag or commit with results, or the id of a pipeline run; HEAD by default")
    options = parser.parse_args()
    verdict = register(Path.cwd(), options.run)
    sys.stdout.write(verdict.table)
    return 0 if verdict.passed else EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(main())
