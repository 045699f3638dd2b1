"""The content of the report, as plain data that the model card and the web page render.

It names no run, time or commit, so that a rerun writes the same bytes.
"""

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.pipeline import Pipeline

from src.config.schema import Config
from src.config.train import BINARY_SCORINGS, RESULT_COLUMNS, metric_of
from src.data.candidates import name_candidates
from src.data.findings import Finding
from src.data.headline import Headline, read_headline, short_number
from src.report.inputs import list_candidates, sort_candidates
from src.report.intervals import count_rows
from src.report.metrics import Metrics, score_classes
from src.report.predictions import ClassPredictions, Predictions
from src.report.slices import find_weak_slices
from src.report.visualizing import MAX_NAMED

# A smaller test set is named under the limits.
FEW_ROWS = 200
MAX_CANDIDATES, MAX_CURVES = 30, 100
# Other steps are described by the name of their class.
_STEPS = {
    "FunctionTransformer": "unchanged",
    "OneHotEncoder": "one-hot encoding",
    "OrdinalEncoder": "ordinal encoding",
    "TargetEncoder": "target encoding",
    "DateEncoder": "time and parts",
    "TextEncoder": "prediction from words, topics",
    "RobustScaler": "robust scaling",
    "StandardScaler": "standard scaling",
}
# Where a model that scales the target, moves the threshold or calibrates keeps its estimator.
_WRAPPERS = {
    "CalibratedClassifierCV": "estimator",
    "FixedThresholdClassifier": "estimator",
    "FrozenEstimator": "estimator",
    "TransformedTargetRegressor": "regressor_",
}
# Title of each figure, and how to read it.
_FIGURES = {
    "confusion_matrix": ("Confusion matrix", "Each row is a true class. Cells off the diagonal are errors."),
    "predicted_against_true": ("Predicted against true", "Points on the dotted line are predicted exactly."),
    "residuals": ("Residuals", "Points above the dotted line are predicted too low, points below it too high."),
    "roc": ("ROC curve", "The closer a curve is to the top left corner, the better the model separates this class."),
    "precision_recall": (
        "Precision-recall curve",
        "The closer a curve is to the top right corner, the fewer false positives and false negatives.",
    ),
    "calibration": ("Calibration", "On the dotted line, predictions of 80 % are right in 80 % of the rows."),
    "permutation_importance": (
        "Permutation importance",
        "How much the score falls when the values of one column are shuffled. Columns that carry the same "
        "information may both look unimportant.",
    ),
    "search": ("Search", "Each candidate's mean score, and its standard deviation over the folds."),
}


class Code(str):
    """A name or a value within a text, shown as code."""

    __slots__ = ()


# A text, or its pieces, some of which are Code.
Text = str | tuple[str, ...]


@dataclass(frozen=True)
class Items:
    """A list of texts."""

    texts: Sequence[Text]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        numbers: Indices of the columns that hold numbers.
        marked: Index of the row to mark.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Text]]
    numbers: Sequence[int] = ()
    marked: int | None = None


@dataclass(frozen=True)
class Picture:
    """A figure, its title and how to read it."""

    path: Path
    title: str
    caption: str


@dataclass(frozen=True)
class Link:
    """A link to another output."""

    text: str
    path: Path


Block = Text | Items | Table | Picture | Link


@dataclass(frozen=True)
class Report:
    """The content of the report.

    Attributes:
        subtitle: The task, and how many rows there are.
        metric: Name of the headline metric.
        headline: None if the metric is undefined for the test rows.
        baseline: What the baseline predicts.
        verdict: Whether the model is clearly better than the baseline.
        winner: Which estimator was chosen, with which parameters, and from how many candidates.
    """

    table_name: str
    target: str
    subtitle: Text
    metric: str
    headline: Headline | None
    baseline: Text
    verdict: Text
    winner: Text
    sections: Mapping[str, Sequence[Block]]


