"""Where a version came from: `python -m src.versions.lineage REFERENCE [--json]`.

REFERENCE is an MLflow run id, a logged model (`m-…`), a git tag, a commit, or the MD5 of a file.
What MLflow does not know of a file, git does: `dvc.lock` of each commit names it.
"""

import argparse
import json
import logging
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config.load import load_config
from src.config.yaml_file import read_yaml
from src.errors import TrackingError, VersionError
from src.tracking import names
from src.tracking.experiments import experiment_files
from src.tracking.snapshot import flat_params
from src.tracking.store import Store, open_store
from src.utils.command import command
from src.versions.commands import find_commit, list_tags
from src.versions.history import FoundFile, find_file
from src.versions.record import find_parents, producer_tags
from src.versions.references import find_run, record_of_commit

if TYPE_CHECKING:
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

Lineage = dict[str, Any]


def trace(root: Path, reference: str, experiment_name: str) -> Lineage:
    """Tell the commit, the data, the settings and the metrics behind a version.

    Args:
        root: Root of the repository.
        reference: An MLflow run id, a logged model, a git tag, a commit, or the MD5 of a file.
        experiment_name: The MLflow experiment.

    Returns:
        Plain values; what is not recorded is `unknown`.

    Raises:
        VersionError: Nothing of that name is known.
    """
    store = _try_store(root, experiment_name)
    model = re.fullmatch(r"(?:models:/)?(m-[0-9a-f]{32})", reference)
    if not model and not re.fullmatch("[0-9a-f]{32}", reference):
        return _trace_commit(root, store, reference)
    run = _find_run(store, model[1] if model else reference) if store else None
    # git knows each file that was ever committed, whatever became of the runs.
    found = None if model else find_file(root, reference)
    if store and run:
        lineage = _trace_run(root, store, run)
    elif found:
        lineage = _trace_file(root, store, found)
    else:
        where = f"MLflow store {store.label}" if store else "MLflow, whose store cannot be used,"
        raise VersionError(f"{reference} is no run or model of {where} and no file of a commit of this clone.")
    if found:
        # Not the later tags that hold the commit and another file.
        lineage = {"file": {"path": found.path, "md5": reference}, **lineage}
        lineage["git"]["tags"] = found.tags
    return lineage


def _trace_file(root: Path, store: Store | None, found: FoundFile) -> Lineage:
    try:
        return _trace_commit(root, store, found.commit)
    except VersionError:
        # A table may have been added before the pipeline ran.
        return {"git": {"commit": found.commit}}


def _find_run(store: Store, reference: str) -> "Run | None":
    from mlflow.exceptions import MlflowException

    if reference.startswith("m-"):
        try:
            return find_run(store, store.client.get_logged_model(reference).source_run_id or "")
        except (MlflowException, VersionError):
            return None
    # An MD5 looks like a run id.
    with suppress(VersionError):
        return find_run(store, reference)
    query = f"tags.`{names.KIND}` = 'parent'"
    runs = store.client.search_runs([store.experiment_id], query, order_by=["start_time ASC"], max_results=50_000)
    return next((run for run in runs if reference in run.data.tags.values()), None)


def _trace_run(root: Path, store: Store, run: "Run") -> Lineage:
    tags = run.data.tags
    commit = tags.get(names.GIT_COMMIT, names.UNKNOWN)
    return {
        "run": {"id": run.info.run_id, "name": run.info.run_name, "status": run.info.status},
        "git": {
            "commit": commit,
            "branch": tags.get(names.GIT_BRANCH, names.UNKNOWN),
            "dirty": tags.get(names.GIT_DIRTY, names.UNKNOWN),
            "tags": _tags_of(root, commit, tags.get(names.GIT_TAG)),
        },
        "source": _source_of(store, tags, run.data.params),
        "files": {key.removeprefix(names.MD5): value for key, value in tags.items() if key.startswith(names.MD5)},
        "made on": _made_on(store, tags),
        "params": dict(run.data.params),
        "metrics": dict(run.data.metrics),
    }


def _trace_commit(root: Path, store: Store | None, reference: str) -> Lineage:
    record = record_of_commit(root, reference)
    with experiment_files(root, record.commit) as folder:
        params = flat_params(read_yaml(folder / "params.yaml"))
    run = next(iter(find_parents(store, root, record.commit)), None) if store else None
    tags = run.data.tags if run else {}
    return {
        "run": {"id": run.info.run_id, "name": run.info.run_name, "status": run.info.status} if run else {},
        "git": {"commit": record.commit, "tags": list_tags(root, record.commit)},
        "source": _source_of(store, tags, params),
        "files": record.md5s,
        "made on": _made_on(store, tags, record.cpu),
        "params": params,
        "metrics": record.metrics,
    }


def _source_of(store: Store | None, tags: Mapping[str, str], params: Mapping[str, str]) -> dict[str, str]:
    """Take what the run that loaded the data told of its origin, else what the settings say."""
    loaded = producer_tags(store, tags, "data_load")
    told = {key: value for key, value in loaded.items() if key.startswith("source.")}
    return told or {key: value for key, value in params.items() if key.startswith("data_load.source")}


def _made_on(store: Store | None, tags: Mapping[str, str], cpu: str | None = None) -> dict[str, str]:
    """Take where the model was trained, which is not where a run found it there."""
    trained = producer_tags(store, tags, "train")
    return {
        "cpu": trained.get(names.CPU) or cpu or names.UNKNOWN,
        "python": trained.get(names.PYTHON, names.UNKNOWN),
    }


def _tags_of(root: Path, commit: str, published: str | None) -> list[str]:
    # A tag points at the commit that holds the results, which comes after that of the run.
    try:
        return list_tags(root, find_commit(root, published or commit))
    except VersionError:
        # This clone never fetched it, or it is unknown.
        return [published] if published else []


def _try_store(root: Path, experiment_name: str) -> Store | None:
    try:
        return open_store(root, experiment_name)
    except TrackingError as error:
        logger.warning("%s", error)
        return None


def tell(lineage: Lineage) -> str:
    """Lay a lineage out as text: a heading for each part, a line for each fact."""
    lines = []
    for part, facts in lineage.items():
        lines.append(part)
        known = {key: ", ".join(value) if isinstance(value, list) else value for key, value in facts.items()}
        width = max((len(key) for key in known), default=0)
        lines += [f"  {key:<{width}}  {value}" for key, value in known.items()] or [f"  {names.UNKNOWN}"]
    return "\n".join(lines) + "\n"


@command
def main() -> None:
    """Trace, from the command line."""
    parser = argparse.ArgumentParser(prog="lineage", description=__doc__)
    parser.add_argument("reference", help="an MLflow run id, a logged model, a git tag, a commit, or the MD5 of a file")
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args()
    lineage = trace(Path.cwd(), options.reference, load_config(Path("params.yaml")).tracking.experiment_name)
    sys.stdout.write(json.dumps(lineage, indent=2) + "\n" if options.json else tell(lineage))


if __name__ == "__main__":
    sys.exit(main())
