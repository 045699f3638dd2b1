"""A user's own table through the stages of the data, by settings alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.config.schema import Config
from src.errors import DataError
from src.stages.data_load import data_load
from src.stages.data_split import data_split
from src.stages.featurize import featurize
from tests.config.conftest import Load, load

__all__ = ["load"]

PATH = Path("data/external/t.csv")
SETTINGS: dict[str, Any] = {
    "tracking.enabled": False,
    "featurize.features": {},
    "data_load.source": {"kind": "file"},
    "data_load.external_path": str(PATH),
}
Own = Callable[..., Config]


@pytest.fixture
def own(load: Load) -> Own:
    """Write a table to data/external, in a folder of the test's own, and give settings for it."""

    def write(content: str | bytes | pd.DataFrame, **changes: Any) -> Config:
        config = load(SETTINGS | changes)
        PATH.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pd.DataFrame):
            content.to_csv(PATH, index=False)
        else:
            PATH.write_bytes(content.encode() if isinstance(content, str) else content)
        return config

    return write


def dataset() -> pd.DataFrame:
    return pd.read_parquet("data/raw/dataset.parquet")


def kinds() -> dict[str, str]:
    columns = json.loads(Path("data/schema.json").read_text())["columns"]
    return {name: column["kind"] for name, column in columns.items()}


ROWS = pd.DataFrame(
    {
        "age": [30, 41, None, 28] * 10,
        "town": ["Bonn", None, "None", "Köln"] * 10,
        "member": [True, False, True, False] * 10,
        "since": ["2024-01-31", "2023-05-01", None, "2022-02-28"] * 10,
        "target": ["yes", "no"] * 20,
    }
)


def test_kinds_are_inferred_and_the_rows_have_their_dtypes(own: Own) -> None:
    record = data_load(own(ROWS))
    assert kinds() == {"age": "number", "town": "category", "member": "boolean", "since": "date"}
    assert [str(dtype) for dtype in dataset().dtypes] == ["float64", "str", "float64", "datetime64[us]", "str"]
    assert record is not None
    assert record.metrics == {"n_rows": 40, "n_columns": 5, "n_rows_without_target": 0}
    assert record.tags == {"source.path": "data/external/t.csv"}


def test_data_stages_run_with_settings_only(own: Own) -> None:
    features = {"year": {"date_part": {"column": "since", "part": "year"}}, "letters": {"text_length": "town"}}
    config = own(
        ROWS.assign(town=["Bonn", "Ulm", "Köln", "None"] * 10),
        **{"featurize.features": features, "data_split.split": {"kind": "group", "column": "town"}},
    )
    for stage in (data_load, featurize, data_split):
        stage(config)
    train, test = (pd.read_parquet(f"data/{name}.parquet") for name in ("train", "test"))
    assert list(train.columns) == ["age", "town", "member", "since", "year", "letters", "target"]
    assert len(train) + len(test) == 40
    assert not set(train["town"]) & set(test["town"])


def test_rerun_gives_the_same_bytes(own: Own) -> None:
    config = own(ROWS)
    outputs = []
    for _ in range(2):
        for stage in (data_load, featurize, data_split):
            stage(config)
        outputs.append({path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()})
    assert outputs[0] == outputs[1]


def test_regression_runs_with_settings_only(own: Own) -> None:
    regression = {
        "base.task": "regression",
        "data_split.split": {"kind": "time", "column": "since"},
        "train.estimator": "ridge",
        "train.scoring": "r2",
    }
    config = own(ROWS.assign(target=range(40), since=pd.date_range("2024-01-01", periods=40).astype(str)), **regression)
    for stage in (data_load, featurize, data_split):
        stage(config)
    assert pd.read_parquet("data/test.parquet")["target"].tolist() == [float(value) for value in range(32, 40)]


MIXED = "a,target\n" + "".join(f"{row},{'xy'[row % 2]}\n" for row in range(40)) + "?,x\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "data/external/t.csv is empty."),
        ("a,target\n", "data/external/t.csv has no rows below its header."),
        (
            "a,target\n1,x\n2\n",
            "data/external/t.csv cannot be read as a table: row 3 has ",
        ),
        (
            "a,a,target\n1,2,x\n",
            "data/external/t.csv: column 'a' appears more than once; give each column its own name.",
        ),
        (
            b"a,target\n1,caf\xe9\n",
            "data/external/t.csv is not valid utf-8 (column 'target'); set data_load.source.encod",
        ),
        (
            MIXED,
            "column 'a' holds numbers and, in 1 of 41 rows, other values, for example '?'; add them to data_load.sou",
        ),
        ("a,target\n1,x\n-inf,y\n", "column 'a': 1 of 2 values are not finite numbers, for example -inf in row 2; fix"),
        (
            "a,target\n1,x\n2,\n",
            "target 'target' is missing in 1 of 2 rows; drop these rows, for example by `data_load.missing_",
        ),
        ("a,target\n1,x\n2,x\n", "target 'target' holds only the value 'x'; a model needs at least two values."),
        ("a,b\n1,x\n", "base.target_column = 'target' is not in the table; its columns are a, b."),
        (
            "a,target\n1,1.5\n2,2.5\n",
            "base.target_column = 'target' holds fractions, such as 1.5, which cannot be classes; set",
        ),
    ],
)
def test_invalid_table_is_reported_in_one_line_and_nothing_is_written(
    own: Own, content: str | bytes, message: str
) -> None:
    config = own(content)
    with pytest.raises(DataError) as caught:
        data_load(config)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert {path for path in Path().rglob("*") if path.is_file()} == {Path("params.yaml"), PATH}


