"""From what a user names, a run, a tag or a commit, to what is recorded of it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from src.errors import VersionError
from src.tracking import names
from src.tracking.experiments import experiment_files
from src.tracking.git import list_experiments
from src.tracking.lineage import read_lock, read_stages
from src.tracking.process import cpu_model
from src.tracking.snapshot import read_metrics
from src.tracking.store import Store, open_store
from src.versions.commands import find_commit, git

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class Record:
    """What a version is said to have produced.

    Attributes:
        commit: The commit that holds its code and settings.
        md5s: MD5 of each output by path.
        metrics: Its metrics.
        cpu: Kind of CPU that made it; None if that is not recorded.
    """

    commit: str
    md5s: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    cpu: str | None = None

    @property
    def is_of_this_cpu(self) -> bool:
        """Whether results must be equal to the byte here; so it is taken where nothing is recorded."""
        return self.cpu in (None, cpu_model())


def find_record(root: Path, reference: str, experiment_name: str) -> Record:
    """Look up what a run, a tag or a commit is said to have produced.

    Args:
        root: Root of the repository.
        reference: An MLflow run id, a git tag, a branch or a commit.
        experiment_name: The MLflow experiment.

    Raises:
        VersionError: Nothing of that name is known, or it cannot be made again.
        TrackingError: The store that may know the run cannot be used.
    """
    if re.fullmatch("[0-9a-f]{32}", reference):
        store = open_store(root, experiment_name)
        return _record_of_run(root, find_run(store, reference))
    return record_of_commit(root, reference)


def find_run(store: Store, run_id: str) -> "Run":
    """Find a run; of a nested one, its parent.

    Raises:
        VersionError: There is no such run.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = store.client.get_run(run_id)
        parent_id = run.data.tags.get("mlflow.parentRunId")
        return store.client.get_run(parent_id) if parent_id else run
    except MlflowException as error:
        raise VersionError(f"MLflow store {store.label} has no run {run_id}.") from error


def record_of_commit(root: Path, reference: str) -> Record:
    """Read what a commit's own `dvc.lock` and metrics say.

    Raises:
        VersionError: There is no such commit, or it holds no `dvc.lock`.
    """
    commit = find_commit(root, reference)
    with experiment_files(root, commit) as folder:
        if not (folder / "dvc.lock").exists():
            raise VersionError(f"{reference} holds no dvc.lock: nothing is recorded with it.")
        stages, lock = read_stages(folder), read_lock(folder)
        metrics = {
            name: value
            for stage in stages.values()
            for path in stage.metrics
            for name, value in read_metrics(folder / path).items()
        }
    md5s = {path: md5 for entry in lock.values() for path, md5 in entry.outs.items() if md5}
    text = git(root, "for-each-ref", "--format=%(contents)", f"refs/tags/{reference}")
    cpu = re.search(r"^CPU: (.+)$", text, re.MULTILINE)
    return Record(commit, md5s, metrics, cpu[1] if cpu else None)


def _record_of_run(root: Path, run: "Run") -> Record:
    tags, name = run.data.tags, f"run {run.info.run_name} ({run.info.run_id})"
    commit = _commit_of_run(root, run, name)
    with experiment_files(root, commit) as folder:
        outs = {path for stage in read_stages(folder).values() for path in stage.outs}
    md5s = {path: tags[names.MD5 + path] for path in sorted(outs) if names.MD5 + path in tags}
    missing = sorted(outs - set(md5s))
    if missing:
        raise VersionError(f"{name} left no {', '.join(missing)}: it did not complete ({run.info.status}).")
    return Record(commit, md5s, dict(run.data.metrics), tags.get(names.CPU))


def _commit_of_run(root: Path, run: "Run", name: str) -> str:
    tags = run.data.tags
    exp_name, baseline = tags.get(names.EXP_NAME), tags.get(names.EXP_BASELINE)
    for experiment in list_experiments(root):
        # DVC has committed what an experiment changed.
        if (experiment.name, experiment.baseline) == (exp_name, baseline):
            return experiment.commit
    if tags.get(names.GIT_DIRTY) != "false":
        raise VersionError(
            f"{name} was made with changes that are not committed: git does not hold what it ran. Commit before "
            "`make pipeline` to make runs that can be reproduced."
        )
    return find_commit(root, tags.get(names.GIT_COMMIT, names.UNKNOWN))
