"""The table of `docs/quality.md`, from the results of `benchmarks.quality`."""

import math
import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from benchmarks.quality_scores import DECIDING

BASELINES = ("lightgbm", "hist_gradient_boosting")
CONTENDERS = ("proposal", *BASELINES)
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
# Of a normal distribution: 95 % lie within.
WIDTH = 1.96
HEADER = """\
| table | rows × columns | score | proposal | LightGBM | HistGB | difference | verdict | proposed model | FLAML |
| --- | --: | --- | --: | --: | --: | --: | --- | --- | --: |
"""

# What `measure` returns, with `table` and `seed`.
Result = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """All seeds of one table.

    Attributes:
        scores: Mean deciding score of each contender; NaN if it failed for a seed.
        ranks: Mean rank of each contender.
        difference: Mean of proposal − baseline, of the baseline that it loses most to, and half of its interval.
        verdict: Against that baseline.
    """

    results: list[Result]
    scores: dict[str, float]
    ranks: dict[str, float]
    difference: tuple[float, float]
    verdict: Literal["better", "luck", "worse", "failed"]


def describe(result: Result) -> str:
    """Return one line about a result."""
    return ", ".join(
        f"{name} {fit['error'] if 'error' in fit else format(fit[DECIDING[result['task']]], '.4f')}"
        for name, fit in result["fits"].items()
    )


def write_page(results: list[Result], machine: str, path: Path) -> None:
    """Replace what is between the markers of a page."""
    rows = [make_row(list(seeds)) for _, seeds in groupby(results, key=lambda one: str(one["table"]))]
    text = path.read_text(encoding="utf-8") if path.exists() else f"{BEGIN}{END}\n"
    block = f"{BEGIN}\n\n{_summarize(rows)}\n\n{HEADER}{''.join(map(_line, rows))}\nMeasured on {machine}.\n\n{END}"
    pattern = f"{re.escape(BEGIN)}.*{re.escape(END)}"
    path.write_text(re.sub(pattern, lambda _: block, text, flags=re.DOTALL), encoding="utf-8")


def make_row(results: list[Result]) -> Row:
    """Average the seeds of a table."""
    scores = {name: _mean([_deciding(one, name) for one in results]) for name in CONTENDERS}
    ranks = {name: _mean([_rank(one, name) for one in results]) for name in CONTENDERS}
    differences = {}
    for name in BASELINES:
        found = [one["differences"].get(name) for one in results]
        # A baseline that refuses the table is beaten.
        if all(found):
            spread = math.sqrt(sum(std**2 for _, std in found)) / len(found)
            differences[name] = _mean([mean for mean, _ in found]), WIDTH * spread
    # A difference that is no luck comes first, then the largest loss.
    difference = min(differences.values(), key=lambda one: (sum(one) >= 0, one[0]), default=(math.nan, math.nan))
    verdict: Literal["better", "luck", "worse", "failed"] = "luck"
    if math.isnan(scores["proposal"]):
        verdict = "failed"
    elif sum(difference) < 0:
        verdict = "worse"
    elif all(mean - width > 0 for mean, width in differences.values()):
        verdict = "better"
    return Row(results, scores, ranks, difference, verdict)


def _deciding(result: Result, name: str) -> float:
    return float(result["fits"].get(name, {}).get(DECIDING[result["task"]], math.nan))


def _rank(result: Result, name: str) -> float:
    """Rank a contender from 1, the best, by four digits; equal ones share a rank, and a failure is last."""
    found = {one: round(_deciding(result, one), 4) for one in CONTENDERS}
    values = [-math.inf if math.isnan(value) else value for value in found.values()]
    own = values[CONTENDERS.index(name)]
    return 1 + sum(value > own for value in values) + (values.count(own) - 1) / 2


def _summarize(rows: list[Row]) -> str:
    good = sum(row.verdict in ("better", "luck") for row in rows)
    counts = ", ".join(
        f"{sum(row.verdict == verdict for row in rows)} {verdict}" for verdict in ("better", "luck", "worse", "failed")
    )
    ranks = ", ".join(f"{_mean([row.ranks[name] for row in rows]):.2f} {name}" for name in CONTENDERS)
    n_seeds = sorted({len(row.results) for row in rows})
    seconds = [one["fits"]["proposal"].get("seconds", 0.0) for row in rows for one in row.results]
    return (
        f"The proposal is within luck of both defaults, or better, on **{good} of {len(rows)} tables** ({counts}). "
        f"Mean rank: {ranks}. Seeds for each table: {' or '.join(map(str, n_seeds))}. "
        f"A proposal took {max(seconds):.0f} s at most, from the file to the predictions."
    )


def _line(row: Row) -> str:
    first = row.results[0]
    best = max((row.scores[name] for name in CONTENDERS if not math.isnan(row.scores[name])), default=math.nan)
    shown = [_show(row.scores[name], best) for name in CONTENDERS]
    chosen = dict.fromkeys(str(one["fits"]["proposal"].get("estimator", "none")) for one in row.results)
    mean, width = row.difference
    difference = "" if math.isnan(mean) else f"{mean:+.4f} ± {width:.4f}"
    metric = "ROC AUC" if first["task"] == "classification" else "R²"
    cells = [first["table"], f"{first['rows']} × {first['columns']}", metric, *shown, difference, row.verdict]
    # Of the first seed, the only one that FLAML is measured on.
    gap = _deciding(first, "flaml") - _deciding(first, "proposal")
    cells += [", ".join(chosen), "" if math.isnan(gap) else f"{gap:+.4f}"]
    return f"| {' | '.join(cells)} |\n"


def _show(value: float, best: float) -> str:
    if math.isnan(value):
        return "failed"
    return f"**{value:.4f}**" if round(value, 4) == round(best, 4) else f"{value:.4f}"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
