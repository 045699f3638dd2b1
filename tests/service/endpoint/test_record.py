import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from src.config.service import Record
from src.data.kinds import convert_columns
from src.service.endpoint import record
from src.service.endpoint.predictor import Prediction
from src.service.endpoint.record import Recorder, is_sampled

COLUMNS: dict[str, dict[str, Any]] = {
    "size": {"kind": "number"},
    "is <b>new</b>": {"kind": "boolean"},
    "day": {"kind": "date"},
    "name": {"kind": "category"},
}
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
IN_NAMESPACE = ("unshare", "--map-root-user", "--mount", "sh", "-euc")


def make_settings(**changes: Any) -> Record:
    return Record.model_validate({"sample": 1.0, "exclude": [], "max_mb": 10} | changes)


def make_rows(n_rows: int = 2) -> pd.DataFrame:
    raw = pd.DataFrame(
        {"size": [1.5, None], "is <b>new</b>": [1, None], "day": ["2026-01-02", None], "name": ["ä'\n", None]}
    )
    return convert_columns(pd.concat([raw] * (n_rows // 2 + 1), ignore_index=True)[:n_rows], COLUMNS)


def make_served(model: str, classes: Any = None, columns: Any = COLUMNS) -> Any:
    predictor = SimpleNamespace(classes=classes, columns=columns)
    return SimpleNamespace(label=model, about={"model_md5": "0" * 32}, predictor=predictor)


def put(recorder: Recorder, request: str = "r1", n_rows: int = 2, model: str = "iris/3") -> None:
    probabilities = np.tile([0.25, 0.75], (n_rows, 1))
    prediction = Prediction(np.array(["no", "yes"] * n_rows)[:n_rows], probabilities)
    recorder.put([(request, n_rows)], make_served(model, ["no", "yes"]), make_rows(n_rows), prediction)


def read(folder: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*/*.parquet"))], ignore_index=True)


def test_a_row_is_recorded_with_its_id_model_inputs_and_answer(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, make_settings(), clock=lambda: NOON)
    put(recorder)
    recorder.close()
    (path,) = tmp_path.glob("2026-05-04/*.parquet")
    schema = pq.read_schema(path)
    assert {name: str(kind) for name, kind in zip(schema.names, schema.types, strict=True)} == {
        "id": "string",
        "time": "timestamp[us, tz=UTC]",
        "model": "string",
        "model_md5": "string",
        "prediction": "string",
        "probability.no": "double",
        "probability.yes": "double",
        "input.size": "double",
        "input.is <b>new</b>": "bool",
        "input.day": "timestamp[us]",
        "input.name": "string",
    }
    first, second = pq.read_table(path).to_pylist()
    assert first == {
        "id": "r1/0",
        "time": NOON,
        "model": "iris/3",
        "model_md5": "0" * 32,
        "prediction": "no",
        "probability.no": 0.25,
        "probability.yes": 0.75,
        "input.size": 1.5,
        "input.is <b>new</b>": True,
        "input.day": pd.Timestamp("2026-01-02"),
        "input.name": "ä'\n",
    }
    assert [second[f"input.{name}"] for name in COLUMNS] == [None] * 4
    assert recorder.n_recorded == 2


def test_a_regression_is_recorded_as_numbers(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, make_settings())
    recorder.put([("a", 1), ("b", 1)], make_served("m/1"), make_rows(), Prediction(np.array([1.0, 2.5]), None))
    recorder.close()
    assert read(tmp_path)["prediction"].tolist() == [1.0, 2.5]


def test_classes_that_are_numbers_are_recorded_as_text(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, make_settings())
    served = make_served("m/1", np.array([0, 1]))
    recorder.put([("a", 1), ("b", 1)], served, make_rows(), Prediction(np.array([0, 1]), np.eye(2)))
    recorder.close()
    rows = read(tmp_path)
    assert rows["prediction"].tolist() == ["0", "1"]
    assert rows["probability.1"].tolist() == [0.0, 1.0]


def test_many_requests_share_a_file_and_each_day_has_its_own(tmp_path: Path) -> None:
    times = iter([*[NOON] * 50, *[NOON.replace(day=5)] * 50])
    recorder = Recorder(tmp_path, make_settings(), clock=lambda: next(times))
    for number in range(100):
        put(recorder, f"r{number}")
    recorder.close()
    assert sorted(path.parent.name for path in tmp_path.glob("*/*")) == ["2026-05-04", "2026-05-05"]
    assert len(read(tmp_path)) == 200


def test_a_new_model_with_other_columns_gets_a_file_of_its_own(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, make_settings())
    put(recorder)
    other = {"length": {"kind": "number"}}
    X = pd.DataFrame({"length": [1.0]})
    recorder.put([("x", 1)], make_served("m/2", columns=other), X, Prediction(np.array([1.0]), None))
    recorder.close()
    names = [pq.read_schema(path).names for path in tmp_path.glob("*/*")]
    assert sorted("input.length" in of for of in names) == [False, True]


def test_rows_are_written_while_requests_arrive(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, make_settings(), seconds_per_file=0)
    put(recorder)
    wait_until(lambda: recorder.n_recorded == 2)
    assert len(read(tmp_path)) == 2
    recorder.close()


def test_excluded_columns_are_never_recorded(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, make_settings(exclude=["name", "absent"]))
    put(recorder)
    recorder.close()
    assert "input.name" not in read(tmp_path)
    assert not any("ä".encode() in path.read_bytes() for path in tmp_path.glob("*/*"))


def test_a_sample_holds_whole_requests_and_all_workers_agree(tmp_path: Path) -> None:
    for worker in ("a", "b"):
        recorder = Recorder(tmp_path / worker, make_settings(sample=0.3))
        for number in range(1000):
            put(recorder, f"r{number}")
        recorder.close()
    first, second = read(tmp_path / "a"), read(tmp_path / "b")
    assert first["id"].tolist() == second["id"].tolist()
    assert set(first["id"].str.partition("/")[0].value_counts()) == {2}
    assert 0.25 < len(first) / 2000 < 0.35
    # An id may be a number.
    assert {is_sampled(str(number), 0.3) for number in range(50)} == {True, False}


def test_a_sample_of_none_records_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, make_settings(sample=0.0))
    put(recorder)
    recorder.close()
    assert not list(tmp_path.iterdir())


def test_rows_beyond_the_queue_are_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_free = threading.Event()
    write = pq.write_table

    def write_slowly(*args: Any, **kwargs: Any) -> None:
        is_free.wait(10)
        write(*args, **kwargs)

    monkeypatch.setattr(record.pq, "write_table", write_slowly)
    recorder = Recorder(tmp_path, make_settings(), seconds_per_file=0, max_waiting_rows=10)
    for number in range(100):
        put(recorder, f"r{number}")
    assert recorder.n_dropped == 190
    is_free.set()
    recorder.close()
    assert recorder.n_recorded == len(read(tmp_path)) == 10


def test_what_cannot_be_recorded_is_counted_and_raises_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    recorder = Recorder(tmp_path / "file", make_settings(), seconds_per_file=0)
    for number in range(3):
        put(recorder, f"r{number}")
        wait_until(lambda count=2 * number + 2: recorder.n_failed == count)
    recorder.close()
    assert [entry.levelno for entry in caplog.records] == [logging.ERROR]
    assert "requests are not recorded: NotADirectoryError" in caplog.text


def test_the_oldest_days_are_deleted_beyond_the_limit(tmp_path: Path) -> None:
    for day in ("2026-05-01", "2026-05-02", "2026-05-03"):
        (tmp_path / day).mkdir()
        (tmp_path / day / "x.parquet").write_bytes(bytes(500_000))
    (tmp_path / "notes.txt").write_bytes(bytes(5_000_000))
    recorder = Recorder(tmp_path, make_settings(max_mb=1), clock=lambda: NOON)
    put(recorder)
    recorder.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2026-05-02", "2026-05-03", "2026-05-04", "notes.txt"]


def test_a_single_day_stays_below_the_limit_too_without_what_another_worker_is_writing(tmp_path: Path) -> None:
    day = tmp_path / "2026-05-04"
    day.mkdir()
    for hour in ("01", "02", "03"):
        (day / f"{hour}0000-1-1.parquet").write_bytes(bytes(500_000))
    (day / ".03-1.parquet").touch()
    recorder = Recorder(tmp_path, make_settings(max_mb=1), clock=lambda: NOON)
    put(recorder)
    recorder.close()
    assert sorted(path.name[:2] for path in day.iterdir()) == [".0", "02", "03", "12"]


def test_workers_that_share_a_folder_lose_no_row(tmp_path: Path) -> None:
    recorders = [Recorder(tmp_path, make_settings(), seconds_per_file=0) for _ in range(3)]
    for number in range(30):
        put(recorders[number % 3], f"r{number}")
    for recorder in recorders:
        recorder.close()
    assert len(set(read(tmp_path)["id"])) == 60


FULL_DISK = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from src.service.endpoint.record import Recorder
from tests.service.endpoint.test_record import make_settings, put, wait_until
folder = Path(sys.argv[1])
recorder = Recorder(folder / "requests", make_settings(), seconds_per_file=0)
filler = folder / "filler"
with filler.open("wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)): pass
    except OSError:
        pass
for number in range(2):
    put(recorder, f"r{number}")
    wait_until(lambda: recorder.n_failed == 2 * number + 2)
filler.unlink()
put(recorder, "later")
recorder.close()
print(recorder.n_failed, recorder.n_recorded, len(list(folder.glob("requests/*/*.parquet"))))
"""


def test_full_disk_is_logged_once_and_recording_goes_on_with_more_space(tmp_path: Path) -> None:
    script = f"mount -t tmpfs -o size=1m tmpfs '{tmp_path}'; '{sys.executable}' -c '{FULL_DISK}' '{tmp_path}'"
    result = subprocess.run([*IN_NAMESPACE, script], check=False, capture_output=True, text=True)
    if "mount" in result.stderr or "unshare" in result.stderr:
        pytest.skip("this system allows only root to mount a file system")
    assert result.stdout == "4 2 1\n", result.stderr
    assert result.stderr.count("requests are not recorded") == 1
    assert "No space left on device" in result.stderr


def wait_until(is_true: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(1000):
        if is_true():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not happen within 10 s")
