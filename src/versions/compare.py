"""Show two versions side by side: `python -m src.versions.compare v1.0.0 v1.1.0`."""

import argparse
import base64
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from src.atomic import atomic_path
from src.config.load import load_config
from src.config.train import metric_of
from src.data.headline import short_number
from src.errors import TrackingError
from src.text import format_table
from src.tracking.runs import ui_page
from src.tracking.session import flatten
from src.tracking.store import open_store
from src.utils.command import command
from src.utils.start_ui import find_ui
from src.versions.commands import find_commit
from src.versions.lineage import find_parents
from src.versions.revision import Revision, read_pictures, read_revision

PAGE = Path("reports/compare/index.html")
TEMPLATE = "compare.html.j2"
MISSING = "Neither DVC's cache nor its remote has the picture."
# Metrics begin with these after `test_` or `cv_`; others have no direction.
SCORES = ("accuracy", "average_precision", "balanced_accuracy", "f1", "neg_", "pr_auc", "precision", "r2", "recall",
          "roc_auc")  # fmt: skip
LOSSES = ("brier", "calibration_error", "log_loss", "mae", "mape", "median_absolute_error", "rmse")
WITHOUT_DIRECTION = ("_baseline", "_ci95_high", "_ci95_low", "_std")


@dataclass(frozen=True)
class Version:
    """A version as its user named it.

    Attributes:
        pictures: Content of the PNG files by path, None for one that is missing; None if they are unknown.
    """

    name: str
    commit: str
    revision: Revision
    pictures: dict[str, bytes | None] | None


@dataclass(frozen=True)
class Difference:
    """A setting or a metric that differs.

    Attributes:
        change: Second value minus the first; empty for a setting.
        verdict: `better` or `worse`; empty if that is unknown.
    """

    name: str
    before: str
    after: str
    change: str = ""
    verdict: str = ""


def compare(root: Path, first: str, second: str, experiment_name: str | None) -> None:
    """Print the settings and metrics that differ, write a page with both versions' pictures, and link to MLflow.

    Args:
        experiment_name: The MLflow experiment; None prints no link.

    Raises:
        VersionError: One of them does not exist.
    """
    a, b = (_read(root, reference) for reference in (first, second))
    settings, metrics = compare_settings(a, b), compare_metrics(a, b)
    with atomic_path(root / PAGE) as partial:
        partial.write_text(render(a, b, settings, metrics), encoding="utf-8")
    setting_rows = [(each.name, each.before, each.after) for each in settings]
    # The metrics of single classes would hide the others.
    shown = [metric for metric in metrics if "_class." not in metric.name]
    metric_rows = [(each.name, each.before, each.after, each.change, each.verdict) for each in shown]
    sys.stdout.write(
        f"{_table(('setting', first, second), setting_rows)}\n"
        f"{_table(('metric', first, second, 'difference', ''), metric_rows)}\n"
        f"Page:   {PAGE}\nCurves: {shlex.join(['dvc', 'plots', 'diff', first, second])}\n"
    )
    if experiment_name:
        sys.stdout.write(f"Runs:   {_link(root, experiment_name, [a.commit, b.commit])}\n")


def _read(root: Path, reference: str) -> Version:
    commit = find_commit(root, reference)
    return Version(reference, commit, read_revision(root, commit), read_pictures(root, commit))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return format_table([header, *rows], range(3)) if rows else f"no {header[0]} differs\n"


def compare_settings(first: Version, second: Version) -> list[Difference]:
    """Return the settings that differ, in the order of `params.yaml`."""
    before, after = (flatten(version.revision.params) for version in (first, second))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [Difference(name, before.get(name, "-"), after.get(name, "-")) for name in names]


def compare_metrics(first: Version, second: Version) -> list[Difference]:
    """Return the metrics that differ: that of `train.scoring`, then those with a direction, then the others."""
    before, after = first.revision.metrics, second.revision.metrics
    headline = f"test_{metric_of(flatten(second.revision.params).get('train.scoring', ''))}"
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    names.sort(key=lambda name: (name != headline, direction(name) == 0, name))
    return [_subtract(name, before.get(name), after.get(name)) for name in names]


def direction(name: str) -> int:
    """Return 1 if a higher value is better, -1 if a lower one is, and 0 if that is unknown."""
    kind = name.removeprefix("test_").removeprefix("cv_")
    if name.endswith(WITHOUT_DIRECTION):
        return 0
    return kind.startswith(SCORES) - kind.startswith(LOSSES)


def _subtract(name: str, before: float | None, after: float | None) -> Difference:
    old, new = ("-" if value is None else short_number(value) for value in (before, after))
    if before is None or after is None:
        return Difference(name, old, new)
    change = after - before
    text = f"{change:+.4f}" if 5e-5 <= abs(change) < 1000 else f"{change:+.3g}"
    gain = change * direction(name)
    return Difference(name, old, new, text, "better" if gain > 0 else "worse" if gain < 0 else "")


def render(first: Version, second: Version, settings: Sequence[Difference], metrics: Sequence[Difference]) -> str:
    """Return a page that needs no other file and no network."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    paths = sorted({*(first.pictures or ()), *(second.pictures or ())})
    stems = [Path(path).stem for path in paths]
    pictures = [
        (
            stem.replace("_", " ") if stems.count(stem) == 1 else path,
            [_show(path, version) for version in (first, second)],
        )
        for path, stem in zip(paths, stems, strict=True)
    ]
    unknown = [version.name for version in (first, second) if version.pictures is None]
    return environment.get_template(TEMPLATE).render(
        first=first,
        second=second,
        settings=settings,
        metrics=metrics,
        pictures=pictures,
        no_pictures=f"{' and '.join(unknown)}: {MISSING}" if unknown else "Neither version has pictures.",
    )


def _show(path: str, version: Version) -> tuple[str, str, str]:
    """Return the name of a version, and its picture as a URI or else the reason why it has none."""
    if version.pictures is None:
        return version.name, "", MISSING
    if path not in version.pictures:
        return version.name, "", f"{version.name} has no such picture."
    content = version.pictures[path]
    if content is None:
        return version.name, "", MISSING
    return version.name, f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}", ""


def _link(root: Path, experiment_name: str, commits: Sequence[str]) -> str:
    try:
        store = open_store(root, experiment_name)
        parents = [find_parents(store, root, commit) for commit in commits]
    except TrackingError as error:
        return f"unknown: {error}"
    if not all(parents):
        return "unknown: MLflow has no parent run of one of them; restore it and run `make sync`"
    run_ids = json.dumps([runs[0].info.run_id for runs in parents])
    page = ui_page("compare-runs", runs=run_ids, experiments=json.dumps([store.experiment_id]))
    if address := store.ui_address or find_ui(root):
        return f"{address}/{page}"
    return f"run `make ui`, and add to its address: /{page}"


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
