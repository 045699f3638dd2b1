"""The model card: what the model is, from what, how good, and where not (Mitchell et al. 2019).

Nothing in it changes on a rerun: no run, no time, and no commit, which would be the one
before the card's own.
"""

from collections.abc import Sequence
from typing import Any

from src.config.schema import Config
from src.report.facts import Facts
from src.report.limits import list_limits
from src.report.markdown import code, table, text
from src.report.metrics import metric_of
from src.report.metrics_file import Metrics
from src.report.preparation import describe_preparation, describe_target
from src.report.search import list_params


def write_card(facts: Facts, config: Config) -> str:
    """Write the card as Markdown."""
    sections = {
        "Model": _model(facts, config),
        "Data": _data(facts, config),
        "Metrics": _metrics(facts, config),
        "Where it is worst": _slices(facts, config),
        "Checks": _findings(facts),
        "Limits": [f"- {limit}" for limit in list_limits(facts.metrics, facts.n_rows["test"], config)],
        "Plots": [f"![{name.rpartition('/')[2]}]({name})" for name in facts.plots],
    }
    title = f"# Model card: {text(config.base.target_column)}"
    blocks = [title, *(block for name, lines in sections.items() for block in (f"## {name}", *_join(lines)))]
    return "\n\n".join(blocks) + "\n"


def _join(lines: Sequence[str]) -> list[str]:
    """Keep the items of a list together."""
    return ["\n".join(lines)] if lines and lines[0].startswith("- ") else list(lines)


def _model(facts: Facts, config: Config) -> list[str]:
    train, base = config.train, config.base
    # Where the target is scaled, the estimator is within what scales it.
    estimator = getattr(facts.model[-1], "regressor_", facts.model[-1])
    params, defaults = estimator.get_params(deep=False), _defaults(estimator)
    searched = list_params(facts.candidates)
    chosen = {
        name: value
        for name, value in sorted(params.items())
        if name in searched or repr(defaults.get(name)) != repr(value)
    }
    n_candidates = len(facts.candidates)
    one_of = f", the best of {n_candidates} candidates by {code(train.scoring)}" if n_candidates > 1 else ""
    kinds = ", ".join(f"{len(names)} {kind.replace('_', ' ')}" for kind, names in facts.features.items() if names)
    target = describe_target(facts.model[-1])
    rows = [
        ["Task", base.task],
        ["Predicts", code(base.target_column)],
        ["Estimator", code(type(estimator).__name__) + one_of],
        *[[f"Parameter {code(name)}", code(value)] for name, value in chosen.items()],
        ["Columns", kinds or "none"],
        ["Preprocessing", text(describe_preparation(facts.model[:-1]))],
        *([["Target", text(target)]] if target else []),
        ["Class weight", train.class_weight],
    ]
    return [table(["what", "value"], rows)]


def _defaults(estimator: Any) -> dict[str, Any]:
    try:
        defaults: dict[str, Any] = type(estimator)().get_params(deep=False)
    # A class of the user's own may need arguments.
    except TypeError:
        return {}
    return defaults


def _data(facts: Facts, config: Config) -> list[str]:
    source = config.data_load.source.model_dump(mode="json")
    shown = {key: source[key] for key in ("kind", "name", "url", "repo", "path", "rev") if key in source}
    if source["kind"] in ("file", "url"):
        shown["path"] = str(config.data_load.external_path)
    rows = [["Source", ", ".join(f"{key} {code(value)}" for key, value in shown.items())]]
    split = ", ".join(str(value) for value in config.data_split.split.model_dump().values())
    rows += [
        ["Split", f"{text(split)}; {facts.n_rows['train']} rows to train, {facts.n_rows['test']} to test"],
        *[[f"MD5 of {code(path)}", code(md5)] for path, md5 in facts.md5s.items()],
    ]
    model = facts.md5s[config.train.model_path.as_posix()]
    how = f"`make lineage REF={model}` tells the commit and the run that made this model."
    return [table(["what", "value"], rows), how]


def _metrics(facts: Facts, config: Config) -> list[str]:
    headline = f"test_{metric_of(config.train.scoring)}"
    rows = []
    for name, value in facts.metrics.items():
        if isinstance(value, dict) or "_ci95_" in name or name.startswith("test_baseline_"):
            continue
        ends = [facts.metrics.get(f"{name}_ci95_{end}") for end in ("low", "high")]
        interval = f"{_number(ends[0])} to {_number(ends[1])}" if None not in ends else ""
        baseline = facts.metrics.get(f"test_baseline_{metric_of(config.train.scoring)}") if name == headline else None
        mark = " (headline)" if name == headline else ""
        rows.append([code(name) + mark, _number(value), interval, "" if baseline is None else _number(baseline)])
    rows += [[code(name), _number(value), "", ""] for name, value in facts.cv_metrics.items()]
    blocks = [table(["metric", "value", "95 % interval", "baseline"], rows, numbers=(1, 2, 3))]
    interval_of = f"Interval: {config.evaluate.n_bootstrap} bootstrap resamples of the test rows"
    blocks.append(f"{interval_of}. Baseline: a dummy that knows the target of the training rows alone.")
    if by_class := _by_class(facts.metrics):
        blocks.append(by_class)
    return blocks


def _by_class(metrics: Metrics) -> str:
    names = ("precision", "recall", "f1", "support")
    scores = [metrics.get(f"test_{name}_class") for name in names]
    by_class = [each for each in scores if isinstance(each, dict)]
    if len(by_class) < len(names):
        return ""
    rows = [[code(label), *(_number(each[label]) for each in by_class)] for label in by_class[0]]
    return table(["class", "precision", "recall", "F1", "test rows"], rows, numbers=(1, 2, 3, 4))


def _slices(facts: Facts, config: Config) -> list[str]:
    search, classifies = facts.slices, config.base.task == "classification"
    looked = f"{search.n_looked_at} slices of at least {search.min_rows} test rows were looked at"
    if not search.worst:
        none = "none is worse than all rows by more than luck (three standard errors)"
        return [f"{looked}; {none}." if search.n_looked_at else "There are too few test rows to look at slices."]
    metric = "accuracy" if classifies else "mae"
    shown = [each.loss for each in search.worst]
    values = [1 - loss if classifies else loss for loss in [*shown, search.loss]]
    names = [f"{code(each.column)} {text(each.condition)}" for each in search.worst]
    rows = [
        [name, str(each.n_rows), _number(value)] for name, each, value in zip(names, search.worst, values, strict=False)
    ]
    rows.append(["all rows", str(facts.n_rows["test"]), _number(values[-1])])
    said = f"{looked}; these are worse than all rows by more than luck (three standard errors)."
    return [said, table(["slice", "rows", metric], rows, numbers=(1, 2))]


def _findings(facts: Facts) -> list[str]:
    if not facts.findings:
        return ["None of those that were looked for was found."]
    return [f"- {text(finding)}" for finding in facts.findings]


def _number(value: Any) -> str:
    if float(value).is_integer() and abs(value) >= 2:
        return f"{value:.0f}"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.6g}"
