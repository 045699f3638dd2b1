"""What MLflow knows of a version: found, and told its tag."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from src.tracking import names
from src.tracking.lineage import read_lock
from src.tracking.store import Store, explain, open_store, store_uri
from src.tracking.sync import sync
from src.versions.commands import find_commit

if TYPE_CHECKING:
    from mlflow.entities import Run

logger = logging.getLogger(__name__)


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
        parent = find_parent(store, root, find_commit(root, "HEAD"))
        if parent:
            store.client.set_tag(parent.info.run_id, names.GIT_TAG, tag)
    # The version is published: no record is worth saying that it is not.
    except Exception as error:
        logger.warning("the parent run does not carry the tag: %s", explain(error, store_uri(root)))
        logger.debug("tracking failed", exc_info=True)


def find_parent(store: Store, root: Path, commit: str) -> "Run | None":
    """Find the newest parent run of what `dvc.lock` in `root` says, preferably one made at a commit.

    Args:
        store: The store.
        root: A folder with `dvc.lock`.
        commit: The commit that is preferred.
    """
    md5s = {path: md5 for entry in read_lock(root).values() for path, md5 in entry.outs.items() if md5}
    same = " and ".join(f"tags.`{names.MD5}{path}` = '{md5}'" for path, md5 in md5s.items())
    query = f"tags.`{names.KIND}` = 'parent' and attributes.status = 'FINISHED'" + (f" and {same}" if same else "")
    runs = store.client.search_runs([store.experiment_id], query, order_by=["start_time DESC"])
    of_commit = [run for run in runs if run.data.tags.get(names.GIT_COMMIT) == commit]
    return next(iter([*of_commit, *runs]), None)
