from pathlib import Path

import pandas as pd
import pytest

from src.config.schema import Base
from src.data.parts import list_parts, new_table, write_part
from src.errors import DataError, FeatureError
from src.featurize.table import featurize_part

BASE = Base(task="regression", target_column="y", positive=None, random_state=0, log_level="INFO")


def featurize(path: Path, a: list[object]) -> None:
    """Featurize a table of two parts of two rows."""
    with new_table(path / "raw.parquet") as folder:
        for number in range(2):
            rows = pd.DataFrame({"a": a[2 * number : 2 * number + 2], "y": [1.0, 2.0]})
            write_part(rows, folder, number)
    columns = {"a": {"kind": "number"}}
    with new_table(path / "features.parquet") as folder:
        for part in list_parts(path / "raw.parquet", made_by="data_load"):
            assert featurize_part(part, folder, columns, {"b": {"log": "a"}}, BASE, n_rows=4) == 2


def test_parts_keep_their_numbers_and_rows(tmp_path: Path) -> None:
    featurize(tmp_path, [1.0, 2.0, 3.0, 4.0])
    parts = list_parts(tmp_path / "features.parquet", made_by="featurize")
    assert [part.read()["a"].tolist() for part in parts] == [[1.0, 2.0], [3.0, 4.0]]


def test_error_of_a_feature_names_the_part(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"part-00001\.parquet: feature 'b': .* in 1 of 2 rows"):
        featurize(tmp_path, [1.0, 2.0, 3.0, 0.0])


def test_wrong_value_has_its_row_in_the_whole_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'a': .* in row 4"):
        featurize(tmp_path, ["1", "2", "3", "x"])
