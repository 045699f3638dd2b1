"""The gate: checks that a registered model must pass before it may become the champion."""

import html
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from pydantic import TypeAdapter, ValidationError

from src.config.schema import Config
from src.config.service import Gate
from src.config.train import is_loss, metric_of
from src.data.findings import Finding
from src.data.headline import read_headline, short_number
from src.data.scoring import find_positive
from src.errors import ConfigError, PipelineError, TrackingError, VersionError
from src.report.intervals import difference_interval
from src.report.metrics import score_one
from src.report.predictions import Predictions, predict_rows
from src.service.registry.registered import Registered, label_of, open_registered
from src.text import format_table, message_of, one_line
from src.tracking.store import Store
from src.versions.compare import direction
from src.versions.load import LoadedRun, load_model, load_run, load_table
from src.versions.revision import open_content

logger = logging.getLogger(__name__)

Result = Literal["passed", "refused", "skipped"]
PASSED: Final = "passed"
REFUSED: Final = "refused"
SKIPPED: Final = "skipped"
# On fewer rows, a comparison has no meaning.
MIN_ROWS = 10
MAX_SHOWN = 400


@dataclass(frozen=True)
class Check:
    """A check of the gate.

    Attributes:
        value: What was found, and what is allowed; may be empty.
        note: Why a check was refused or skipped, or what the value does not show.
    """

    name: str
    value: str
    limit: str
    result: Result
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """All checks of a registered version.

    Attributes:
        model: Name and number, such as `iris/3`.
        champion: Number of the champion that the model was compared with; empty if there was none.
    """

    model: str
    champion: str
    checks: list[Check]

    @property
    def version(self) -> str:
        """Number of the version."""
        return self.model.rpartition("/")[2]

    @property
    def passed(self) -> bool:
        """Whether no check was refused."""
        return all(check.result != REFUSED for check in self.checks)

    @property
    def result(self) -> str:
        """The tag of the model version: `passed` or `refused`."""
        return PASSED if self.passed else REFUSED

    @property
    def table(self) -> str:
        """The checks as text: a line for each, then the notes."""
        rows = [("check", "value", "limit", "result")]
        rows += [(check.name, check.value, check.limit, check.result) for check in self.checks]
        lines = [f"{check.name}: {check.note}" for check in self.checks if check.note]
        lines.append(f"{self.model}: {self.result}")
        return format_table(rows, (0, 1, 2)) + "".join(f"{one_line(line, MAX_SHOWN)}\n" for line in lines)

    @property
    def markdown(self) -> str:
        """The result, and the checks as a Markdown table."""
        # MLflow shows the first line in its list of versions.
        lines = [f"Gate: {self.result}", ""]
        lines += ["| check | value | limit | result |", "| --- | --- | --- | --- |"]
        for check in self.checks:
            cells = map(_escape, (check.name, check.value, check.limit, check.result))
            lines.append(f"| {' | '.join(cells)} |")
        notes = [f"- {_escape(check.name)}: {_escape(check.note)}" for check in self.checks if check.note]
        return "\n".join([*lines, "", *notes]).rstrip()


def judge(root: Path, store: Store, version: Any, commit: str, config: Config) -> Verdict:
    """Check a registered version against the settings in `registry.gate` and the current champion.

    Args:
        root: Root of the repository.
        version: MLflow's model version.
        commit: The commit whose model it is.
        config: Today's settings.

    Raises:
        ConfigError: `registry.gate.minimum` names an unknown metric.
        TrackingError: The store cannot be used.
        VersionError: The commit's data is in neither DVC's cache nor its remote.
    """
    champion = find_champion(store, version.name)
    run = load_run(root, commit)
    checks = [*check_minimum(config.registry.gate, run.metrics), check_baseline(run.metrics, _setting(run, "scoring"))]
    checks.append(check_findings(root, run, config))
    try:
        candidate = open_registered(store, f"{version.name}/{version.version}")
    except VersionError as error:
        checks.append(Check("loads from MLflow", "", "", REFUSED, str(error)))
    else:
        checks.append(check_copy(root, candidate, run))
        checks.append(check_champion(root, store, candidate, champion, run, config.registry.gate))
    number = str(champion.version) if champion else ""
    return Verdict(label_of(version), number, checks)


def find_champion(store: Store, name: str) -> Any:
    """Return the version that has the alias `champion`; None if there is none."""
    number = read_aliases(store, name).get("champion")
    return store.client.get_model_version(name, number) if number else None


