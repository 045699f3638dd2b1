import json
import logging
from pathlib import Path

import pandas as pd
import pytest

from src.data.files import read_table, write_metrics, write_table
from src.errors import MissingInputError

TABLE = pd.DataFrame({"a": [1.0, None, 3.0], "n": [1, 2, 3], "text": ["x", None, "ü"], "flag": [True, False, True]})


def test_table_round_trips_through_parquet(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "table.parquet"
    write_table(TABLE, path)
    pd.testing.assert_frame_equal(read_table(path, made_by="featurize"), TABLE)


def test_index_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(TABLE.iloc[[2, 0]], path)
    pd.testing.assert_frame_equal(read_table(path, made_by="featurize"), TABLE.iloc[[2, 0]].reset_index(drop=True))


def test_equal_tables_are_equal_files(tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "first.parquet")
    write_table(TABLE.set_index(pd.Index([5, 6, 7])), tmp_path / "second.parquet")
    write_table(read_table(tmp_path / "first.parquet", made_by="featurize"), tmp_path / "third.parquet")
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1


def test_failed_write_of_a_table_keeps_the_old_one_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(TABLE, path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match="Expected bytes"):
        write_table(pd.DataFrame({"mixed": ["x", 1, b"y"]}, dtype=object), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_write_is_logged_with_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "src")
    write_table(TABLE, tmp_path / "table.parquet")
    assert caplog.messages == [f"wrote 3 rows × 4 columns to {tmp_path / 'table.parquet'}"]


def test_missing_table_names_the_stage_that_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    with pytest.raises(MissingInputError) as caught:
        read_table(path, made_by="featurize")
    assert str(caught.value) == f"{path} is missing; stage featurize makes it: run `dvc repro featurize`."


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PAR1" + b"\x00" * 64 + b"PAR1"])
def test_file_that_is_not_parquet_names_the_stage_that_makes_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train.parquet"
    path.write_bytes(content)
    with pytest.raises(MissingInputError) as caught:
        read_table(path, made_by="data_split")
    message = str(caught.value)
    assert message.startswith(f"{path} cannot be read as Parquet (")
    assert message.endswith("); stage data_split makes it: run `dvc repro data_split`.")
    assert "\n" not in message


def test_truncated_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(TABLE, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MissingInputError, match="cannot be read as Parquet"):
        read_table(path, made_by="data_load")


def test_metrics_are_sorted_json(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "metrics.json"
    write_metrics({"test_recall": 1.0, "test_accuracy": 0.1 + 0.2}, path)
    assert path.read_text(encoding="utf-8") == '{\n  "test_accuracy": 0.30000000000000004,\n  "test_recall": 1.0\n}\n'


def test_equal_metrics_are_equal_files(tmp_path: Path) -> None:
    write_metrics({"a": 1.0, "b": 2.0}, tmp_path / "first.json")
    write_metrics({"b": 2.0, "a": 1.0}, tmp_path / "second.json")
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_metric_that_json_cannot_hold_is_refused_and_leaves_the_old_file(tmp_path: Path, value: float) -> None:
    path = tmp_path / "metrics.json"
    write_metrics({"a": 1.0}, path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_metrics({"a": value}, path)
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1.0}
    assert list(tmp_path.iterdir()) == [path]
