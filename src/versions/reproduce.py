"""Check that a version can be reproduced: `python -m src.versions.reproduce --run REFERENCE`.

REFERENCE is an MLflow run id, a git tag or a commit. The pipeline runs from its source in a temporary
clone with an empty cache, and each file and metric is compared with the record.
"""

import argparse
import logging
import math
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from src.config.load import load_config
from src.errors import VersionError
from src.tracking import names
from src.tracking.git import clean_environment, list_experiments
from src.tracking.process import cpu_model
from src.tracking.store import open_store
from src.utils.command import command
from src.versions.commands import find_commit, show_and_run
from src.versions.lineage import RUN_ID_OR_MD5, find_run, read_md5s
from src.versions.load import copy_content
from src.versions.revision import (
    WORKSPACE,
    fetch,
    find_damaged,
    open_revision,
    read_cpu,
    read_recorded,
    read_revision,
)

if TYPE_CHECKING:
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

# Linear algebra on another kind of CPU may differ in the last bits.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Record:
    """Commit, MD5 of each output by path, metrics, and CPU, if known, of a version."""

    commit: str
    md5s: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    cpu: str | None = None

    @property
    def is_of_this_cpu(self) -> bool:
        """Whether results must be bytewise equal here; assumed if no CPU is recorded."""
        return self.cpu in (None, cpu_model())


@dataclass(frozen=True)
class Difference:
    """An output or a metric that differs from the record.

    Attributes:
        name: Path of the output, or name of the metric.
        description: How it differs.
        is_close: Whether it is within the tolerance; None if the file holds no comparable numbers.
    """

    name: str
    description: str
    is_close: bool | None
    is_output: bool = True


def find_record(root: Path, reference: str, experiment_name: str) -> Record:
    """Look up the record of a run, a tag or a commit.

    Raises:
        VersionError: The reference is unknown, or cannot be reproduced.
        TrackingError: The MLflow store cannot be used.
    """
    if RUN_ID_OR_MD5.fullmatch(reference):
        return _record_of_run(root, find_run(open_store(root, experiment_name), reference))
    commit = find_commit(root, reference)
    revision = read_recorded(root, reference, commit)
    return Record(commit, revision.md5s, revision.metrics, read_cpu(root, reference))


def _record_of_run(root: Path, run: "Run") -> Record:
    tags, name = run.data.tags, f"run {run.info.run_name} ({run.info.run_id})"
    experiment = (tags.get(names.EXP_NAME), tags.get(names.EXP_BASELINE))
    # DVC commits the changes of an experiment.
    commits = [item.commit for item in list_experiments(root) if (item.name, item.baseline) == experiment]
    if not commits and tags.get(names.GIT_DIRTY) != "false":
        raise VersionError(
            f"{name} was made with changes that are not committed, so git does not have the code that it ran. Commit "
            "before `make pipeline` to make runs that can be reproduced."
        )
    commit = commits[0] if commits else find_commit(root, tags.get(names.GIT_COMMIT, names.UNKNOWN))
    outputs = sorted(read_revision(root, commit).outputs)
    md5s = read_md5s(run)
    if missing := [path for path in outputs if path not in md5s]:
        raise VersionError(f"{name} did not write {', '.join(missing)}: it did not complete ({run.info.status}).")
    return Record(commit, {path: md5s[path] for path in outputs}, run.data.metrics, tags.get(names.CPU))


def reproduce(root: Path, record: Record) -> list[Difference]:
    """Run a recorded version again, from its source, in a temporary clone.

    In `root`, nothing changes but the cache, into which missing tables are fetched.

    Returns:
        Each output and metric that differs from the record.

    Raises:
        VersionError: A command failed, including the pipeline itself.
    """
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        clone = Path(folder) / "clone"
        # --shared includes commits that are on no branch, such as DVC's experiments.
        # The user's hooks are made for other work trees.
        options = ("--quiet", "--shared", "--no-checkout", "--config", f"core.hooksPath={os.devnull}")
        show_and_run(root, "git", "clone", *options, str(root), str(clone))
        show_and_run(clone, "git", "checkout", "--quiet", "--detach", record.commit)
        _pull_added_tables(root, clone, record.commit)
        # No warm server, which would still write into the clone while it is deleted.
        env = clean_environment() | {
            names.MLFLOW_TRACKING_URI: f"sqlite:///{folder}/mlflow.db",
            names.PIPELINE_WARM: names.COLD,
        }
        env.pop(names.MLFLOW_RUN_ID, None)
        show_and_run(clone, "dvc", "repro", "--force", "--no-run-cache", env=env)
        return compare_with_record(root, clone, record)