def read_aliases(store: Store, name: str) -> dict[str, str]:
    """Return the version number of each alias of a registered model; empty if there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        return {alias: str(number) for alias, number in store.client.get_registered_model(name).aliases.items()}
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


# --- the checks ---


def check_minimum(gate: Gate, metrics: dict[str, float]) -> Iterator[Check]:
    """Compare metrics with the lowest, or of errors the highest, values in the settings.

    Raises:
        ConfigError: A name is not among the metrics, or neither a higher nor a lower value of it is better.
    """
    for name, limit in sorted(gate.minimum.items()):
        if name not in metrics:
            known = ", ".join(sorted(key for key in metrics if direction(key)))
            raise ConfigError(
                f"params.yaml: registry.gate.minimum: {name!r} is not a metric of this version; choose one of {known}."
            )
        if not (sign := direction(name)):
            raise ConfigError(f"params.yaml: registry.gate.minimum: {name!r} is neither a score nor an error.")
        holds = metrics[name] >= limit if sign > 0 else metrics[name] <= limit
        text = f"{'>=' if sign > 0 else '<='} {short_number(limit)}"
        yield Check(name, short_number(metrics[name]), text, PASSED if holds else REFUSED)


def check_baseline(metrics: dict[str, float], scoring: str) -> Check:
    """Check that the whole interval of the headline is better than the dummy model."""
    name = "better than the baseline"
    headline = read_headline(metrics, scoring)
    if headline is None:
        reason = f"metrics.json has no test_{metric_of(scoring)}, since the model has no probabilities or no such rows"
        return Check(name, "", "", REFUSED, reason)
    if headline.baseline is None or headline.interval is None:
        return Check(name, short_number(headline.value), "", SKIPPED, "the baseline or the interval is not defined")
    low, high = headline.interval
    end, sign = (high, "<") if headline.is_loss else (low, ">")
    limit = f"{sign} {short_number(headline.baseline)}"
    note = "" if headline.beats_baseline else headline.problem or ""
    return Check(name, short_number(end), limit, PASSED if headline.beats_baseline else REFUSED, note)


def check_findings(root: Path, run: LoadedRun, config: Config) -> Check:
    """Check that the data checks found nothing that today's settings call an error."""
    name = "data checks"
    path = str(run.params.get("data_split", {}).get("checks_path", ""))
    if not (md5 := run.md5s.get(path)):
        return Check(name, "", "", SKIPPED, "this version has no record of the data checks")
    try:
        with open_content(root, md5) as file:
            findings = TypeAdapter(list[Finding]).validate_json(file.read())
    except (VersionError, ValidationError) as error:
        return Check(name, "", "", REFUSED, f"{path} cannot be read: {message_of(error)}")
    errors = [each for each in findings if getattr(config.data_split.checks, each.kind, "warn") == "error"]
    note = "; ".join(f"{each.kind}: {each.message}" for each in errors)
    return Check(name, f"{len(errors)} errors", "0 errors", REFUSED if errors else PASSED, note)


def check_copy(root: Path, candidate: Registered, run: LoadedRun) -> Check:
    """Check that the model in MLflow predicts as DVC's copy does."""
    name = "predicts as DVC's copy"
    if candidate.example is None:
        return Check(name, "", "", SKIPPED, "the model was logged without an input example")
    copy = load_model(root, run.reference)
    X = candidate.example
    differ = 0
    try:
        for method in ("predict", "predict_proba"):
            if hasattr(copy, method):
                here, there = (
                    np.asarray(getattr(model, method)(X)).reshape(len(X), -1) for model in (candidate.model, copy)
                )
                differ = max(differ, int((here != there).any(axis=1).sum()) if here.shape == there.shape else len(X))
    # The code of the model may fail in any way.
    except Exception as error:
        logger.debug("predicting the input example failed", exc_info=True)
        note = f"the input example cannot be predicted: {type(error).__name__}: {message_of(error)}"
        return Check(name, "", "0", REFUSED, note)
    value = f"{differ} of {len(X)} rows differ"
    if differ:
        note = "the model in MLflow is not the one of this commit, or another version of a package loads it"
        return Check(name, value, "0", REFUSED, note)
    return Check(name, value, "0", PASSED)


def check_champion(root: Path, store: Store, candidate: Registered, champion: Any, run: LoadedRun, gate: Gate) -> Check:
    """Check that a model is not clearly worse than the champion by more than the margin.

    Both are scored on the test rows of the candidate that are not among the champion's training rows. The model is
    refused if the whole interval of the difference is below the margin.
    """
    name = f"{metric_of(_setting(run, 'scoring'))} against the champion"
    if champion is None:
        return Check(name, "", "", SKIPPED, "there is no champion yet")
    if champion.version == candidate.version.version:
        return Check(name, "", "", SKIPPED, f"{label_of(champion)} is the champion itself")
    try:
        former = open_registered(store, f"{champion.name}/{champion.version}")
    except TrackingError:
        raise
    except PipelineError as error:
        return Check(name, "", "", SKIPPED, f"the champion cannot be loaded: {error}")
    test, base = load_table(root, run.reference, "test"), run.params["base"]
    if reason := _find_mismatch(candidate, former, test, base):
        return Check(name, "", "", SKIPPED, f"the champion {former.label} cannot be scored on these rows: {reason}")
    is_new, note = _find_new_rows(root, former, test, base["target_column"])
    n_new = int(is_new.sum())
    if n_new < MIN_ROWS:
        return Check(name, f"{n_new} rows", f">= {MIN_ROWS} rows", SKIPPED, f"too few test rows left: {note}")
    rows = test[is_new]
    positive = _find_positive(root, run, base)
    try:
        first, second = (_predict(each, rows, base, positive) for each in (candidate, former))
    # An older model may fail on today's rows in any way.
    except Exception as error:
        logger.debug("scoring failed", exc_info=True)
        reason = f"{type(error).__name__}: {message_of(error)}"
        return Check(name, "", "", SKIPPED, f"the models cannot be scored on the same rows: {reason}")
    note = f"{former.label} on {n_new} test rows{f'; {note}' if note else ''}"
    return _check_difference(name, first, second, run, gate, note)


