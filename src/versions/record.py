"""What MLflow knows of a version: found, and told its tag."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from src.tracking import names
from src.tracking.experiments import experiment_files
from src.tracking.lineage import read_lock
from src.tracking.store import Store, explain, open_store, store_uri
from src.tracking.sync import sync
from src.versions.commands import find_commit, list_tags

if TYPE_CHECKING:
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

TRAINED = f"{names.STAGE_OUTCOME}train"


def tag_parent(root: Path, experiment_name: str, tag: str) -> None:
    """Name a published tag on the parent run of the state of HEAD; a store that fails costs a warning.

    Args:
        root: Root of the repository, whose state is that of HEAD.
        experiment_name: The MLflow experiment.
        tag: The tag.
    """
    try:
        # Gives a state that came by git and DVC its parent run too.
        sync(root, experiment_name)
        store = open_store(root, experiment_name)
        parents = find_parents(store, root, find_commit(root, "HEAD"))
        if parents:
            # An earlier version of the same results keeps the run that carries its tag.
            parent = next((run for run in parents if names.GIT_TAG not in run.data.tags), parents[0])
            store.client.set_tag(parent.info.run_id, names.GIT_TAG, tag)
    # The version is published: no record is worth saying that it is not.
    except Exception as error:
        logger.warning("the parent run does not carry the tag: %s", explain(error, store_uri(root)))
        logger.debug("tracking failed", exc_info=True)


def find_parents(store: Store, root: Path, commit: str) -> "list[Run]":
    """Find the parent runs of what a commit's `dvc.lock` says.

    Args:
        store: The store.
        root: Root of the repository.
        commit: The commit.

    Returns:
        First those that were published as a tag of the commit, then those that trained
        the model instead of finding it there, then those made at the commit; the newest first.
    """
    with experiment_files(root, commit) as folder:
        md5s = {path: md5 for entry in read_lock(folder).values() for path, md5 in entry.outs.items() if md5}
    if not md5s:
        return []
    same = " and ".join(f"tags.`{names.MD5}{path}` = '{md5}'" for path, md5 in md5s.items())
    query = f"tags.`{names.KIND}` = 'parent' and attributes.status = 'FINISHED' and {same}"
    runs = store.client.search_runs([store.experiment_id], query, order_by=["start_time DESC"])
    published = list_tags(root, commit)

    def rank(run: "Run") -> tuple[bool, bool, bool]:
        tags = run.data.tags
        return tags.get(names.GIT_TAG) in published, tags.get(TRAINED) == "ran", tags.get(names.GIT_COMMIT) == commit

    return sorted(runs, key=rank, reverse=True)


def producer_tags(store: Store | None, tags: Mapping[str, str], stage: str) -> dict[str, str]:
    """Read the tags of the run that produced what a parent shows of a stage; none if nobody knows it.

    Args:
        store: The store, if there is one.
        tags: Tags of the parent.
        stage: Name of the stage.
    """
    run_id = tags.get(f"{names.STAGE_OUTCOME}{stage}.run_id", names.UNKNOWN)
    if store is None or run_id == names.UNKNOWN:
        return {}
    from mlflow.exceptions import MlflowException

    try:
        return dict(store.client.get_run(run_id).data.tags)
    except MlflowException:
        # Whoever tidied up the store deleted it.
        return {}