@dataclass(frozen=True)
class Facts:
    """What the report shows besides the settings.

    Attributes:
        model: The fitted Pipeline that takes featurized rows.
        features: Columns that the model uses, by kind.
        predictions: Predictions of all test rows.
        X_shown: Columns that the model uses, of all test rows or of a sample.
        shown: Predictions of the rows of `X_shown`.
        md5s: MD5 of the tables and of the model by path, where known.
    """

    model: Pipeline
    candidates: pd.DataFrame
    features: Mapping[str, Sequence[str]]
    n_train: int
    predictions: Predictions
    X_shown: pd.DataFrame
    shown: Predictions
    metrics: Metrics
    cv_metrics: Mapping[str, float]
    findings: Sequence[Finding]
    md5s: Mapping[str, str]
    plots: Sequence[Path]

    @property
    def n_test(self) -> int:
        """Number of test rows."""
        return len(self.predictions.y_true)


def build_report(facts: Facts, config: Config) -> Report:
    """Build the content of the report; sections without content are left out."""
    sections: dict[str, list[Block]] = {
        "Errors": [*_pictures(facts, "confusion_matrix", "predicted_against_true", "residuals"), *_classes(facts)],
        _name_curves(facts): [*_pictures(facts, "roc", "precision_recall"), *_areas(facts)],
        "Calibration": _pictures(facts, "calibration"),
        "Importance": _pictures(facts, "permutation_importance"),
        "Weak slices": _describe_slices(facts, config),
        "Metrics": _describe_metrics(facts, config),
        "Search": [*_describe_search(facts, config), *_pictures(facts, "search")],
        "Model": _describe_model(facts, config),
        "Data checks": [
            Items([finding.message for finding in facts.findings]) if facts.findings else "No problems found."
        ],
        "Limits": [Items(list(list_limits(facts, config)))],
        "Data": _describe_data(facts, config),
    }
    headline, positive = read_headline(facts.metrics, config.train.scoring), _positive(facts)
    return Report(
        table_name=config.data_load.table_name,
        target=config.base.target_column,
        subtitle=(
            "Predicting ",
            Code(config.base.target_column),
            f": {config.base.task} with {facts.n_train} training rows and {facts.n_test} test rows",
            *(("; the positive class is ", Code(positive)) if positive is not None else ()),
        ),
        metric=f"test_{metric_of(config.train.scoring)}",
        headline=headline,
        baseline=f"always predicting the {_constant(config)} in the training rows",
        verdict=_judge(headline),
        winner=("Chosen: ", *_describe_winner(facts, config, with_params=True), "."),
        sections={name: blocks for name, blocks in sections.items() if blocks},
    )


def _pictures(facts: Facts, *names: str) -> list[Block]:
    return [Picture(path, *_FIGURES[path.stem]) for name in names for path in facts.plots if path.stem == name]


def _positive(facts: Facts) -> Any:
    """Return the label of the positive class; None if there are not two classes."""
    return facts.predictions.positive if isinstance(facts.predictions, ClassPredictions) else None


def _name_curves(facts: Facts) -> str:
    return "Each class against the rest" if _positive(facts) is None else "Curves of the positive class"


def _judge(headline: Headline | None) -> str:
    if headline is None or headline.interval is None or headline.baseline is None:
        return "Not compared with the baseline: a score is undefined for these test rows."
    low, high = headline.interval
    if low <= headline.baseline <= high:
        return "Not clearly better than the baseline: the 95 % interval contains it."
    compared, side = "Better" if headline.beats_baseline else "Worse", "above" if low > headline.baseline else "below"
    return f"{compared} than the baseline: the whole 95 % interval is {side} it."


def _constant(config: Config) -> str:
    """Name what the baseline predicts."""
    if config.base.task == "classification":
        return "most frequent class"
    is_absolute = metric_of(config.train.scoring) in ("mae", "median_absolute_error")
    return "median of the target" if is_absolute else "mean of the target"


def _describe_winner(facts: Facts, config: Config, *, with_params: bool = False) -> tuple[str, ...]:
    n_candidates = len(facts.candidates)
    ranked = _rank(facts.candidates)
    params = name_candidates(list_candidates(ranked))[0].partition(" ")[2] if with_params and len(ranked) > 1 else ""
    which = "chosen from" if _is_simpler(ranked) else "the best of"
    best_of = (f", {which} {n_candidates} candidates by ", Code(config.train.scoring)) if n_candidates > 1 else ()
    return (Code(type(_estimator(facts.model)).__name__), *((" with ", Code(params)) if params else ()), *best_of)


