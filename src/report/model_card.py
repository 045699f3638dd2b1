"""The model card (Mitchell et al. 2019).

It names no run, time or commit, so that a rerun writes the same bytes.
"""

import inspect
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.pipeline import Pipeline

from src.config.schema import Config
from src.config.train import RESULT_COLUMNS, is_loss, metric_of
from src.data.findings import Finding
from src.report.intervals import count_rows
from src.report.metrics import Metrics
from src.report.predictions import Predictions
from src.report.slices import find_weak_slices

# A smaller test set is listed under the limits.
FEW_ROWS = 200
# Other steps are described by the name of their class.
_STEPS = {
    "FunctionTransformer": "unchanged",
    "OneHotEncoder": "one-hot encoding",
    "OrdinalEncoder": "ordinal encoding",
    "TargetEncoder": "target encoding",
    "RobustScaler": "robust scaling",
    "StandardScaler": "standard scaling",
}


@dataclass(frozen=True)
class Facts:
    """What the card reports besides the settings.

    Attributes:
        model: The fitted Pipeline that takes featurized rows.
        features: Columns that the model uses, by kind.
        X_test: Columns of the test rows that the model uses.
        md5s: MD5 of the tables and of the model by path, where known.
    """

    model: Pipeline
    candidates: pd.DataFrame
    features: Mapping[str, Sequence[str]]
    n_train: int
    X_test: pd.DataFrame
    predictions: Predictions
    metrics: Metrics
    cv_metrics: Mapping[str, float]
    findings: Sequence[Finding]
    md5s: Mapping[str, str]
    plots: Sequence[Path]


def write_card(facts: Facts, config: Config) -> str:
    """Write the card as Markdown."""
    folder = config.evaluate.model_card_path.parent
    sections = {
        "Model": _describe_model(facts, config),
        "Data": _describe_data(facts, config),
        "Metrics": _describe_metrics(facts, config),
        "Weak slices": _describe_slices(facts, config),
        "Data checks": _list([text(finding.message) for finding in facts.findings]) or ["No problem was found."],
        "Limits": _list(list(list_limits(facts.metrics, len(facts.X_test), config))),
        "Plots": [f"![{path.name}]({os.path.relpath(path, folder)})" for path in facts.plots],
    }
    title = f"# Model card: {text(config.data_load.table_name)}, predicting {text(config.base.target_column)}"
    blocks = [title, *(block for name, content in sections.items() for block in (f"## {name}", *content))]
    return "\n\n".join(blocks) + "\n"


def _describe_model(facts: Facts, config: Config) -> list[str]:
    train = config.train
    # A model that scales the target wraps its estimator.
    estimator = getattr(facts.model[-1], "regressor_", facts.model[-1])
    defaults = {name: param.default for name, param in inspect.signature(type(estimator)).parameters.items()}
    searched = set(facts.candidates.columns).difference(RESULT_COLUMNS)
    params = [
        [f"Parameter {code(name)}", code(value)]
        for name, value in sorted(estimator.get_params(deep=False).items())
        if name in searched or repr(defaults.get(name)) != repr(value)
    ]
    n_candidates = len(facts.candidates)
    best_of = f", the best of {n_candidates} candidates by {code(train.scoring)}" if n_candidates > 1 else ""
    kinds = ", ".join(f"{len(names)} {kind.replace('_', ' ')}" for kind, names in facts.features.items() if names)
    scaler = getattr(facts.model[-1], "transformer_", None)
    rows = [
        ["Task", config.base.task],
        ["Target", code(config.base.target_column) + (f", {text(_describe_step(scaler))}" if scaler else "")],
        ["Estimator", code(type(estimator).__name__) + best_of],
        *params,
        ["Columns", kinds or "none"],
        ["Preprocessing", text(describe_preprocessing(facts.model[:-1]))],
        ["Class weight", train.class_weight],
    ]
    return [table(["Property", "Value"], rows)]