def _check_difference(
    name: str, first: Predictions, second: Predictions, run: LoadedRun, gate: Gate, note: str
) -> Check:
    """Check how much better the first predictions are than the second; `note` describes the second and the rows."""
    scoring, n_bootstrap = _setting(run, "scoring"), int(run.params["evaluate"]["n_bootstrap"])
    metric, seed, interval = metric_of(scoring), run.params["base"]["random_state"], None
    values = [score_one(metric, predictions) for predictions in (first, second)]
    if all(np.isfinite(values)):
        interval = difference_interval(metric, first, second, n_bootstrap, seed, gate.confidence)
    if interval is None:
        return Check(name, "", "", SKIPPED, f"{metric} is not defined for both models on these rows")
    # Adding 0 turns -0.0 into 0.0.
    low, high = (end + 0.0 for end in ((-interval[1], -interval[0]) if is_loss(scoring) else interval))
    scores = f"{short_number(values[0])} against {short_number(values[1])} of {note}"
    found = f"{gate.confidence:.0%} interval of how much better it is: {low:+.4f} to {high:+.4f}; {scores}"
    result: Result = REFUSED if high < -gate.margin else PASSED
    return Check(name, f"{high:+.4f}", f">= {-gate.margin:+.4f}", result, found)


def _setting(run: LoadedRun, name: str) -> str:
    return str(run.params.get("train", {}).get(name, ""))


def _find_mismatch(candidate: Registered, champion: Registered, test: pd.DataFrame, base: dict[str, Any]) -> str:
    """Explain why a champion cannot be scored on the rows of a candidate; empty if it can."""
    needed = list(champion.model.feature_names_in_)
    if missing := [str(name) for name in needed if name not in test.columns]:
        shown = one_line(", ".join(missing[:5]), MAX_SHOWN)
        return f"it needs the columns {shown}, which the table does not have"
    known, former = (getattr(each.model, "classes_", None) for each in (candidate, champion))
    if (known is None) != (former is None):
        return f"it predicts {'numbers' if former is None else 'classes'}, and base.task is {base['task']}"
    if known is not None and former is not None and list(map(str, known)) != list(map(str, former)):
        only = [str(label) for label in {*known.tolist()} ^ {*former.tolist()}]
        return f"it knows other classes; they differ in {one_line(', '.join(sorted(only)[:5]), MAX_SHOWN)}"
    return ""


def _find_new_rows(root: Path, champion: Registered, test: pd.DataFrame, target: str) -> tuple[NDArray[Any], str]:
    """Find the test rows that the champion was not trained on, and report how many were left out."""
    commit, columns = champion.version.tags.get("git.commit", ""), list(champion.model.feature_names_in_)
    try:
        train = load_table(root, commit or "unknown", "train")
        columns = [name for name in [*columns, target] if name in train.columns]
        is_new = ~np.isin(_hash_rows(test, columns), _hash_rows(train, columns))
    except PipelineError as error:
        note = f"the training rows of {champion.label} are unknown, so it may have seen some test rows ({error})"
        return np.ones(len(test), dtype=bool), note
    n_seen = int((~is_new).sum())
    note = f"left out {n_seen} of {len(test)} test rows on which {champion.label} was trained" if n_seen else ""
    return is_new, note


def _hash_rows(table: pd.DataFrame, columns: list[str]) -> NDArray[np.uint64]:
    """Hash rows so that equal values of different types, such as 1 and 1.0, are equal."""
    plain = {}
    for number, name in enumerate(columns):
        column = table[name]
        is_number = is_numeric_dtype(column) and not is_bool_dtype(column)
        plain[number] = column.astype(float) if is_number else column.astype(str)
    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(plain), index=False), dtype=np.uint64)


def _find_positive(root: Path, run: LoadedRun, base: dict[str, Any]) -> Any:
    if base["task"] == "regression":
        return None
    y_train = load_table(root, run.reference, "train")[base["target_column"]].to_numpy()
    return find_positive(y_train, base.get("positive"), base["task"])


def _predict(registered: Registered, rows: pd.DataFrame, base: dict[str, Any], positive: Any) -> Predictions:
    X, y_true = rows[list(registered.model.feature_names_in_)], rows[base["target_column"]].to_numpy()
    return predict_rows(registered.model, X, y_true, base["task"], positive)


def _escape(text: str) -> str:
    """Escape a text for a cell of a Markdown table."""
    shown = html.escape(one_line(text, MAX_SHOWN))
    return "".join(f"&#{ord(letter)};" if letter in "|`*_[]\\" else letter for letter in shown)