def _rank(candidates: pd.DataFrame) -> pd.DataFrame:
    """Return the candidates, the chosen one first and those that failed last; none if nothing was searched."""
    if not {"mean", "std", "rank"} <= set(candidates) or not candidates["mean"].notna().any():
        return pd.DataFrame()
    return sort_candidates(candidates)


def _is_simpler(ranked: pd.DataFrame) -> bool:
    """Return whether a candidate was chosen although another scored higher."""
    return len(ranked) > 0 and ranked["rank"].iloc[0] > 1


def _estimator(model: Pipeline) -> Any:
    estimator = model[-1]
    while inner := _WRAPPERS.get(type(estimator).__name__):
        estimator = getattr(estimator, inner)
    return estimator


def _describe_model(facts: Facts, config: Config) -> list[Block]:
    train, estimator, positive = config.train, _estimator(facts.model), _positive(facts)
    defaults = {name: param.default for name, param in inspect.signature(type(estimator)).parameters.items()}
    searched = set(facts.candidates.columns).difference(RESULT_COLUMNS)
    params: list[list[Text]] = [
        [("Parameter ", Code(name)), (Code(value),)]
        for name, value in sorted(estimator.get_params(deep=False).items())
        if name in searched or repr(defaults.get(name)) != repr(value)
    ]
    kinds = ", ".join(f"{len(names)} {kind.replace('_', ' ')}" for kind, names in facts.features.items() if names)
    scaler = getattr(facts.model[-1], "transformer_", None)
    positive_class: list[list[Text]] = [["Positive class", (Code(positive), _why_positive(config))]]
    if positive is None:
        positive_class = []
    rows: list[list[Text]] = [
        ["Task", config.base.task],
        ["Target", (Code(config.base.target_column), f", {_describe_step(scaler)}" if scaler else "")],
        *positive_class,
        ["Estimator", _describe_winner(facts, config)],
        *params,
        ["Columns", kinds or "none"],
        *_describe_rows(facts),
        ["Preprocessing", describe_preprocessing(facts.model[:-1])],
        ["Class weight", train.class_weight],
        ["Calibration", train.calibrate],
    ]
    if threshold := getattr(facts.model[-1], "threshold", None):
        rows.append(["Threshold", f"{threshold:.3g}"])
    return [Table(["Property", "Value"], rows)]


def _describe_rows(facts: Facts) -> list[list[Text]]:
    """Say how many rows the search and the fit used, if the search did not use all training rows."""
    counts = {what: facts.cv_metrics.get(f"n_rows_{what}") for what in ("searched", "fitted")}
    return [[f"Rows {what}", f"{n_rows:.0f} of {facts.n_train}"] for what, n_rows in counts.items() if n_rows]


def _why_positive(config: Config) -> str:
    return ", the rarer class of the training rows" if config.base.positive is None else ", chosen by base.positive"