def describe_preprocessing(steps: Sequence[Any]) -> str:
    """Describe the fitted steps before the estimator.

    Returns:
        As `number: median imputation, standard scaling; category: one-hot encoding`.
    """
    parts = []
    for step in steps:
        # A part without columns does nothing.
        for name, part, columns in getattr(step, "transformers_", []):
            parts += [f"{name.replace('_', ' ')}: {_describe_step(part)}"] if len(columns) else []
        if not hasattr(step, "transformers_"):
            parts.append(_describe_step(step))
    return "; ".join(parts) or "none"


def _describe_step(step: Any) -> str:
    if isinstance(step, str):
        return {"drop": "dropped", "passthrough": "unchanged"}[step]
    if hasattr(step, "steps"):
        return ", ".join(_describe_step(part) for _, part in step.steps)
    name, params = type(step).__name__, step.get_params(deep=False)
    if name == "SimpleImputer":
        return f"{params['strategy'].replace('_', '-')} imputation"
    if name == "FunctionTransformer" and params["func"] is not None and params["func"].__module__ != "numpy":
        return f"{params['func'].__name__}()"
    limit = params.get("max_categories")
    return _STEPS.get(name, name) + (f" of at most {limit} levels" if limit else "")


def _describe_data(facts: Facts, config: Config) -> list[str]:
    source = config.data_load.source.model_dump(mode="json")
    shown = {key: source[key] for key in ("kind", "name", "url", "repo", "path", "rev") if key in source}
    if source["kind"] in ("file", "url"):
        shown["path"] = str(config.data_load.external_path)
    split = ", ".join(str(value) for value in config.data_split.split.model_dump().values())
    rows = [
        ["Source", ", ".join(f"{key} {code(value)}" for key, value in shown.items())],
        ["Split", f"{text(split)}: {facts.n_train} training rows, {len(facts.X_test)} test rows"],
        *[[f"MD5 of {code(path)}", code(md5)] for path, md5 in facts.md5s.items()],
    ]
    blocks = [table(["Property", "Value"], rows)]
    if md5 := facts.md5s.get(config.train.model_path.as_posix()):
        blocks.append(f"`make lineage REF={md5}` shows the commit and the run that produced this model.")
    return blocks


def _describe_metrics(facts: Facts, config: Config) -> list[str]:
    metrics, metric = facts.metrics, metric_of(config.train.scoring)
    rows = []
    for name, value in metrics.items():
        if isinstance(value, dict) or "_ci95_" in name or name.endswith("_baseline"):
            continue
        is_headline = name == f"test_{metric}"
        low, high = metrics.get(f"{name}_ci95_low"), metrics.get(f"{name}_ci95_high")
        interval = "" if low is None else f"{_number(low)} to {_number(high)}"
        baseline = metrics.get(f"test_{metric}_baseline") if is_headline else None
        mark = " (headline)" if is_headline else ""
        rows.append([code(name) + mark, _number(value), interval, "" if baseline is None else _number(baseline)])
    rows += [[code(name), _number(value), "", ""] for name, value in facts.cv_metrics.items()]
    blocks = [table(["Metric", "Value", "95 % interval", "Baseline"], rows, numbers=(1, 2, 3))]
    n_rows, n_resampled = count_rows(metric, facts.predictions)
    scaled = "the test rows" if n_resampled == n_rows else f"{n_resampled} random test rows, scaled to all of them"
    constant = "median" if metric in ("mae", "median_absolute_error") else "mean"
    predicted = "most frequent class" if config.base.task == "classification" else f"{constant} of the target"
    blocks.append(
        f"The interval comes from {config.evaluate.n_bootstrap} bootstrap resamples of {scaled}. The baseline is a "
        f"dummy model that always predicts the {predicted} in the training rows."
    )
    names = ("precision", "recall", "f1", "support")
    by_class = [scores for name in names if isinstance(scores := metrics.get(f"test_{name}_class"), dict)]
    if len(by_class) == len(names):
        rows = [[code(label), *(_number(scores[label]) for scores in by_class)] for label in by_class[0]]
        blocks.append(table(["Class", "Precision", "Recall", "F1", "Test rows"], rows, numbers=(1, 2, 3, 4)))
    return blocks


