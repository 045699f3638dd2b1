"""Compare the model that `make new-data YES=1` proposes with the defaults of LightGBM and scikit-learn.

`python -m benchmarks.quality [--tables iris,wine] [--seeds 3] [--flaml PYTHON]` measures what has no result of this
code and these versions yet, and writes `benchmarks/quality.json` and the table of `docs/quality.md`. The tables of
statsmodels need its files, which no part of this project needs otherwise:

    python -m pip install --no-deps --target /tmp/statsmodels statsmodels
    PYTHONPATH=/tmp/statsmodels OMP_NUM_THREADS=1 python -m benchmarks.quality

FLAML needs an environment of its own: `python -m venv /tmp/flaml`, `/tmp/flaml/bin/pip install "flaml[automl]"` and
`--flaml /tmp/flaml/bin/python`. It searches for 60 s on each table, so it needs a machine that does nothing else.
"""

import argparse
import hashlib
import itertools
import json
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from benchmarks.quality_report import BASELINES, Result, describe, write_page
from benchmarks.quality_scores import Predictions, bootstrap, score
from benchmarks.quality_tables import TABLES
from benchmarks.report import describe_machine
from benchmarks.workspace import ROOT
from src.atomic import atomic_path
from src.config.load import load_config
from src.config.train import RESULT_COLUMNS
from src.config.yaml_file import parse_yaml
from src.data.models import read_model
from src.errors import PipelineError
from src.new_data.__main__ import propose
from src.new_data.guess import guess_table
from src.new_data.rewrite import rewrite_settings
from src.predict import predict_file
from src.stages.data_load import data_load
from src.stages.featurize import featurize
from src.stages.train import train

RESULTS = ROOT / "benchmarks" / "quality.json"
PAGE = ROOT / "docs" / "quality.md"
MAX_ROWS = 20_000
TEST_SIZE = 0.2
FLAML_SECONDS = 60
# HistGradientBoosting refuses more levels of a category.
MAX_LEVELS = 255
# What the proposal depends on.
CODE = ("config", "data", "data_load", "featurize", "new_data", "train")