def _pull_added_tables(root: Path, clone: Path, commit: str) -> None:
    added = list(read_revision(root, commit).added)
    if missing := [path for path in find_damaged(root, commit) if path in added]:
        logger.info("fetching what is missing in DVC's cache: %s", ", ".join(missing))
        fetch(root, commit, missing)
    # The cache becomes a remote: the clone's own cache must not have the outputs of the pipeline.
    # The link avoids letters that DVC cannot write into its config (DVC 3.67: ASCII only).
    link = clone.parent / "cache-of-origin"
    with open_revision(root, WORKSPACE) as repo:
        link.symlink_to(repo.cache.local_cache_dir)
    # The user may share a cache, by a configuration that holds for all clones.
    show_and_run(clone, "dvc", "cache", "dir", "--local", ".dvc/cache")
    show_and_run(clone, "dvc", "remote", "add", "--local", "--default", link.name, f"../{link.name}")
    if added:
        show_and_run(clone, "dvc", "pull", *added)


def compare_with_record(root: Path, clone: Path, record: Record) -> list[Difference]:
    """Compare each output and metric of a finished pipeline with the record.

    Args:
        root: Root of the repository, whose DVC cache or remote may hold the recorded files.
    """
    made = read_revision(clone, WORKSPACE)
    changed = [(path, md5) for path, md5 in record.md5s.items() if made.outputs.get(path) != md5]
    differences = [Difference(path, *_compare_files(root, clone / path, md5)) for path, md5 in changed]
    for name, recorded in record.metrics.items():
        value = made.metrics.get(name, math.nan)
        if value != recorded:
            is_close = math.isclose(value, recorded, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
            differences.append(Difference(name, f"{value:.9g} instead of {recorded:.9g}", is_close, is_output=False))
    return differences


def _compare_files(root: Path, made: Path, md5: str) -> tuple[str, bool | None]:
    if not made.exists():
        return "is missing", False
    if made.suffix != ".parquet":
        return "differs", None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, made.name)
        try:
            copy_content(root, md5, copy)
        except VersionError:
            return "differs, and the recorded file is in neither cache nor remote", False
        # A file, or a folder of parts.
        return compare_tables(pd.read_parquet(copy), pd.read_parquet(made))


def compare_tables(recorded: pd.DataFrame, made: pd.DataFrame) -> tuple[str, bool]:
    """Describe how a table differs from its record, and return whether all values are within the tolerance."""
    if list(recorded.columns) != list(made.columns):
        changed = sorted(set(recorded.columns) ^ set(made.columns))
        return f"other columns: {', '.join(changed) or 'in another order'}", False
    if len(recorded) != len(made):
        return f"{len(made)} rows instead of {len(recorded)}", False
    descriptions, is_close = [], True
    for column in recorded.columns:
        first, second = recorded[column], made[column]
        differs = (first != second) & ~(first.isna() & second.isna())
        if not differs.any():
            continue
        amount, is_close_here = "", False
        if is_numeric_dtype(first) and is_numeric_dtype(second):
            x, y = first.to_numpy(float), second.to_numpy(float)
            gaps = np.abs(x - y)[differs]
            amount = ", missing in one of them" if np.isnan(gaps).all() else f", by at most {np.nanmax(gaps):.3g}"
            is_close_here = np.allclose(x, y, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
        is_close &= is_close_here
        descriptions.append(f"{column} in {int(differs.sum())} of {len(first)} rows{amount}")
    return "; ".join(descriptions) or "equal values, other bytes", is_close


def format_report(record: Record, differences: list[Difference]) -> str:
    """Format the verdict and each difference as text."""
    lines = []
    if not record.is_of_this_cpu:
        lines.append(
            f"The record was made on another CPU ({record.cpu}; here {cpu_model()}): "
            f"numbers may differ by a relative {TOLERANCE:g}."
        )
    n_outputs, n_changed = len(record.md5s), sum(difference.is_output for difference in differences)
    verdict = "reproduced" if is_reproduced(record, differences) else "NOT reproduced"
    lines.append(f"{verdict}: {n_outputs - n_changed} of {n_outputs} outputs equal to the byte")
    lines += [f"  {difference.name}: {difference.description}" for difference in differences]
    return "\n".join(lines) + "\n"


def is_reproduced(record: Record, differences: list[Difference]) -> bool:
    """Return whether everything is bytewise equal, or within the tolerance on another CPU."""
    if record.is_of_this_cpu:
        return not differences
    return all(difference.is_close is not False for difference in differences)


@command
def main() -> int:
    """Reproduce, from the command line; exit code 0 if everything is equal, else 1."""
    parser = argparse.ArgumentParser(prog="reproduce", description=__doc__)
    parser.add_argument("--run", required=True, help="an MLflow run id, a git tag or a commit")
    options = parser.parse_args()
    record = find_record(Path.cwd(), options.run, load_config(Path("params.yaml")).tracking.experiment_name)
    differences = reproduce(Path.cwd(), record)
    sys.stdout.write(format_report(record, differences))
    return 0 if is_reproduced(record, differences) else 1


if __name__ == "__main__":
    sys.exit(main())