def describe_preprocessing(steps: Sequence[Any]) -> str:
    """Describe the fitted steps before the estimator.

    Returns:
        Such as `number: median imputation, standard scaling; category: one-hot encoding`.
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
        return ", ".join(_describe_step(part) for _, part in step.steps if part != "passthrough")
    name, params = type(step).__name__, step.get_params(deep=False)
    if name == "SimpleImputer":
        return f"{params['strategy'].replace('_', '-')} imputation"
    if name == "FunctionTransformer" and params["func"] is not None and params["func"].__module__ != "numpy":
        return f"{params['func'].__name__}()"
    limit = params.get("max_categories")
    return _STEPS.get(name, name) + (f" of at most {limit} levels" if limit else "")


def _describe_data(facts: Facts, config: Config) -> list[Block]:
    source = config.data_load.source.model_dump(mode="json")
    shown = {key: source[key] for key in ("kind", "name", "url", "repo", "path", "rev") if key in source}
    if source["kind"] in ("file", "url"):
        shown["path"] = str(config.data_load.external_path)
    named = [piece for key, value in shown.items() for piece in (f", {key} ", Code(value))]
    split = ", ".join(str(value) for value in config.data_split.split.model_dump(exclude_none=True).values())
    rows: list[list[Text]] = [
        ["Source", (named[0].removeprefix(", "), *named[1:])],
        ["Split", f"{split}: {facts.n_train} training rows, {facts.n_test} test rows"],
    ]
    rows += [[("MD5 of ", Code(path)), (Code(md5),)] for path, md5 in facts.md5s.items()]
    blocks: list[Block] = [
        Table(["Property", "Value"], rows),
        Link("The training rows, column by column", config.data_split.data_report_path),
    ]
    if md5 := facts.md5s.get(config.train.model_path.as_posix()):
        command = Code(f"make lineage REF={md5}")
        blocks.append((command, " shows the commit and the run that produced this model."))
    return blocks


def _describe_metrics(facts: Facts, config: Config) -> list[Block]:
    metric, headline = metric_of(config.train.scoring), read_headline(facts.metrics, config.train.scoring)
    rows: list[list[Text]] = []
    if headline:
        interval = " to ".join(map(short_number, headline.interval or ()))
        baseline = "" if headline.baseline is None else short_number(headline.baseline)
        rows.append([(Code(headline.name), " (headline)"), short_number(headline.value), interval, baseline])
    in_first_row = {f"test_{metric}{suffix}" for suffix in ("", "_ci95_low", "_ci95_high", "_baseline")}
    for name, value in [*facts.metrics.items(), *facts.cv_metrics.items()]:
        if not isinstance(value, dict) and name not in in_first_row and not name.startswith("n_rows_"):
            rows.append([(Code(name),), short_number(value), "", ""])
    n_rows, n_resampled = count_rows(metric, facts.predictions)
    scaled = "the test rows" if n_resampled == n_rows else f"{n_resampled} random test rows, scaled to all test rows"
    return [
        Table(
            ["Metric", "Value", "95 % interval", "Baseline"], rows, numbers=(1, 2, 3), marked=0 if headline else None
        ),
        f"The interval comes from {config.evaluate.n_bootstrap} bootstrap resamples of {scaled}. The baseline is a "
        f"dummy model that always predicts the {_constant(config)} in the training rows.",
        *_describe_positive(facts),
    ]


def _describe_positive(facts: Facts) -> list[Block]:
    """Say which metrics are about the positive class."""
    if (positive := _positive(facts)) is None:
        return []
    about = [name for name in (*BINARY_SCORINGS, "calibration_error", "pr_auc") if f"test_{name}" in facts.metrics]
    names = [piece for name in about for piece in (Code(f"test_{name}"), ", ")][:-1]
    return [("About the positive class ", Code(positive), ": ", *names, ".")] if about else []


def _classes(facts: Facts) -> list[Block]:
    if not isinstance(facts.predictions, ClassPredictions):
        return []
    codes, scores = score_classes(facts.predictions)
    # The names of metrics have few letters, so the table has the labels.
    rows: list[list[Text]] = [
        [(Code(facts.predictions.labels[code]),), *map(short_number, values[:-1]), f"{values[-1]:.0f}"]
        for code, *values in zip(codes, *scores, strict=True)
    ]
    return [Table(["Class", "Precision", "Recall", "F1", "Test rows"], rows, numbers=(1, 2, 3, 4))]


def _areas(facts: Facts) -> list[Block]:
    """List the areas under the curves if there are too many curves for a legend."""
    predictions = facts.predictions
    if not isinstance(predictions, ClassPredictions) or len(predictions.one_vs_rest) <= MAX_NAMED:
        return []
    worst = sorted(predictions.one_vs_rest, key=lambda each: each.roc_auc)[:MAX_CURVES]
    rows: list[list[Text]] = [
        [
            (Code(each.label),),
            short_number(each.roc_auc),
            short_number(each.average_precision),
            str(each.y_true.sum()),
        ]
        for each in worst
    ]
    n_classes = len(predictions.one_vs_rest)
    shown = "All" if len(worst) == n_classes else f"The {len(worst)} worst of all"
    return [
        f"{shown} {n_classes} classes, lowest area under the ROC curve (AUC) first. AP is the average precision.",
        Table(["Class", "AUC", "AP", "Test rows"], rows, numbers=(1, 2, 3)),
    ]


def _describe_slices(facts: Facts, config: Config) -> list[Block]:
    search = find_weak_slices(facts.X_shown, facts.shown.losses, facts.features)
    which = "all test rows" if len(facts.X_shown) == facts.n_test else "all sampled test rows"
    if not search.n_checked:
        return ["There are too few test rows to check slices."]
    checked = f"A slice is a group of test rows that share a value or a range of one column. {search.n_checked} slices "
    checked += f"of at least {search.min_rows} rows were checked"
    if not search.worst:
        return [f"{checked}; none is worse than {which} by more than three standard errors."]
    shown: list[tuple[Text, int, float]] = [
        ((Code(each.column), f" {each.condition}"), each.n_rows, each.loss) for each in search.worst
    ]
    is_accuracy = config.base.task == "classification"
    rows: list[list[Text]] = [
        [name, str(n_rows), short_number(1 - loss if is_accuracy else loss)]
        for name, n_rows, loss in [*shown, (which, len(facts.X_shown), search.loss)]
    ]
    header = ["Slice", "Rows", "Accuracy" if is_accuracy else "Mean absolute error"]
    return [
        f"{checked}; these are worse than {which} by more than three standard errors.",
        Table(header, rows, numbers=(1, 2)),
    ]


def _describe_search(facts: Facts, config: Config) -> list[Block]:
    ranked = _rank(facts.candidates)
    if ranked.empty:
        return []
    shown = ranked.head(MAX_CANDIDATES)
    ranks = ["" if pd.isna(rank) else f"{rank:.0f}" for rank in shown["rank"]]
    unscored = "pruned or failed" if config.train.search.kind == "optuna" else "failed"
    scores = (["" if pd.isna(value) else short_number(value) for value in shown[name]] for name in ("mean", "std"))
    rows: list[list[Text]] = [
        [rank, (Code(name),), mean or unscored, std]
        for name, rank, mean, std in zip(name_candidates(list_candidates(ranked)), ranks, *scores, strict=False)
    ]
    more = f"The best {len(shown)} of {len(ranked)} candidates" if len(ranked) > len(shown) else "All candidates"
    header = ["Rank", "Candidate", f"Mean {config.train.scoring}", "Standard deviation"]
    why = ", because its estimator is simpler and higher ranks are better by luck only" if _is_simpler(ranked) else ""
    return [
        f"{more}, by cross-validation; the first one was chosen{why}.",
        Table(header, rows, numbers=(0, 2, 3), marked=0),
    ]


def list_limits(facts: Facts, config: Config) -> Iterator[Text]:
    """List what the scores do not show, the limits of this model first."""
    metrics, n_test = facts.metrics, facts.n_test
    if n_test < FEW_ROWS:
        yield f"The test set is small: each of its {n_test} rows counts {1 / n_test:.1%}."
    headline = read_headline(metrics, config.train.scoring)
    if headline and headline.interval and math.isclose(*headline.interval):
        no_width = ". Its interval has no width, but the score is still uncertain."
        yield "All resamples have the same ", Code(headline.name), no_width
        if metrics.get("test_accuracy") == 1:
            # The exact form of the rule of three (Hanley & Lippman-Hand 1983).
            share = 1 - 0.05 ** (1 / n_test)
            yield f"A model that is wrong on {share:.1%} of all rows makes no error on {n_test} rows 1 time in 20."
    searched, fitted = (facts.cv_metrics.get(f"n_rows_{what}", facts.n_train) for what in ("searched", "fitted"))
    if fitted < facts.n_train:
        yield f"The model was fitted on {fitted:.0f} random rows of {facts.n_train} training rows."
    elif searched < facts.n_train:
        yield (
            f"The model was fitted on all training rows, but its parameters were chosen on {searched:.0f} random ones."
        )
    if (n_shown := len(facts.X_shown)) < n_test:
        yield (
            f"Importance, slices, curves and plots use {n_shown} random test rows. Metrics and the confusion matrix "
            f"use all {n_test}."
        )
    if config.train.search.kind == "none":
        yield "No parameters were searched: they come from the settings."
    yield "The interval reflects the sampling of the test rows, not the randomness of the split or the training."
    kind = config.data_split.split.kind
    if kind in ("stratified", "random", "hash"):
        yield "Training and test rows come from the same period and groups. Other data may be harder to predict."
    if kind == "time":
        yield "The test rows are the newest rows. How fast the model degrades on later rows is unknown."
    yield "Importance and slices show associations, not causes."


def pieces(text: Text) -> tuple[str, ...]:
    """Return the pieces of a text."""
    return (text,) if isinstance(text, str) else text
