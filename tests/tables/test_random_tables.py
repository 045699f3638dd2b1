"""Tables that nobody thought of: either they work, or the error is one that a user can mend."""

import tempfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from src.data.columns import read_columns
from src.data.models import read_model
from src.errors import PipelineError
from src.featurize.features import prepare_rows
from src.predict import predict_file
from tests.tables.running import run_stages
from tests.tables.tables import read_params

NAMES = st.one_of(
    st.sampled_from(
        [
            "a",
            "b",
            "index",
            "__index_level_0__",
            "prediction",
            "a b",
            "a[0]",
            "x<1>",
            "🐧",
            "level_0",
            "None",
            "nan",
            "A",
            " a",
        ]
    ),
    st.text(min_size=1, max_size=8),
)
TEXTS = st.one_of(
    st.sampled_from(["x", "y", "z", "None", "NA", "1", "true", "é", "a,b", 'q"q', "$x$", "|"]), st.text(max_size=5)
)
VALUES = {
    "integer": st.integers(-1000, 1000),
    "large": st.integers(-(2**62), 2**62),
    "float": st.floats(allow_nan=True, allow_infinity=False, width=32),
    "infinite": st.floats(),
    "boolean": st.booleans(),
    "text": TEXTS,
    "few": st.sampled_from(["x", "y", "z"]),
    "code": st.sampled_from(["01", "1", "007", "", "NA", "None"]),
    "day": st.dates().map(str),
    "clock": st.times().map(str),
    "date": st.datetimes(
        min_value=pd.Timestamp("1900-01-01").to_pydatetime(), max_value=pd.Timestamp("2100-01-01").to_pydatetime()
    ),
    "mixed": st.one_of(st.integers(0, 9), TEXTS, st.booleans(), st.none()),
    "constant": st.just(1),
    "missing": st.none(),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[pd.DataFrame, str]:
    """Draw a table with a target, and the task that it is for."""
    n_rows = draw(st.sampled_from([0, 1, 2, 5, 12, 30, 60]))
    task = draw(st.sampled_from(["classification", "regression"]))
    columns: dict[str, list[Any]] = {}
    for name in draw(st.lists(NAMES, min_size=0, max_size=5, unique=True)):
        values = draw(st.lists(VALUES[draw(st.sampled_from(sorted(VALUES)))], min_size=n_rows, max_size=n_rows))
        holes = draw(st.lists(st.integers(0, max(n_rows - 1, 0)), max_size=5))
        columns[name] = [None if row in holes else value for row, value in enumerate(values)]
    usual = [["no", "yes"][row % 3 == 0] if task == "classification" else row % 7 / 3 for row in range(n_rows)]
    strange = draw(st.sampled_from(["usual", "usual", "usual", *VALUES]))
    columns["target"] = (
        usual if strange == "usual" else draw(st.lists(VALUES[strange], min_size=n_rows, max_size=n_rows))
    )
    return pd.DataFrame(columns), task


@pytest.fixture(scope="module")
def _quiet() -> Iterator[None]:
    import logging

    logging.getLogger("src").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("src").setLevel(logging.NOTSET)


def check(drawn: tuple[pd.DataFrame, str], suffix: str, *, is_dummy: bool, searches: bool) -> str:
    """Run all stages and a prediction on a table; tells whether that worked, or with which error it was refused."""
    table, task = drawn
    params = read_params("iris" if task == "classification" else "diabetes")
    source = {"source": {"kind": "file"}, "external_path": f"data/external/table{suffix}", "missing_target": "drop"}
    params["data_load"] |= source
    params["featurize"]["features"] = {}
    linear_model = {"classification": "logreg", "regression": "ridge"}[task]
    estimator = "dummy" if is_dummy else linear_model
    search = {"kind": "grid" if searches else "none"}
    params["train"] |= {"estimator": estimator, "cv": 2, "param_grid": {}, "search": search}
    params["evaluate"]["n_bootstrap"] = 100
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        path = Path(params["data_load"]["external_path"])
        path.parent.mkdir(parents=True)
        try:
            table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path, index=False)
        except (ValueError, TypeError, UnicodeEncodeError, OverflowError):
            # Parquet cannot hold it: no user has such a file.
            return "no such file"
        try:
            config = run_stages(params)
            model = read_model(config.train.model_path)
            n_rows = predict_file(model, path, Path("predictions.parquet"))
        # What a user can mend; anything else is a bug, and fails here.
        except PipelineError as error:
            return f"refused: {type(error).__name__}"
        raw = pd.read_parquet(config.data_load.dataset_path)
        columns = read_columns(config.data_load.schema_path)
        features = raw.drop(columns=config.base.target_column)
        prepared = prepare_rows(features, columns, {})
        pd.testing.assert_frame_equal(prepare_rows(prepared, columns, {}), prepared)
        # Without rows that were dropped for want of a target.
        if n_rows == len(raw):
            predicted = pd.read_parquet("predictions.parquet")["prediction"]
            assert list(predicted) == list(model.predict(raw))
    return "worked"


DRAWN = {
    "drawn": tables(),
    "suffix": st.sampled_from([".csv", ".parquet"]),
    "is_dummy": st.booleans(),
    "searches": st.booleans(),
}
COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True, "database": None}


@pytest.mark.usefixtures("_quiet")
@settings(max_examples=25, **COMMON)
@given(**DRAWN)
def test_any_table_works_or_is_refused_in_words(
    drawn: tuple[pd.DataFrame, str], suffix: str, is_dummy: bool, searches: bool
) -> None:
    event(check(drawn, suffix, is_dummy=is_dummy, searches=searches))


@pytest.mark.slow
@pytest.mark.usefixtures("_quiet")
@settings(max_examples=60, **COMMON)
@given(**DRAWN)
def test_many_tables_work_or_are_refused_in_words(
    drawn: tuple[pd.DataFrame, str], suffix: str, is_dummy: bool, searches: bool
) -> None:
    event(check(drawn, suffix, is_dummy=is_dummy, searches=searches))


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_usual_table_is_not_refused(suffix: str) -> None:
    table = pd.DataFrame({"n": range(24), "c": ["x", "y", None] * 8, "target": ["no", "yes"] * 12})
    assert check((table, "classification"), suffix, is_dummy=False, searches=True) == "worked"