def test_target_of_a_regression_that_is_text_is_refused(own: Own) -> None:
    regression = {
        "base.task": "regression",
        "data_split.split": {"kind": "random"},
        "train.estimator": "ridge",
        "train.scoring": "r2",
    }
    config = own("a,target\n1,x\n2,y\n", **regression)
    with pytest.raises(DataError, match=r"^base\.target_column = 'target': 2 of 2 values are not finite numbers"):
        data_load(config)


def test_na_values_are_a_setting(own: Own) -> None:
    data_load(own(MIXED, **{"data_load.source": {"kind": "file", "na_values": ["?"]}}))
    assert dataset()["a"].isna().sum() == 1


def test_large_numbers_with_leading_zeros_are_read_the_same_in_each_run(own: Own) -> None:
    accounts = [f"00{10**16 + row}" for row in range(40)]
    config = own(pd.DataFrame({"account": accounts, "n": range(40), "target": ["x", "y"] * 20}))
    data_load(config)
    first = Path("data/raw/dataset.parquet").read_bytes()
    assert dataset()["account"].tolist() == accounts
    assert kinds() == {"account": "high_cardinality", "n": "number"}
    data_load(config)
    assert Path("data/raw/dataset.parquet").read_bytes() == first


def test_rows_without_a_target_are_dropped_and_counted_by_a_setting(own: Own) -> None:
    record = data_load(own("a,target\n1,x\n2,\n3,y\n", **{"data_load.missing_target": "drop"}))
    assert record is not None
    assert record.metrics == {"n_rows": 2, "n_columns": 2, "n_rows_without_target": 1}
    assert dataset()["a"].tolist() == [1.0, 3.0]


def test_column_without_any_value_is_ignored_with_a_warning(own: Own, caplog: pytest.LogCaptureFixture) -> None:
    data_load(own("a,nothing,target\n1,,x\n2,,y\n"))
    assert kinds() == {"a": "number", "nothing": "ignore"}
    assert "column 'nothing' has no values: ignored" in caplog.text


STRANGE = ["a b", "a[b]", "😀", "index", "__index_level_0__", "prediction", 'quo"te', "none", "1", ""]


def test_any_column_names_pass_all_data_stages(own: Own) -> None:
    table = pd.DataFrame(np.arange(40.0 * len(STRANGE)).reshape(40, -1), columns=STRANGE).assign(target=["x", "y"] * 20)
    feature = {"[über] a b": {"ratio": ["__index_level_0__", "😀"]}}
    config = own(table, **{"featurize.features": feature})
    for stage in (data_load, featurize, data_split):
        stage(config)
    names = [*STRANGE[:-1], "column_10", *feature, "target"]
    assert list(pd.read_parquet("data/train.parquet").columns) == names


def test_feature_with_the_name_of_a_column_is_refused(own: Own) -> None:
    config = own(ROWS, **{"featurize.features": {"town": {"log": "age"}}})
    data_load(config)
    with pytest.raises(DataError, match="feature 'town' has the name of a column of the table"):
        featurize(config)


@pytest.mark.thorough
def test_ten_thousand_columns_pass_all_data_stages(own: Own) -> None:
    names = [f"x{position}" for position in range(10_000)]
    table = pd.DataFrame(np.random.default_rng(0).integers(0, 9, (20, 10_000)), columns=names)
    config = own(table.assign(target=["x", "y"] * 10))
    for stage in (data_load, featurize, data_split):
        stage(config)
    assert pd.read_parquet("data/train.parquet").shape == (16, 10_001)


def test_new_version_of_the_table_is_checked_against_the_recorded_kinds(own: Own) -> None:
    data_load(own("zip,target\nA1,x\nB2,y\n"))
    data_load(own("zip,target\n007,x\n123,y\n"))
    assert kinds() == {"zip": "category"}
    assert dataset()["zip"].tolist() == ["007", "123"]
    before = Path("data/schema.json").read_bytes()
    with pytest.raises(DataError) as caught:
        data_load(own("zip,extra,target\n007,1,x\n123,2,y\n"))
    assert str(caught.value) == (
        "column 'extra' was not in the table when the kinds were inferred; fix the table, or declare the column in "
        "data_load.columns of params.yaml, or delete data/schema.json, which records the earlier version, to infer all "
        "kinds again."
    )
    assert Path("data/schema.json").read_bytes() == before


def test_columns_of_another_file_are_inferred_again(own: Own) -> None:
    data_load(own("a,target\nA1,x\nB2,y\n"))
    Path("data/external/other.csv").write_text("b,target\n1,x\n2,y\n")
    data_load(own("", **{"data_load.external_path": "data/external/other.csv"}))
    assert kinds() == {"b": "number"}


def test_declared_columns_are_checked(own: Own) -> None:
    declared = {"age": {"kind": "number", "max": 40}, "town": {"kind": "category", "missing": False}}
    config = own(ROWS, **{"data_load.columns": declared})
    with pytest.raises(DataError) as caught:
        data_load(config)
    _, *problems = str(caught.value).splitlines()
    assert problems == [
        "  column 'age': 10 of 40 values are above max = 40.0, for example 41.0 in row 2, 41.0 in row 6, 41.0 in "
        "row 10",
        "  column 'town': 10 of 40 values are missing, for example in row 2, row 6, row 10",
    ]
    assert not Path("data/raw/dataset.parquet").exists()


def test_ordinal_of_numbers_is_kept_in_its_order(own: Own) -> None:
    columns = {"grade": {"kind": "ordinal", "order": [1, 2, 10]}}
    data_load(own("grade,target\n1,x\n10,y\n2,x\n,y\n", **{"data_load.columns": columns}))
    assert json.loads(Path("data/schema.json").read_text())["columns"]["grade"]["order"] == ["1", "2", "10"]
    assert dataset()["grade"].tolist()[:3] == ["1", "10", "2"]
