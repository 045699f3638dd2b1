from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from src.compute.engine import Engine
from src.data.files import read_table
from src.data.parts import Part, list_blocks, list_parts, map_parts, new_table, write_part
from src.errors import MissingInputError


def write_table(path: Path, *parts: pd.DataFrame) -> list[Part]:
    with new_table(path) as folder:
        for number, part in enumerate(parts):
            write_part(part, folder, number)
    return list_parts(path, made_by="data_load")


def rows(*values: int) -> pd.DataFrame:
    return pd.DataFrame({"a": list(values), "b": [str(value) for value in values]})


def test_a_table_of_one_part_is_a_file(tmp_path: Path) -> None:
    parts = write_table(tmp_path / "t.parquet", rows(1, 2))
    assert (tmp_path / "t.parquet").is_file()
    assert [(part.number, part.start, part.n_rows) for part in parts] == [(0, 0, 2)]
    assert parts[0].read().equals(rows(1, 2))


def test_a_table_of_several_parts_is_a_folder_that_reads_as_one_table(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parts = write_table(path, rows(1, 2), rows(3), rows(4, 5))
    assert [(part.path.name, part.start, part.n_rows) for part in parts] == [
        ("part-00000.parquet", 0, 2),
        ("part-00001.parquet", 2, 1),
        ("part-00002.parquet", 3, 2),
    ]
    assert read_table(path, made_by="data_load").equals(rows(1, 2, 3, 4, 5))
    assert read_table(path, made_by="data_load", columns=["b"]).columns.tolist() == ["b"]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([7], [(0, 7)]),
        ([1, 3, 1, 2], [(0, 3), (3, 3), (6, 1)]),
        ([5, 2], [(0, 6), (6, 1)]),
        ([1, 1, 5], [(0, 3), (3, 4)]),
        ([3, 4], [(0, 3), (3, 4)]),
    ],
)
def test_blocks_do_not_depend_on_the_parts(tmp_path: Path, sizes: list[int], expected: list[tuple[int, int]]) -> None:
    columns = {"a": [1, None, 3, 4, 5, None, 7], "b": list("abcdefg"), "c": pd.date_range("2026", periods=7)}
    pieces = np.split(np.arange(7), np.cumsum(sizes)[:-1])
    parts = write_table(tmp_path / "t.parquet", *(pd.DataFrame(columns).iloc[piece] for piece in pieces))
    found = list_blocks(parts, 3)
    assert [(blocks.start, blocks.n_rows) for blocks in found] == expected
    read = pd.concat([blocks.read() for blocks in found], ignore_index=True)
    pd.testing.assert_frame_equal(read, read_table(tmp_path / "t.parquet", made_by="data_load"))


def test_blocks_are_read_from_several_row_groups(tmp_path: Path) -> None:
    rows(*range(10)).to_parquet(tmp_path / "t.parquet", row_group_size=2)
    (blocks,) = list_blocks(list_parts(tmp_path / "t.parquet", made_by="data_load"), 3)
    assert blocks.read(["a"])["a"].tolist() == list(range(10))


def test_blocks_of_parts_with_other_columns_are_refused(tmp_path: Path) -> None:
    parts = write_table(tmp_path / "t.parquet", rows(1), rows(2).rename(columns={"b": "c"}))
    with pytest.raises(MissingInputError, match="cannot be read as Parquet"):
        list_blocks(parts, 3)[0].read()


def test_a_table_without_rows_has_an_empty_block(tmp_path: Path) -> None:
    rows().to_parquet(tmp_path / "t.parquet")
    (blocks,) = list_blocks(list_parts(tmp_path / "t.parquet", made_by="data_load"), 3)
    assert len(blocks.read()) == 0


def test_a_part_without_rows_is_left_out(tmp_path: Path) -> None:
    parts = write_table(tmp_path / "t.parquet", rows(), rows(7))
    assert [part.n_rows for part in parts] == [1]
    assert (tmp_path / "t.parquet").is_file()


def test_a_folder_replaces_a_file_and_a_file_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for n_parts in (1, 3, 2, 1):
        assert len(write_table(path, *[rows(1)] * n_parts)) == n_parts
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, rows(1), rows(2))

    def fail() -> None:
        with new_table(path) as folder:
            write_part(rows(9), folder, 0)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert read_table(path, made_by="data_load")["a"].tolist() == [1, 2]
    assert list(tmp_path.iterdir()) == [path]


def test_a_late_task_writes_nothing_after_the_end_of_its_stage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_part(rows(1), tmp_path / "removed", 0)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_stage_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".t-abcd1234.parquet").mkdir()
    write_table(tmp_path / "t.parquet", rows(1), rows(2))
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_parts_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    with new_table(tmp_path / "t.parquet") as folder:
        for number in (99_999, 100_000):
            write_part(rows(number), folder, number)
    assert read_table(tmp_path / "t.parquet", made_by="data_load")["a"].tolist() == [99_999, 100_000]


def test_a_column_of_lists_has_one_type_in_all_parts(tmp_path: Path) -> None:
    tables = [pd.DataFrame({"a": [1, 2], "list": column}) for column in ([["x"], None], [None, None])]
    types = {"list": pa.list_(pa.string())}
    with new_table(tmp_path / "t.parquet") as folder:
        for number, table in enumerate(tables):
            write_part(table, folder, number, types)
    with new_table(tmp_path / "copy.parquet") as folder:
        for part in list_parts(tmp_path / "t.parquet", made_by="data_load"):
            read = part.read()
            write_part(read, folder, part.number, part.types_of_objects(read))
    assert read_table(tmp_path / "copy.parquet", made_by="featurize")["list"].isna().tolist() == [
        False,
        True,
        True,
        True,
    ]


def test_what_a_killed_worker_had_begun_is_removed(tmp_path: Path) -> None:
    with new_table(tmp_path / "t.parquet") as folder:
        write_part(rows(1), folder, 0)
        write_part(rows(2), folder, 1)
        (folder / ".part-00001-abc.parquet").write_bytes(b"PAR1")
    assert sorted(path.name for path in (tmp_path / "t.parquet").iterdir()) == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]


def test_a_missing_an_empty_and_a_damaged_table_name_the_stage_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"t\.parquet is missing; stage data_load makes it"):
        list_parts(tmp_path / "t.parquet", made_by="data_load")
    (tmp_path / "empty.parquet").mkdir()
    with pytest.raises(MissingInputError, match="has no parts; stage featurize makes it"):
        list_parts(tmp_path / "empty.parquet", made_by="featurize")
    (tmp_path / "empty.parquet" / "part-00000.parquet").write_text("no")
    with pytest.raises(MissingInputError, match="cannot be read as Parquet"):
        list_parts(tmp_path / "empty.parquet", made_by="featurize")


def sum_of(part: Part, column: str) -> int:
    return int(part.read([column])[column].sum())


def test_results_come_in_the_order_of_the_parts(tmp_path: Path) -> None:
    parts = write_table(tmp_path / "t.parquet", rows(1, 2), rows(30), rows(400))
    assert list(map_parts(partial(sum_of, column="a"), parts, Engine(), "sum")) == [3, 30, 400]
