"""The page `reports/drift.html`: what moved, how far, and what it may cost."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from src.config.service import Monitor
from src.data.headline import short_number
from src.report.content import Block, Code, Items, Picture, Table, Text
from src.report.html_report import render_page
from src.report.predictions import Floats
from src.report.profile import LEVEL_KINDS, Reference, encode_column
from src.report.visualizing import COLOURS, DPI, GREY, fit_label, new_axes, render
from src.service.monitoring.compare import ColumnSummary, Comparison, count_levels, reference_counts, reference_sample
from src.service.monitoring.labels import Score

TEMPLATE = "drift.html.j2"
# More pictures and rows of a table are not read.
MAX_PICTURES, MAX_BARS, MAX_LEVELS, MAX_TABLE_ROWS = 6, 20, 12, 500
BEFORE, NOW = GREY, COLOURS[0]


@dataclass(frozen=True)
class Drift:
    """Everything that a comparison found.

    Attributes:
        rows: Converted raw columns of the new rows.
        scores: Probabilities or predicted numbers of the new rows.
        auc: Area under the ROC curve of the classifier of the joint test; None without that test.
        metric: Name of the metric of `labelled`.
        labelled: Scores by period, the whole window first; empty without labels.
        n_rows: Number of rows in the window, of which a sample may be compared.
        first: Time of the first compared row, as text.
        last: Time of the last one.
        notes: What was left out, and what else is worth knowing.
    """

    reference: Reference
    rows: pd.DataFrame
    scores: Mapping[str, Floats]
    comparisons: Sequence[Comparison]
    summaries: Sequence[ColumnSummary]
    auc: float | None
    metric: str
    labelled: Sequence[Score]
    n_rows: int
    first: str
    last: str
    notes: Sequence[Text]

    @property
    def found(self) -> list[Comparison]:
        """The comparisons that are drift, the largest effect first."""
        return sorted((each for each in self.comparisons if each.is_drift), key=lambda each: -each.effect)


def describe_verdict(drift: Drift) -> str:
    """Summarize what was found in one sentence."""
    columns = list(dict.fromkeys(each.name for each in drift.found if each.subject == "column"))
    parts = []
    if columns:
        names = ", ".join(repr(fit_label(name, 40)) for name in columns[:5])
        more = f" and {len(columns) - 5} more" if len(columns) > 5 else ""
        parts.append(f"{len(columns)} of {len(drift.summaries)} columns ({names}{more})")
    subjects = {each.subject for each in drift.found}
    parts += [
        text
        for subject, text in (
            ("prediction", "the predictions"),
            ("joint", "the columns together"),
            ("errors", "more errors than on the test rows"),
        )
        if subject in subjects
    ]
    return f"Drift: {'; '.join(parts)}" if parts else f"No drift in {len(drift.summaries)} columns"


def render_drift_page(drift: Drift, path: Path, settings: Monitor) -> str:
    """Render the page as HTML with embedded pictures."""
    with tempfile.TemporaryDirectory() as folder:
        sections = dict(_sections(drift, Path(folder), settings))
        verdict = describe_verdict(drift)
        report = {
            "title": f"Drift of {drift.reference.target}",
            "subtitle": f"{len(drift.rows):,} of {drift.n_rows:,} recorded rows, {drift.first} to {drift.last} (UTC), "
            f"compared with {drift.reference.n_train:,} training rows",
            "verdict": f"{verdict}.",
            "is_drift": bool(drift.found),
            "explanation": f"Without drift, at most {settings.alpha:.0%} of such comparisons would raise an alarm, "
            f"over all {len(drift.comparisons)} tests together. An effect below {settings.min_effect:g} raises none.",
            "sections": {name: blocks for name, blocks in sections.items() if blocks},
        }
        return render_page(TEMPLATE, path, Path(__file__).parent, report=report)


def _sections(drift: Drift, folder: Path, settings: Monitor) -> Iterator[tuple[str, list[Block]]]:
    yield "What moved", [
        _picture(folder / "effects.png", plot_effects(drift.comparisons, settings.min_effect), "Effects",
                 "The largest difference between the distributions of training rows and new rows. Red is drift."),
        *_describe_tests(drift, settings),
    ]  # fmt: skip
    yield "Distributions", [
        _picture(folder / f"column-{number}.png", plot_column(drift, name), f"Distribution of {name}",
                 "Grey are the training rows, blue the new rows.")
        for number, name in enumerate(_most_moved(drift))
    ]  # fmt: skip
    label = "probability" if drift.reference.labels else "predicted value"
    scores = {name: np.array(values) for name, values in drift.reference.scores.items() if name in drift.scores}
    yield "Predictions", [
        _picture(folder / f"score-{number}.png", _plot_numbers(name, label, before, drift.scores[name]),
                 f"Predictions: {name}", "Grey are the predictions of the test rows, blue those of the new rows.")
        for number, (name, before) in enumerate(list(scores.items())[:MAX_PICTURES])
    ]  # fmt: skip
    if drift.labelled:
        yield f"Labels: {drift.metric}", [
            _picture(folder / "labels.png", plot_labelled(drift), f"{drift.metric} over time",
                     "Bars are 95 % bootstrap intervals. The grey band is the interval of the test rows."),
            Table(["Period from", "Rows", drift.metric, "95 % interval"],
                  [[each.period, str(each.n_rows), short_number(each.value), _interval(each)]
                   for each in drift.labelled],
                  numbers=(1, 2, 3)),
        ]  # fmt: skip
    yield "Columns", _describe_columns(drift)
    if drift.notes:
        yield "Notes", [Items(drift.notes)]


def _describe_tests(drift: Drift, settings: Monitor) -> list[Block]:
    rows: list[list[Text]] = [
        [(Code(each.name),), each.what, each.test, short_number(each.effect), _p(each.p), _p(each.p_adjusted),
         "drift" if each.is_drift else ""]
        for each in sorted(drift.comparisons, key=lambda each: (-each.is_drift, each.p_adjusted, -each.effect))
    ]  # fmt: skip
    blocks: list[Block] = []
    if drift.auc is not None:
        blocks.append(
            f"A classifier that separates new rows from training rows by all columns together has an AUC of "
            f"{drift.auc:.3f}; 0.5 is chance. Its effect is 2 AUC − 1."
        )
    blocks.append(
        f"Drift is an adjusted p of at most {settings.alpha:g} (Holm's method) and an effect of at least "
        f"{settings.min_effect:g}."
    )
    return [*blocks, *_table(["Name", "Compared", "Test", "Effect", "p", "Adjusted p", ""], rows, numbers=(3, 4, 5))]


def _describe_columns(drift: Drift) -> list[Block]:
    rows: list[list[Text]] = [
        [(Code(each.name),), each.kind, _share(each.missing_before), _share(each.missing_now), _share(each.unseen),
         _share(each.outside), "" if each.psi is None else f"{each.psi:.3f}"]
        for each in drift.summaries
    ]  # fmt: skip
    header = ["Column", "Kind", "Missing before", "Missing now", "Unseen levels", "Outside the range", "PSI"]
    return [
        "Shares of the rows, or of the values that are not missing. The population stability index (PSI) is often read "
        "as small below 0.1 and large above 0.25; with few rows it is large by chance.",
        *_table(header, rows, numbers=(2, 3, 4, 5, 6)),
    ]


def _table(header: list[str], rows: list[list[Text]], numbers: Sequence[int]) -> Iterator[Block]:
    """Yield the first rows of a long table."""
    yield Table(header, rows[:MAX_TABLE_ROWS], numbers=numbers)
    if len(rows) > MAX_TABLE_ROWS:
        yield f"The first {MAX_TABLE_ROWS} of {len(rows)} are listed."


def _most_moved(drift: Drift) -> list[str]:
    """List the columns whose distribution moved most, those with drift first."""
    columns = [each for each in drift.comparisons if each.subject == "column"]
    columns.sort(key=lambda each: (-each.is_drift, each.p_adjusted, each.p))
    return list(dict.fromkeys(each.name for each in columns))[:MAX_PICTURES]


def plot_effects(comparisons: Sequence[Comparison], min_effect: float) -> Figure:
    """Draw the largest effects as bars, those of drift in red."""
    shown = sorted(comparisons, key=lambda each: (-each.is_drift, -each.effect))[:MAX_BARS]
    title = "Effects" if len(shown) == len(comparisons) else f"Effects: {len(shown)} of {len(comparisons)}"
    figure, axes = new_axes(5, 0.5 + 0.28 * len(shown), title, "effect", "", left=4.5)
    colours = [COLOURS[1] if each.is_drift else BEFORE for each in shown]
    axes.barh(range(len(shown)), [each.effect for each in shown], color=colours)
    axes.axvline(min_effect, color="black", linestyle=":", linewidth=1)
    labels = [fit_label(f"{fit_label(each.name, 30)}: {each.what}", 48) for each in shown]
    axes.set_yticks(range(len(shown)), labels, parse_math=False, fontsize="small")
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    return figure


def plot_column(drift: Drift, name: str) -> Figure:
    """Draw the distribution of a column before and now."""
    profile, column = drift.reference.columns[name], drift.rows[name]
    if profile.kind in LEVEL_KINDS:
        counts = [reference_counts(drift.reference, profile), count_levels(column, profile)]
        return _plot_levels(name, [*profile.levels, "(others)"], counts[0], counts[1])
    if profile.kind == "date":
        missing = int(column.isna().sum())
        before = np.array([profile.n_missing, drift.reference.n_train - profile.n_missing])
        return _plot_levels(name, ["missing", "known"], before, np.array([missing, len(column) - missing]))
    label = "length in characters" if profile.kind == "text" else "value"
    return _plot_numbers(name, label, reference_sample(drift.reference, name), encode_column(column, profile))


def _plot_numbers(name: str, label: str, before: Floats, now: Floats) -> Figure:
    before, now = before[~np.isnan(before)], now[~np.isnan(now)]
    figure, axes = new_axes(4, 2.2, fit_label(name, 50), label, "share of rows")
    both = np.concatenate([before, now])
    if len(both):
        # Outliers would leave one bar for all others.
        low, high = np.quantile(both, (0.005, 0.995))
        edges = np.linspace(low, high if high > low else low + 1, 31)
        for values, colour, legend in ((before, BEFORE, "before"), (now, NOW, "now")):
            weights = np.full(len(values), 1 / max(len(values), 1))
            options: dict[str, Any] = {"histtype": "stepfilled", "alpha": 0.55, "color": colour, "label": legend}
            axes.hist(np.clip(values, low, edges[-1]), bins=edges.tolist(), weights=weights, **options)
        axes.legend(frameon=False, fontsize="small")
    return figure


def _plot_levels(name: str, levels: Sequence[str], before: NDArray[Any], now: NDArray[Any]) -> Figure:
    shares = np.array([counts / max(counts.sum(), 1) for counts in (before, now)], dtype=float)
    order = np.argsort(-shares.max(axis=0), kind="stable")
    # At least one bar, also if all values are missing.
    n_shown = max(1, min(MAX_LEVELS, int((shares.max(axis=0) > 0).sum())))
    order = order[:n_shown]
    figure, axes = new_axes(3.4, 0.5 + 0.32 * len(order), fit_label(name, 50), "share of rows", "", left=2.6)
    places = np.arange(len(order))
    axes.barh(places - 0.2, shares[0, order], 0.4, color=BEFORE, label="before")
    axes.barh(places + 0.2, shares[1, order], 0.4, color=NOW, label="now")
    axes.set_yticks(places, [fit_label(levels[place], 26) for place in order], parse_math=False, fontsize="small")
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.legend(frameon=False, fontsize="small")
    return figure


def plot_labelled(drift: Drift) -> Figure:
    """Draw the metric of each period with its interval, beside that of the test rows."""
    periods = drift.labelled[1:]
    figure, axes = new_axes(7, 2.6, f"{drift.metric} over time", "", drift.metric, bottom=1.2)
    metrics = drift.reference.metrics
    low, high, value = (metrics.get(f"test_{drift.metric}{end}") for end in ("_ci95_low", "_ci95_high", ""))
    if low is not None and high is not None:
        axes.axhspan(low, high, color=BEFORE, alpha=0.4, label="test rows")
    if value is not None:
        axes.axhline(value, color="black", linestyle=":", linewidth=1)
    for place, each in enumerate(periods):
        axes.plot(place, each.value, "o", color=NOW)
        if each.interval:
            axes.vlines(place, *each.interval, color=NOW)
    axes.set_xticks(range(len(periods)), [each.period for each in periods], rotation=45, ha="right", fontsize="small")
    axes.set_xlim(-0.5, max(len(periods) - 0.5, 0.5))
    return figure


def _picture(path: Path, figure: Figure, title: str, caption: str) -> Picture:
    imsave(path, render(figure), format="png", dpi=DPI)
    return Picture(path, title, caption)


def _interval(score: Score) -> str:
    return " to ".join(map(short_number, score.interval)) if score.interval else "undefined"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"
