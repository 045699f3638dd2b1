"""A table in parts is the same table: rows, kinds and errors."""

import gzip
import io
import itertools
import json
import pickle
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.compute.engine import SCRATCH_DIR
from src.config.data_load import TableFile
from src.config.schema import Config
from src.data_load import segments
from src.data_load.read_file import read_file, read_parts
from src.data_load.segments import cut_segments, find_last_row_end
from src.errors import DataError
from src.stages.data_load import data_load
from tests.config.conftest import Load, load

__all__ = ["load"]

N_ROWS = 40
ROWS_PER_PART = 7
Columns = dict[str, list[Any]]
LABELS = ["x", "y"] * (N_ROWS // 2)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def late(value: object, usual: Callable[[int], object] = lambda row: row % 9) -> list[object]:
    """Return a column with a value of another kind in its last part but one."""
    return [*map(usual, range(N_ROWS - 6)), value, *map(usual, range(5))]


def some(column: list[Any]) -> list[Any]:
    """Remove some values, and all of the second part."""
    return [None if row % 5 == 0 or 7 <= row < 14 else value for row, value in enumerate(column)]


@pytest.fixture
def outcome(load: Load) -> Callable[..., Any]:
    """Run the stage in parts of some rows; return what it writes and records, or its error."""

    def run(name: str, rows_per_part: int, **changes: Any) -> Any:
        settings = {
            "tracking.enabled": False,
            "featurize.features": {},
            "data_load.source": {"kind": "file"},
            "data_load.external_path": f"data/external/{name}",
            "data_load.rows_per_part": rows_per_part,
        }
        config: Config = load(settings | changes)
        Path("data/schema.json").unlink(missing_ok=True)
        try:
            result = data_load(config)
        except DataError as error:
            return str(error)
        assert result is not None
        written = Path("data/raw/dataset.parquet")
        files = sorted(written.iterdir()) if written.is_dir() else [written]
        tables = [pq.read_table(file).replace_schema_metadata() for file in files]
        assert all(0 < table.num_rows <= rows_per_part for table in tables)
        assert len({str(table.schema) for table in tables}) == 1
        # Texts, so that missing numbers are equal.
        return str(pa.concat_tables(tables).to_pydict()), Path("data/schema.json").read_text(), result

    return run


def compare(outcome: Callable[..., Any], name: str, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Any:
    whole = outcome(name, 1000, **changes)
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 50)
    assert outcome(name, ROWS_PER_PART, **changes) == whole
    assert [path.name for path in Path("data/raw").iterdir() if path.name != "dataset.parquet"] == []
    return whole


def write_csv(columns: Columns, name: str = "t.csv") -> str:
    def cell(value: object) -> str:
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text

    lines = [",".join(columns), *(",".join(map(cell, row)) for row in zip(*columns.values(), strict=True))]
    Path("data/external").mkdir(parents=True, exist_ok=True)
    content = "".join(f"{line}\n" for line in lines).encode()
    Path("data/external", name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    return name


TEXTS: Columns = {
    "level": some(["a", "b"] * 20),
    "many": [f"level {row}" for row in range(N_ROWS)],
    "words": [f"some words of a text {row}" for row in range(N_ROWS)],
    "quoted": [f'line {row % 3}\nof "{row}", and' for row in range(N_ROWS)],
    "code": [f"{row:03}" for row in range(N_ROWS)],
    "late text": late("x", lambda row: "" if row else "y"),
    "first text": ["x", *range(N_ROWS - 1)],
    "nothing": [None] * N_ROWS,
    "nothing but one": late("x", lambda _: None),
    "time": [f"{row % 24:02}:30" for row in range(N_ROWS)],
    "late time": late("12:30", lambda _: None),
}
NUMBERS: Columns = {
    "whole": list(range(N_ROWS)),
    "missing": some(list(range(N_ROWS))),
    "part": late(0.5),
    "yes or no": some(["yes", "No"] * 20),
    "boolean": some(["true", "false"] * 20),
    "late boolean": late("true", lambda row: row % 2),
    "large": [2**60 + row for row in range(N_ROWS)],
    "large and missing": some([2**60 + row for row in range(N_ROWS)]),
    "late and large": late(2**60 + 1, lambda row: row if row % 3 else None),
    "larger": late(2**80),
    "large and fraction": late(0.5, lambda row: 2**60 + row),
    "date": some([f"2024-01-{row % 28 + 1:02}" for row in range(N_ROWS)]),
    "late time of a date": late("2024-01-01 10:00:00", lambda row: f"2024-01-{row % 28 + 1:02}"),
    "late zone": late("2024-01-01 10:00:00Z", lambda _: None),
    "fraction of a second": late("2024-01-01 10:00:00.25", lambda row: f"2024-01-01 10:00:{row:02}"),
}


@pytest.mark.parametrize(("columns", "name"), [(TEXTS, "t.csv"), (NUMBERS, "t.csv.gz")], ids=["texts", "numbers"])
def test_csv_in_parts_is_the_same_table(
    outcome: Callable[..., Any], columns: Columns, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name: {"kind": "high_cardinality"} for name in ("first text", "larger", "late time of a date")}
    known |= {name: {"kind": "high_cardinality"} for name in ("late boolean", "fraction of a second")}
    write_csv({**columns, "target": LABELS}, name)
    changes = {"data_load.columns": {name: kind for name, kind in known.items() if name in columns}}
    rows, schema, result = compare(outcome, name, monkeypatch, **changes)
    assert result.metrics["n_rows"] == N_ROWS
    kinds = {name: column["kind"] for name, column in json.loads(schema)["columns"].items()}
    assert kinds.get("late and large", "high_cardinality") == "high_cardinality"
    assert "1152921504606846977" in rows or "larger" not in columns


@pytest.mark.parametrize("is_folder", [False, True])
def test_parquet_in_parts_is_the_same_table(
    outcome: Callable[..., Any], is_folder: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(range(N_ROWS))
    rows = pa.table(
        {
            "small": pa.array(some(whole), pa.int8()),
            "boolean": some([True, False] * 20),
            "late boolean": late(True, lambda _: None),
            "large": pa.array(some([2**60 + row for row in whole])),
            "decimal": pa.array([Decimal(2**60 + row) for row in whole], pa.decimal128(38, 0)),
            "decimal and missing": pa.array(some([Decimal(row) for row in whole]), pa.decimal128(38, 0)),
            "category": pa.array([f"level {row // 7}" for row in whole]).dictionary_encode(),
            "ignored category": pa.array([f"level {row // 7}" for row in whole]).dictionary_encode().cast(pa.string()),
            "list": pa.array(some([[row] for row in whole]), pa.list_(pa.int64())),
            "late list": pa.array(late([1], lambda _: []), pa.list_(pa.int64())),
            "map": pa.array([[("k", row)] for row in whole], pa.map_(pa.string(), pa.int64())),
            "": whole,
            "target": LABELS,
        }
    )
    path = Path("data/external/t.parquet")
    (path if is_folder else path.parent).mkdir(parents=True)
    if is_folder:
        pq.write_table(rows.slice(0, 11), path / "a.parquet")
        pq.write_table(rows.slice(11), path / "b.parquet")
    else:
        pq.write_table(rows, path, row_group_size=16)
    changes = {"data_load.columns": {"boolean": {"kind": "ignore"}, "ignored category": {"kind": "ignore"}}}
    _, schema, result = compare(outcome, path.name, monkeypatch, **changes)
    assert result.metrics == {"n_rows": N_ROWS, "n_columns": 13, "n_rows_without_target": 0}
    assert json.loads(schema)["columns"]["late list"] == {"kind": "ignore"}


@pytest.mark.parametrize("name", ["t.jsonl", "iris"])
def test_table_that_is_read_at_once_is_divided_too(
    outcome: Callable[..., Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"data_load.source": {"kind": "sklearn", "name": name}} if name == "iris" else {}
    Path("data/external").mkdir(parents=True)
    lines = ({"a": row, "b": f"level {row % 3}", "target": row % 2} for row in range(N_ROWS))
    Path("data/external/t.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert not isinstance(compare(outcome, name, monkeypatch, **changes), str)
    assert Path("data/raw/dataset.parquet").is_dir()


@pytest.mark.parametrize(
    ("target", "changes", "part_of_error"),
    [
        (some([0, 1] * 20), {"data_load.missing_target": "drop"}, ""),
        (some(["yes", "no"] * 20), {"data_load.missing_target": "drop"}, ""),
        (some([2**60, 2**60 + 1] * 20), {"data_load.missing_target": "drop"}, ""),
        (some([0, 1] * 20), {}, "target 'target' is missing in 14 of 40 rows; "),
        (late(0.5), {}, "holds fractions, such as 0.5, which cannot be classes"),
        (["x"] * N_ROWS, {}, "holds only the value 'x'"),
        ([None] * N_ROWS, {"data_load.missing_target": "drop"}, "has no rows"),
        (late("perhaps", lambda row: "yes" if row % 2 else "no"),
         {"data_load.columns": {"target": {"kind": "boolean"}}},
         "1 of 40 values are not booleans, for example 'perhaps' in row 35; fix"),
    ],
)  # fmt: skip
def test_target_is_the_same_in_parts(
    outcome: Callable[..., Any],
    target: list[object],
    changes: dict[str, Any],
    part_of_error: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = write_csv({"a": list(range(N_ROWS)), "date": late("soon", lambda _: "2024-01-31"), "target": target})
    changes = {"data_load.columns": {"date": {"kind": "category"}}} | changes
    found = compare(outcome, name, monkeypatch, **changes)
    assert part_of_error in found if part_of_error else not isinstance(found, str)


def test_problems_of_all_parts_are_reported_together(
    outcome: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ages = [-1 if row in (3, 10, 33, 38) else row for row in range(N_ROWS)]
    columns = {"age": ages, "size": late("XXL", lambda _: "S"), "day": late("soon", lambda _: "2024-01-31")}
    name = write_csv({**columns, "target": some(LABELS)})
    known = {
        "age": {"kind": "number", "min": 0, "max": 36},
        "size": {"kind": "ordinal", "order": ["S", "M"]},
        "day": {"kind": "date"},
    }
    changes = {"data_load.columns": known, "data_load.missing_target": "drop"}
    error = compare(outcome, name, monkeypatch, **changes)
    assert error.splitlines()[1:] == [
        "  column 'age': 3 of 26 values are below min = 0.0, for example -1.0 in row 3, -1.0 in row 21, -1.0 in row 25",
        "  column 'age': 2 of 26 values are above max = 36.0, for example 37.0 in row 24, 39.0 in row 26",
        "  column 'size': 1 of 26 values are not in order = ['S', 'M'], for example 'XXL' in row 22",
        "  column 'day': 1 of 26 values are not dates, for example 'soon' in row 22 (write dates as ISO 8601, such as "
        "2024-01-31, or declare their format, such as %d.%m.%Y)",
    ]


def test_few_other_values_among_numbers_of_all_parts_are_found(
    outcome: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"a": late("?", lambda row: row + 100), "target": LABELS}
    error = compare(outcome, write_csv(columns), monkeypatch)
    assert error.startswith("column 'a' holds numbers and, in 1 of 40 rows, other values, for example '?'; ")


def test_part_can_be_read_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{row},{row % 2 or 'x'}\n" for row in range(20)))
    with read_parts(path, TableFile(), [], "", ROWS_PER_PART) as table:
        parts = [pickle.loads(pickle.dumps(part)) for part in table.parts]  # noqa: S301 - of this test
        assert [(part.number, part.start, part.n_rows) for part in parts] == [(0, 0, 7), (1, 7, 7), (2, 14, 6)]
        assert pd.concat([part.read(["b", "a"]) for part in parts])["a"].tolist() == list(range(20))
        assert parts[1].read(["b"])["b"].tolist() == ["1", "x"] * 3 + ["1"]
    assert list(SCRATCH_DIR.iterdir()) == []


def test_files_of_a_process_that_was_killed_are_deleted(tmp_path: Path) -> None:
    # Linux has no larger process id.
    leftover = SCRATCH_DIR / f"stage-{2**22 + 1}-abc" / "1.arrow"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("")
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n2\n")
    with read_parts(path, TableFile(), [], "", 1):
        assert not leftover.parent.exists()


def test_table_of_one_part_needs_no_files(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,x\n2,y\n")
    with read_parts(path, TableFile(), [], "", 2) as table:
        assert table.parts[0].rows is not None
    assert not SCRATCH_DIR.exists()


def test_first_rows_can_be_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n" + "1\n" * 20)
    assert len(read_file(path, TableFile(), max_rows=5)) == 5


def test_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pa.ipc, "new_file", fail)
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n2\n")
    with pytest.raises(DataError, match=r"^cannot write temporary files to .*tmp: .*No space left on device\.$"):
        read_parts(path, TableFile(), [], "", 1)
    assert list(SCRATCH_DIR.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n" + "1,2\n" * 30 + "3\n", " cannot be read as a table: row 32 has 1 field instead of 2."),
        ("\n\na,b\n" + "1,2\n" * 30 + "\n3,4,5\n", " cannot be read as a table: row 34 has 3 fields instead of 2."),
        (b"a,b\n" + b"1,x\n" * 30 + b"1,caf\xe9\n", " is not valid utf-8 (column 'b'); set data_load.source.encoding "),
        ("a,b\n" + "1,x\n" * 30 + '1,"y\n' + "1,x\n" * 5,
         ": a quote in column 'b' of row 32 is not closed, so that all lines below it belong to its value; "),
        ("a,a\n" + "1,x\n" * 30, ": column 'a' appears more than once; "),
    ],
)  # fmt: skip
def test_wrong_text_is_refused_wherever_it_is(
    tmp_path: Path, content: str | bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    how = TableFile(skip_rows=2 if content[:1] == "\n" else 0)
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 20)
    for rows_per_part in (7, 1000):
        with pytest.raises(DataError) as caught:
            read_parts(path, how, [], "", rows_per_part)
        assert str(caught.value).startswith(f"{path}{message}")
    assert not SCRATCH_DIR.exists() or list(SCRATCH_DIR.iterdir()) == []


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    "rows",
    [
        [b"1,2\n", b"3,4\r\n", b"5,6\n"],
        [b"1,2\r", b"3,4\r", b"5,6\r"],
        [b'"1\n2",x\n', b'"3""\n",""\n', b'"\n""","5\n"\n'],
        [b'5" 3,x\n', b'"a"b"\n', b'"1,\n"x\n', b'y,""""\n'],
    ],
)
def test_segments_end_where_rows_end(bom: bytes, rows: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    content = bom + b"".join(rows)
    ends = [len(bom) + sum(map(len, rows[:number])) for number in range(1, len(rows) + 1)]
    for size in range(len(bom) + 1, len(content) + 1):
        begun = find_last_row_end(content[:size], b",", len(bom))
        assert begun in (*ends, 0)
        assert begun == max((end for end in ends if end <= size), default=0) or content[begun - 2 : begun] == b"\r\n"
        monkeypatch.setattr(segments, "SEGMENT_BYTES", size)
        assert b"".join(map(bytes, cut_segments(io.BytesIO(content), b","))) == content


VALUES = ["", "1", "true", "2024-01-31", "12:30", "2024-01-31 10:00:00.5", "2024-01-31 10:00:00Z", "1.5", "x"]


def test_type_suits_the_rows_of_all_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column gets the type that pyarrow infers for the whole file, whatever its segments hold."""
    columns = list(itertools.product(VALUES, VALUES))
    lines = [",".join(f"c{at}" for at in range(len(columns))), *map(",".join, zip(*columns, strict=True))]
    path = tmp_path / "t.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    whole = read_file(path, TableFile())
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 1)
    pd.testing.assert_frame_equal(read_file(path, TableFile()), whole)
    with read_parts(path, TableFile(), [], "", 1) as table:
        parts = pd.concat([part.read() for part in table.parts], ignore_index=True)
    pd.testing.assert_frame_equal(parts, whole)