def _describe_slices(facts: Facts, config: Config) -> list[str]:
    search = find_weak_slices(facts.X_test, facts.predictions.losses, facts.features)
    if not search.n_checked:
        return ["There are too few test rows to check slices."]
    checked = f"A slice is a group of test rows that share a value or a range of one column. {search.n_checked} slices "
    checked += f"of at least {search.min_rows} rows were checked"
    if not search.worst:
        return [f"{checked}; none is worse than all test rows by more than three standard errors."]
    shown = [(f"{code(each.column)} {text(each.condition)}", each.n_rows, each.loss) for each in search.worst]
    is_accuracy = config.base.task == "classification"
    rows = [
        [name, str(n_rows), _number(1 - loss if is_accuracy else loss)]
        for name, n_rows, loss in [*shown, ("all test rows", len(facts.X_test), search.loss)]
    ]
    header = ["Slice", "Rows", "Accuracy" if is_accuracy else "Mean absolute error"]
    return [
        f"{checked}; these are worse than all test rows by more than three standard errors.",
        table(header, rows, numbers=(1, 2)),
    ]


def list_limits(metrics: Metrics, n_test: int, config: Config) -> Iterator[str]:
    """List what the scores do not show, the limits of this model first."""
    if n_test < FEW_ROWS:
        yield f"The test set is small: {n_test} rows, so that one row is {1 / n_test:.1%} of every score."
    headline = f"test_{metric_of(config.train.scoring)}"
    low, high = metrics.get(f"{headline}_ci95_low"), metrics.get(f"{headline}_ci95_high")
    baseline = metrics.get(f"test_{metric_of(config.train.scoring)}_baseline")
    if isinstance(low, float) and isinstance(high, float):
        lower_is_better = is_loss(config.train.scoring)
        if isinstance(baseline, float) and (high >= baseline if lower_is_better else low <= baseline):
            yield (
                f"The test does not show that the model beats the baseline: the interval of `{headline}` reaches it "
                "or lies beyond it."
            )
        if math.isclose(low, high):
            yield f"All resamples have the same `{headline}`. Its interval has no width, but the score is not certain."
            if metrics.get("test_accuracy") == 1:
                # The exact form of the rule of three (Hanley & Lippman-Hand 1983).
                share = 1 - 0.05 ** (1 / n_test)
                yield f"A model that is wrong on {share:.1%} of all rows makes no error on {n_test} rows 1 time in 20."
    if config.train.search.kind == "none":
        yield "No parameters were searched: they come from the settings."
    yield "The interval covers chance in the choice of test rows, not in the split or in the training."
    kind = config.data_split.split.kind
    if kind in ("stratified", "random"):
        yield "Training and test rows come from the same time and the same groups. Other data may be harder to predict."
    if kind == "time":
        yield "The test rows are the newest rows. How fast the model ages after them is unknown."
    yield "Importance and slices show what occurs together, not what causes what."


def _list(items: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {item}" for item in items)] if items else []


def _number(value: Any) -> str:
    if float(value).is_integer() and abs(value) >= 2:
        return f"{value:.0f}"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.6g}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Write a Markdown table with aligned columns.

    Args:
        rows: Cells, escaped already.
        numbers: Indices of the right-aligned columns.
    """
    widths = [max(3, *map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * (width - 1) + (":" if place in numbers else "-") for place, width in enumerate(widths)]
    lines = []
    for cells in (header, rule, *rows):
        padded = [
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(padded)} |")
    return "\n".join(lines)


def code(name: Any) -> str:
    r"""Format a name as code, for a table or a sentence.

    >>> code("a|b")
    '`a\\|b`'
    """
    content = " ".join(str(name).split()).replace("|", r"\|") or " "
    ticks = "`" * (max((len(run) for run in re.findall("`+", content)), default=0) + 1)
    return f"{ticks} {content} {ticks}" if "`" in content else f"{ticks}{content}{ticks}"


def text(words: Any) -> str:
    r"""Escape text for Markdown.

    >>> text("costs $5 | <b>*new*</b>")
    'costs \\$5 \\| \\<b>\\*new\\*\\</b>'
    """
    return re.sub(r"([\\`*\[\]<|$~]|\b_|_\b)", r"\\\1", " ".join(str(words).split()))
