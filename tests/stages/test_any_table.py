"""Tables of random kinds, names and missingness: each goes through, or is refused in clear words."""

import contextlib
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from src.config.load import load_config
from src.data.features import prepare_rows
from src.data.schema import read_columns
from src.errors import PipelineError
from src.stages.data_load import data_load
from src.stages.data_split import data_split
from src.stages.featurize import featurize
from tests.config.conftest import Load, load
from tests.stages.test_own_table import PATH, SETTINGS

__all__ = ["load"]

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "whole": st.integers(-(2**62), 2**62),
    "small": st.integers(-5, 5),
    "float": st.floats(allow_nan=True),
    "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6),
    "level": st.sampled_from(["a", "b", "None", "NA", "", "01", "1"]),
    "boolean": st.booleans(),
    "date": st.dates().map(str),
    "clock": st.times().map(str),
}
N_ROWS = 12


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    columns: dict[str, list[Any]] = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=5, unique=True)):
        value = VALUES[draw(st.sampled_from(sorted(VALUES)))]
        if draw(st.booleans()):
            value = st.none() | value
        columns[name] = draw(st.lists(value, min_size=N_ROWS, max_size=N_ROWS))
    columns["target"] = ["x", "y"] * (N_ROWS // 2)
    return pd.DataFrame(columns)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables(), suffix=st.sampled_from([".csv", ".parquet"]))
def test_any_table_goes_through_the_stages_of_the_data_or_is_refused(
    load: Load, table: pd.DataFrame, suffix: str
) -> None:
    path = PATH.with_suffix(suffix)
    load(SETTINGS | {"data_load.external_path": str(path)})
    config = load_config(Path("params.yaml"))
    config.data_load.schema_path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False)
    refused = True
    with contextlib.suppress(PipelineError):
        for stage in (data_load, featurize, data_split):
            stage(config)
        refused = False
    event("refused" if refused else "went through")
    if refused:
        return
    raw, train = pd.read_parquet("data/raw/dataset.parquet"), pd.read_parquet("data/train.parquet")
    columns = read_columns(config.data_load.schema_path)
    assert len(raw) == N_ROWS
    # The rows that a model is given later become what it was fitted on.
    prepared = prepare_rows(raw.drop(columns="target"), columns, {})
    assert prepared.dtypes.tolist() == train.dtypes.tolist()[:-1]
    assert list(prepared.columns) == list(train.columns)[:-1]
    pd.testing.assert_frame_equal(prepare_rows(prepared, columns, {}), prepared)
