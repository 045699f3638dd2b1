"""Prove that a version can be made again: `python -m src.versions.reproduce --run REFERENCE`.

REFERENCE is an MLflow run id, a git tag or a commit. In a temporary clone the pipeline
runs from its source with an empty cache, and each file and metric is compared with the record.
"""

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

from src.config.load import load_config
from src.tracking import names
from src.tracking.cache import cache_dir
from src.tracking.process import cpu_model
from src.utils.command import command
from src.versions.commands import show_and_run
from src.versions.comparison import Difference, compare_with_record
from src.versions.objects import fetch, list_added, list_missing
from src.versions.references import Record, find_record

logger = logging.getLogger(__name__)

# Linear algebra of another kind of CPU may differ in the last bits.
RELATIVE_TOLERANCE = 1e-6


def reproduce(root: Path, record: Record) -> list[Difference]:
    """Run a recorded version again, from the source, in a temporary clone.

    Args:
        root: Root of the repository; only read, but for tables that its cache lacked.
        record: What to make again.

    Returns:
        Each output and metric that is not as recorded.

    Raises:
        VersionError: A command failed, the pipeline of the version itself included.
    """
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        clone = Path(folder) / "clone"
        # Shared, so that commits which no branch holds can be checked out: DVC's experiments.
        show_and_run(root, "git", "clone", "--quiet", "--shared", "--no-checkout", str(root), str(clone))
        show_and_run(clone, "git", "checkout", "--quiet", "--detach", record.commit)
        fetch_sources(root, clone, record.commit)
        os.environ |= {names.MLFLOW_TRACKING_URI: f"sqlite:///{folder}/mlflow.db", "DVC_NO_ANALYTICS": "true"}
        os.environ.pop(names.MLFLOW_RUN_ID, None)
        show_and_run(clone, "dvc", "repro", "--force", "--no-run-cache")
        return compare_with_record(clone, root, record, RELATIVE_TOLERANCE)


def fetch_sources(root: Path, clone: Path, commit: str) -> None:
    """Bring tables that the pipeline reads and does not make, from the cache of `root` or else its remote."""
    # As a remote: the clone's own cache stays empty of everything that the pipeline makes.
    # By a link beside it: DVC writes its config as ASCII (3.67), and a path may have other letters.
    link = clone.parent / "cache-of-origin"
    link.symlink_to(cache_dir(root))
    show_and_run(clone, "dvc", "remote", "add", "--local", "--default", link.name, f"../{link.name}")
    added = list_added(root, commit)
    if not added:
        return
    if not set(list_missing(root, commit)).isdisjoint(path.removesuffix(".dvc") for path in added):
        logger.info("the cache lacks a table that was added: fetching")
        fetch(root, commit, added)
    show_and_run(clone, "dvc", "pull", *added)


def tell(record: Record, differences: list[Difference]) -> str:
    """Say in words what was reproduced."""
    lines = []
    if not record.is_of_this_cpu:
        lines.append(
            f"The record is of another kind of CPU ({record.cpu}; here {cpu_model()}): "
            f"numbers may differ by {RELATIVE_TOLERANCE:g} of their size."
        )
    n_outputs, n_changed = len(record.md5s), sum(difference.is_output for difference in differences)
    verdict = "reproduced" if is_reproduced(record, differences) else "NOT reproduced"
    lines.append(f"{verdict}: {n_outputs - n_changed} of {n_outputs} outputs equal to the byte")
    lines += [f"  {difference.name}: {difference.words}" for difference in differences]
    return "\n".join(lines) + "\n"


def is_reproduced(record: Record, differences: list[Difference]) -> bool:
    """Judge: to the byte on the same kind of CPU, numbers within the tolerance on another."""
    if record.is_of_this_cpu:
        return not differences
    return all(difference.is_close is not False for difference in differences)


@command
def main() -> int:
    """Reproduce, from the command line; gives 0 if everything is equal, else 1."""
    parser = argparse.ArgumentParser(prog="reproduce", description=__doc__)
    parser.add_argument("--run", required=True, help="an MLflow run id, a git tag or a commit")
    options = parser.parse_args()
    root = Path.cwd()
    tracking = load_config(Path("params.yaml")).tracking
    record = find_record(root, options.run, tracking.experiment_name)
    differences = reproduce(root, record)
    sys.stdout.write(tell(record, differences))
    return 0 if is_reproduced(record, differences) else 1


if __name__ == "__main__":
    sys.exit(main())
