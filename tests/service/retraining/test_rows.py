"""New rows are checked, compared with those that are there, and appended."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from src.config.load import load_config
from src.config.schema import Config
from src.errors import DataError
from src.service.retraining.rows import add_rows

ROOT = Path(__file__).parents[3]
TABLE = "a,label,word\n1.50,x,ä\n2,y,\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/external").mkdir(parents=True)


def set_up(content: str | pd.DataFrame, name: str = "t.csv", **source: object) -> Config:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["base"]["target_column"] = "label"
    params["data_load"] |= {"source": {"kind": "file"} | source, "external_path": f"data/external/{name}"}
    params["featurize"]["features"] = {}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    path = Path("data/external", name)
    path.write_text(content) if isinstance(content, str) else content.to_parquet(path, index=False)
    return load_config(Path("params.yaml"))


def add(config: Config, content: str, name: str = "new.csv") -> int:
    Path(name).write_text(content)
    return add_rows(config, Path(name))


def test_rows_follow_the_unchanged_bytes_of_the_table() -> None:
    config = set_up(TABLE.rstrip("\n"))
    assert add(config, "word,a,label\nö,3,x\n") == 1
    assert config.data_load.external_path.read_text() == f"{TABLE}3,x,ö\n"


def test_rows_that_are_there_already_are_not_added_again() -> None:
    config = set_up(TABLE)
    new = "a,label,word\n1.5,x,ä\n2.0,y,\n7,y,z\n7,y,z\n"
    assert add(config, new) == 2
    content = config.data_load.external_path.read_bytes()
    assert add(config, new) == 0
    assert config.data_load.external_path.read_bytes() == content


def test_format_of_the_table_applies_to_the_new_rows() -> None:
    config = set_up("a;label\n1,5;x\n2,5;y\n", separator=";", decimal=",")
    assert add(config, "a;label\n3,25;x\n") == 1
    assert config.data_load.external_path.read_text() == "a;label\n1,5;x\n2,5;y\n3,25;x\n"


def test_rows_are_added_to_parquet_with_its_types() -> None:
    config = set_up(pd.DataFrame({"a": [1, 2], "label": ["x", "y"]}).astype({"a": "int32"}), "t.parquet")
    pd.DataFrame({"a": [3, 1], "label": ["x", "x"]}).to_parquet("new.parquet", index=False)
    assert add_rows(config, Path("new.parquet")) == 1
    table = pd.read_parquet(config.data_load.external_path)
    assert (list(table["a"]), str(table["a"].dtype)) == ([1, 2, 3], "int32")


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("a,label\n1,x\n", "new.csv lacks 'word'; new rows need exactly the columns of the table."),
        ("a,label,word,b\n1,x,y,z\n", "new.csv has also 'b'; "),
        ("a,label,word\n1,,y\n", "new.csv: "),
        ("a,label,word\nmany,x,y\n", "new.csv: column 'a': "),
        ("a,label,word\n", "new.csv has no rows"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_the_table_stays(new: str, message: str) -> None:
    config = set_up(TABLE)
    with pytest.raises(DataError) as raised:
        add(config, new)
    assert str(raised.value).startswith(message)
    assert config.data_load.external_path.read_text() == TABLE


def test_table_of_another_source_or_type_is_refused() -> None:
    config = set_up(TABLE, "t.jsonl")
    with pytest.raises(DataError, match="must be one Parquet file, or a text file"):
        add(config, TABLE)