# Predictions of the test rows, and what to record.
Fit = tuple[Predictions, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One table, split for one seed.

    Attributes:
        folder: Holds `train.csv` and `test.csv`, with the target.
        y_test: Labels as text, or numbers.
        labels: Sorted classes as text; none for a regression.
    """

    folder: Path
    target: str
    task: str
    seed: int
    y_test: Any = None
    labels: list[str] = field(default_factory=list)

    def read(self, name: str) -> pd.DataFrame:
        """Read a file of the case as pandas does by default, without rows that have no target."""
        table = pd.read_csv(self.folder / f"{name}.csv", low_memory=False)
        return table[table[self.target].notna()].reset_index(drop=True)


def measure(table: pd.DataFrame, target: str, seed: int, flaml: Path | None = None) -> dict[str, Any]:
    """Fit all contenders on 80 % of the rows of a table, and score them on the others.

    Args:
        table: At most `MAX_ROWS` random rows are used.
        target: Column to predict.
        seed: Of the split and the models.
        flaml: Python of an environment with FLAML; None leaves it out.
    """
    if len(table) > MAX_ROWS:
        table = table.sample(MAX_ROWS, random_state=0).sort_index()
    contenders: dict[str, Callable[[Case], Fit]] = {
        "proposal": fit_proposal,
        "lightgbm": fit_lightgbm,
        "hist_gradient_boosting": fit_hist_gradient_boosting,
    }
    if flaml:
        contenders["flaml"] = partial(fit_flaml, python=flaml)
    predictions: dict[str, Predictions] = {}
    fits: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="quality-") as folder:
        case, split = make_case(table, target, seed, Path(folder))
        for name, fit in contenders.items():
            started = time.perf_counter()
            try:
                predictions[name], details = fit(case)
            # What refuses a table has lost on it.
            except (PipelineError, RuntimeError, ValueError) as error:
                fits[name] = {"error": " ".join(str(error).split())}
                continue
            seconds = round(time.perf_counter() - started, 1)
            fits[name] = {**score(case.y_test, predictions[name], case.labels), "seconds": seconds, **details}
    return {
        "task": case.task,
        "rows": len(table),
        "columns": table.shape[1],
        "test_rows": len(case.y_test),
        "split": split,
        "fits": fits,
        "differences": {
            name: bootstrap(case.y_test, predictions["proposal"], predictions[name], case.labels)
            for name in BASELINES
            if {name, "proposal"} <= set(predictions)
        },
    }


def make_case(table: pd.DataFrame, target: str, seed: int, folder: Path) -> tuple[Case, dict[str, str]]:
    """Write the training and test rows of a seed, and return the rule of the split that the starter proposes."""
    path, table = folder / "all.csv", table.reset_index(drop=True)
    table.to_csv(path, index=False)
    params = parse_yaml(_propose(path, target), path)
    task, split = params["base"]["task"], params["data_split"]["split"]
    # Rows without a target cannot be scored; the proposal must handle them.
    missing, known = table[table[target].isna()], table[table[target].notna()]
    train_rows, test_rows = split_rows(known, target, split, seed)
    # In the order of the table, which may be that of time.
    pd.concat([known.iloc[train_rows], missing]).sort_index().to_csv(folder / "train.csv", index=False)
    known.iloc[test_rows].sort_index().to_csv(folder / "test.csv", index=False)
    case = Case(folder, target, task, seed)
    y_train, y_test = case.read("train")[target], case.read("test")[target]
    if task == "regression":
        return replace(case, y_test=y_test.to_numpy(np.float64)), split
    return replace(case, y_test=_as_labels(y_test), labels=sorted({*_as_labels(y_train), *_as_labels(y_test)})), split


def split_rows(table: pd.DataFrame, target: str, split: dict[str, str], seed: int) -> tuple[Any, Any]:
    """Return the positions of training and test rows by a rule of `data_split.split`.

    A split by time has no chance in it, so each seed leaves out the newest 5 % of rows that the seed before has.
    """
    rows = np.arange(len(table))
    if split["kind"] == "group":
        groups = GroupShuffleSplit(1, test_size=TEST_SIZE, random_state=seed)
        train_rows, test_rows = next(groups.split(rows, groups=table[split["column"]]))
        return train_rows, test_rows
    if split["kind"] == "time":
        moments = table[split["column"]]
        if not pd.api.types.is_numeric_dtype(moments):
            moments = pd.to_datetime(moments, utc=True)
        order = np.argsort(moments.to_numpy(), kind="stable")[: round(len(rows) * 0.95**seed)]
        n_train = round(len(order) * (1 - TEST_SIZE))
        return order[:n_train], order[n_train:]
    # A class of one row cannot be in both.
    stratified = split["kind"] == "stratified" and table[target].value_counts().min() > 1
    strata = table[target] if stratified else None
    train_rows, test_rows = train_test_split(rows, test_size=TEST_SIZE, random_state=seed, stratify=strata)
    return train_rows, test_rows


def fit_proposal(case: Case) -> Fit:
    """Run the starter and the stages on the training rows, and predict the file of the test rows."""
    workspace = case.folder / "workspace"
    (workspace / "data" / "external").mkdir(parents=True)
    path = workspace / "data" / "external" / "train.csv"
    path.write_bytes((case.folder / "train.csv").read_bytes())
    with chdir(workspace):
        changes = {"base.random_state": case.seed, "tracking.enabled": False}
        text = rewrite_settings(_propose(path.relative_to(workspace), case.target), changes)
        Path("params.yaml").write_text(text, encoding="utf-8")
        config = load_config(Path("params.yaml"))
        data_load(config)
        featurize(config)
        # All rows of the file are training rows: the test rows are outside of it.
        config.featurize.features_path.rename(config.data_split.train_path)
        train(config)
        model = read_model(config.train.model_path)
        source: Any = config.data_load.source
        predict_file(model, case.folder / "test.csv", Path("predictions.csv"), how=source)
        scores = pd.read_csv(config.train.cv_results_path)
        columns = json.loads(config.data_load.schema_path.read_text(encoding="utf-8"))["columns"]
        predictions = _read_predictions(Path("predictions.csv"), case)
    # Not always the best one: the simpler one where the difference is luck.
    chosen = scores[scores["chosen"]].iloc[0].dropna()
    return predictions, {
        "estimator": chosen["estimator"],
        "params": {name: str(value) for name, value in chosen.items() if name not in RESULT_COLUMNS},
        "cv": _by_estimator(scores),
        "kinds": {name: column["kind"] for name, column in columns.items() if column["kind"] != "number"},
    }


def fit_lightgbm(case: Case) -> Fit:
    """Fit LightGBM with defaults."""
    model: Any = (LGBMClassifier if case.labels else LGBMRegressor)(random_state=case.seed, verbosity=-1, n_jobs=0)
    return _fit_default(model, case, max_levels=None), {}


def fit_hist_gradient_boosting(case: Case) -> Fit:
    """Fit scikit-learn's histogram gradient boosting with defaults."""
    boosting = HistGradientBoostingClassifier if case.labels else HistGradientBoostingRegressor
    return _fit_default(boosting(random_state=case.seed), case, max_levels=MAX_LEVELS), {}


def fit_flaml(case: Case, python: Path) -> Fit:
    """Search with FLAML, in its own environment."""
    script = ROOT / "benchmarks" / "peers" / "flaml_fit.py"
    arguments = [str(case.folder), case.target, case.task, str(FLAML_SECONDS), str(case.seed)]
    ended = subprocess.run([python, script, *arguments], capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"FLAML failed: {ended.stderr.strip().splitlines()[-1]}")
    return _read_predictions(case.folder / "flaml.csv", case), {"estimator": ended.stdout.splitlines()[-1]}


def _propose(path: Path, target: str) -> str:
    """Return the `params.yaml` that the starter proposes in a new clone."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    return propose(text, guess_table(path, target), path, None)


def _by_estimator(scores: pd.DataFrame) -> dict[str, float]:
    means: pd.Series[float] = scores.groupby("estimator")["mean"].max().round(4)
    return {str(name): float(mean) for name, mean in means.items()}


def _fit_default(model: Any, case: Case, max_levels: int | None) -> Predictions:
    train, test = case.read("train"), case.read("test")
    y_train = train[case.target]
    X_train, X_test = to_frames(train.drop(columns=case.target), test.drop(columns=case.target), max_levels)
    model.fit(X_train, _as_labels(y_train) if case.labels else y_train)
    if not case.labels:
        return Predictions(model.predict(X_test))
    return _by_label(model.classes_, model.predict_proba(X_test), case.labels)


def to_frames(train: pd.DataFrame, test: pd.DataFrame, max_levels: int | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Convert what pandas reads into what boosting takes.

    Numbers stay, dates become seconds, and other text becomes categories, or codes if it has more than `max_levels`.
    """
    both = pd.concat([train, test], ignore_index=True)
    converted = {}
    # LightGBM refuses some names of columns.
    for number, name in enumerate(both):
        column = both[name]
        if not pd.api.types.is_numeric_dtype(column):
            dates = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)
            if column.notna().any() and dates.notna().sum() == column.notna().sum():
                column = (dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
            else:
                levels = train[name].dropna().astype(str).unique()
                text = column.astype(str)
                column = text.where(text.isin(levels) & column.notna()).astype(pd.CategoricalDtype(sorted(levels)))
                if max_levels and len(levels) > max_levels:
                    column = column.cat.codes.where(column.notna()).astype(float)
        converted[f"x{number}"] = column
    X = pd.DataFrame(converted)
    return X[: len(train)], X[len(train) :]


def _as_labels(y: "pd.Series[Any]") -> Any:
    """Return labels as text; whole numbers that were read as floats because some are missing are whole again."""
    if pd.api.types.is_float_dtype(y):
        y = y.astype(np.int64)
    return y.astype(str).to_numpy(object)


def _by_label(found: Any, proba: Any, labels: list[str]) -> Predictions:
    """Put probabilities into the order of the labels; a class that no training row has gets 0."""
    ordered = pd.DataFrame(proba, columns=[str(label) for label in found]).reindex(columns=labels, fill_value=0.0)
    values = ordered.to_numpy(np.float64)
    return Predictions(np.array(labels, object)[values.argmax(axis=1)], values)


def _read_predictions(path: Path, case: Case) -> Predictions:
    table = pd.read_csv(path)
    if not case.labels:
        return Predictions(table["prediction"].to_numpy(np.float64))
    y = table["prediction"].astype(str).to_numpy(object)
    proba = table.filter(regex="^probability_").rename(columns=lambda name: name.removeprefix("probability_"))
    if proba.empty:
        return Predictions(y, (y[:, None] == np.array(case.labels)).astype(np.float64))
    return Predictions(y, _by_label(proba.columns, proba, case.labels).proba)


def digest_code() -> str:
    """Identify the code and settings that a proposal depends on."""
    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(
        [ROOT / "params.yaml", *(path for name in CODE for path in (ROOT / "src" / name).rglob("*.py"))]
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main(arguments: list[str] | None = None) -> None:
    """Measure what is not measured yet, and write the results and the page."""
    parser = argparse.ArgumentParser(prog="quality", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tables", default=",".join(TABLES), help="names, separated by commas; by default all")
    parser.add_argument("--seeds", type=int, default=3, help="splits of each table")
    parser.add_argument("--flaml", type=Path, metavar="PYTHON", help="of an environment with FLAML; seed 0 only")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    names = options.tables.split(",")
    if unknown := sorted(set(names) - set(TABLES)):
        parser.error(f"unknown table {unknown[0]!r}; choose from {', '.join(TABLES)}")
    machine = f"{describe_machine()}, lightgbm {version('lightgbm')}"
    known = json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else {}
    # Figures of another machine, or of other versions, do not belong beside these.
    results: list[Result] = known["results"] if known.get("machine") == machine else []
    code = digest_code()
    for seed, name in itertools.product(range(options.seeds), names):
        flaml = options.flaml if seed == 0 else None
        old: Result = next((one for one in results if (one["table"], one["seed"]) == (name, seed)), {"fits": {}})
        if old.get("code") == code and (flaml is None or "flaml" in old["fits"]):
            continue
        make, target = TABLES[name]
        try:
            table = make()
        except ModuleNotFoundError as error:
            sys.stderr.write(f"{name} is left out: {error}\n")
            continue
        new = {"table": name, "seed": seed, "code": code, **measure(table, target, seed, flaml)}
        # What FLAML found does not depend on this code.
        if "flaml" in old["fits"] and old["split"] == new["split"]:
            new["fits"].setdefault("flaml", old["fits"]["flaml"])
        sys.stderr.write(f"{name}, seed {seed}: {describe(new)}\n")
        results = sorted(
            [*(one for one in results if one is not old), new], key=lambda one: (one["table"], one["seed"])
        )
        write_results({"machine": machine, "results": results}, options.results)
        write_page(results, machine, options.page)


def write_results(results: dict[str, Any], path: Path) -> None:
    """Write one result a line, which `git diff` shows well."""
    lines = ",\n".join(json.dumps(one, sort_keys=True) for one in results["results"])
    with atomic_path(path) as partial:
        partial.write_text(
            f'{{"machine": {json.dumps(results["machine"])}, "results": [\n{lines}\n]}}\n', encoding="utf-8"
        )


if __name__ == "__main__":
    # The table of results is the output; what the stages warn about is not news here.
    logging.getLogger("src").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    main()
