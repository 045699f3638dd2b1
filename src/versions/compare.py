"""Show two versions side by side: `python -m src.versions.compare v1.0.0 v1.1.0`."""

import argparse
import json
import sys
from pathlib import Path

from src.config.load import load_config
from src.errors import TrackingError
from src.tracking.runs import ui_page
from src.tracking.store import open_store
from src.utils.command import command
from src.versions.commands import find_commit, show_and_run
from src.versions.lineage import find_parents

PLOTS_DIR = "reports/compare"


def compare(root: Path, first: str, second: str, experiment_name: str | None) -> None:
    """Print the differences of settings and metrics, draw the plots of both, and link to MLflow's comparison.

    Args:
        experiment_name: The MLflow experiment; None prints no link.

    Raises:
        VersionError: One of them does not exist.
    """
    commits = [find_commit(root, reference) for reference in (first, second)]
    for kind in ("params", "metrics"):
        show_and_run(root, "dvc", kind, "diff", first, second, output=sys.stdout)
    show_and_run(root, "dvc", "plots", "diff", first, second, "--out", PLOTS_DIR)
    sys.stdout.write(f"\nPlots: {PLOTS_DIR}/index.html\n")
    if experiment_name:
        sys.stdout.write(f"Runs:  {_link(root, experiment_name, commits)}\n")


def _link(root: Path, experiment_name: str, commits: list[str]) -> str:
    try:
        store = open_store(root, experiment_name)
        parents = [find_parents(store, root, commit) for commit in commits]
    except TrackingError as error:
        return f"unknown: {error}"
    if not all(parents):
        return "unknown: MLflow has no parent run of one of them; restore it and run `make sync`"
    run_ids = json.dumps([runs[0].info.run_id for runs in parents])
    page = ui_page("compare-runs", runs=run_ids, experiments=json.dumps([store.experiment_id]))
    return f"{store.ui_address or '<address that `make ui` prints>'}/{page}"


@command
def main() -> None:
    """Compare, from the command line."""
    parser = argparse.ArgumentParser(prog="compare", description=__doc__)
    parser.add_argument("first", help="a tag, branch or commit")
    parser.add_argument("second", help="another")
    options = parser.parse_args()
    tracking = load_config(Path("params.yaml")).tracking
    compare(Path.cwd(), options.first, options.second, tracking.experiment_name if tracking.enabled else None)


if __name__ == "__main__":
    sys.exit(main())
