import gzip
import hashlib
import io
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from src.config.data_load import TableFile
from src.data.columns import read_as_text
from src.data_load.read_file import read_file
from src.errors import ConfigError, DataError, FeatureError
from src.featurize.features import prepare_rows
from src.predict import main, predict_file
from src.versions.load import load_table_file

COLUMNS: dict[str, dict[str, Any]] = {
    "n": {"kind": "number"},
    "code": {"kind": "category"},
    "flag": {"kind": "boolean"},
    "day": {"kind": "date", "format": "%d.%m.%Y"},
    "size": {"kind": "ordinal", "order": ["S", "M"]},
}
FEATURES = {"month": {"date_part": {"column": "day", "part": "month"}}}
RAW = pd.DataFrame(
    {
        "n": [1.0, 2.5, np.nan, 4.0] * 5,
        "code": ["007", "7", None, "None"] * 5,
        "flag": [True, False, None, True] * 5,
        "day": ["31.01.2024", "01.02.2024", None, "01.12.2024"] * 5,
        "size": ["S", "M", None, "S"] * 5,
    }
)
Y = np.array(["a", "b", "a", "b"] * 5)


def make_model(estimator: Any, y: Any = Y) -> Pipeline:
    row_wise = FunctionTransformer(prepare_rows, kw_args={"columns": COLUMNS, "features": FEATURES})
    encode = ColumnTransformer([("code", OneHotEncoder(handle_unknown="ignore"), ["code"])])
    return Pipeline([("features", row_wise), ("preprocess", encode), ("estimator", estimator)]).fit(RAW, y)


def write(path: Path, table: pd.DataFrame) -> Path:
    if path.suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True, date_format="iso")
    elif path.suffix in (".feather", ".parquet"):
        getattr(table, f"to_{path.suffix[1:]}")(path)
    elif path.suffix == ".xlsx":
        table.to_excel(path, index=False)
    elif path.suffix == ".txt":
        table.to_csv(path, index=False, sep=" ", na_rep="NA")
    else:
        table.to_csv(path, index=False)
    return path


def predictions(model: Pipeline, path: Path) -> pd.DataFrame:
    output = path.with_name("predictions.parquet")
    assert predict_file(model, path, output) == len(pd.read_parquet(output))
    return pd.read_parquet(output)


@pytest.fixture
def model() -> Pipeline:
    return make_model(LogisticRegression())


def test_csv_parquet_and_the_model_itself_agree(model: Pipeline, tmp_path: Path) -> None:
    RAW.to_parquet(tmp_path / "rows.parquet")
    from_parquet = predictions(model, tmp_path / "rows.parquet")
    from_csv = predictions(model, write(tmp_path / "rows.csv", RAW))
    pd.testing.assert_frame_equal(from_csv, from_parquet)
    assert from_csv["prediction"].tolist() == model.predict(RAW).tolist()
    assert list(from_csv.columns) == ["prediction", "probability_a", "probability_b"]
    np.testing.assert_array_equal(from_csv[["probability_a", "probability_b"]], model.predict_proba(RAW))


LIKE_TRAINING = TableFile(separator=";", decimal=",", encoding="cp1252", na_values=["?"])
TEXT_LIKE_TRAINING = (
    "n;code;flag;day;size\n1,0;007;True;31.01.2024;S\n2,5;7;0,0;01.02.2024;M\n?;?;NA;?;?\n4,0;None;True;01.12.2024;S\n"
)


def received(path: Path, how: TableFile) -> pd.DataFrame:
    """Return the rows that the model receives."""
    got = []

    class Recorder(DummyClassifier):
        def predict(self, X: pd.DataFrame) -> Any:
            got.append(X)
            return super().predict(X)

    row_wise = FunctionTransformer(prepare_rows, kw_args={"columns": COLUMNS, "features": FEATURES})
    model = Pipeline([("features", row_wise), ("estimator", Recorder())]).fit(RAW, Y)
    predict_file(model, path, path.with_name("predictions.csv"), how=how)
    return pd.concat(got)


@pytest.mark.parametrize(
    ("name", "separator", "compress"),
    [("rows.csv", ";", bytes), ("rows.csv.gz", ";", gzip.compress), ("rows.tsv", "auto", bytes)],
)
def test_rows_written_like_the_training_table_are_the_same_rows(
    tmp_path: Path, name: str, separator: str, compress: Callable[[bytes], bytes]
) -> None:
    how = LIKE_TRAINING.model_copy(update={"separator": separator})
    content = TEXT_LIKE_TRAINING if separator == ";" else TEXT_LIKE_TRAINING.replace(";", "\t")
    (tmp_path / name).write_bytes(compress(content.encode("cp1252")))
    found = received(tmp_path / name, how)
    pd.testing.assert_frame_equal(found, received(write(tmp_path / "plain.csv", RAW.head(4)), TableFile()))
    assert found.loc[2, list(RAW.columns)].isna().all()


MESSY = pd.DataFrame(
    {
        "n": pd.array([1, None, -999, 4], dtype="Int64"),
        "code": ["007", "7 b", None, "2024-01-31"],
        "flag": [True, None, False, True],
        "day": ["31.01.2024", None, "2.2.2024", "01.12.2024"],
        "size": ["S", "M", None, "k.A."],
        "left": ["2024-01-31", "x", None, "1"],
    }
)


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".feather", ".parquet", ".xlsx"])
def test_rows_are_the_same_from_any_file_and_as_in_training(tmp_path: Path, suffix: str) -> None:
    how = TableFile(na_values=["k.A.", "-999"], separator="whitespace" if suffix == ".txt" else "auto")
    expected = received(write(tmp_path / "rows.csv", MESSY), TableFile(na_values=["k.A.", "-999"]))
    assert expected["n"].isna().tolist() == [False, True, True, False]
    assert expected["size"].isna().tolist() == [False, False, True, True]
    path = write(tmp_path / f"röws 😀{suffix}", MESSY)
    pd.testing.assert_frame_equal(received(path, how), expected)
    trained = prepare_rows(read_file(path, how, read_as_text(COLUMNS)), COLUMNS, FEATURES)
    pd.testing.assert_frame_equal(trained[expected.columns], expected, check_dtype=False)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".feather", ".parquet", ".xlsx"])
def test_predictions_and_kept_columns_are_the_same_from_any_file(model: Pipeline, tmp_path: Path, suffix: str) -> None:
    rows = RAW.assign(row=[f"2024-01-{row + 1:02}" for row in range(len(RAW))])
    output = tmp_path / "predictions.csv"
    assert predict_file(model, write(tmp_path / f"rows{suffix}", rows), output, chunk_rows=7, keep=["row"]) == 20
    found = pd.read_csv(output)
    assert found["row"].tolist() == rows["row"].tolist()
    assert found["prediction"].tolist() == model.predict(RAW).tolist()
    np.testing.assert_array_equal(found[["probability_a", "probability_b"]], model.predict_proba(RAW))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", "", " is empty."),
        ("rows.jsonl", '{"n": 1}\n{', ": line 2 is not a JSON object: "),
        ("rows.jsonl", '{"n": 1}\n', ": missing column code, flag, day, size; the model needs "),
        ("rows.feather", "x", " is no Arrow file."),
        ("rows.xlsx", "x", " is no Excel workbook, or a damaged one: "),
    ],
)
def test_unreadable_typed_file_is_named(model: Pipeline, tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as caught:
        predict_file(model, tmp_path / name, tmp_path / "predictions.csv")
    assert str(caught.value).startswith(f"{tmp_path / name}{message}")
    assert not (tmp_path / "predictions.csv").exists()


def test_declared_encoding_is_used(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes("n;code;flag;day;size\n1;Köln;;;\n".encode("cp1252"))
    assert received(tmp_path / "rows.csv", LIKE_TRAINING)["code"].tolist() == ["Köln"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (TableFile(), " is not valid utf-8 ("),
        (TableFile(encoding="utf-16"), " is not valid utf-16 ("),
        (TableFile(encoding="cp1252", separator=";"), " Check data_load.source.separator."),
    ],
)
def test_input_in_another_format_names_the_setting(
    model: Pipeline, tmp_path: Path, how: TableFile, message: str
) -> None:
    (tmp_path / "rows.csv").write_bytes("n,code,flag,day,size\n1,Köln,,,\n".encode("cp1252"))
    with pytest.raises(DataError) as caught:
        predict_file(model, tmp_path / "rows.csv", tmp_path / "predictions.csv", how=how)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["rows.sav", "rows.parquet.gz", "rows"])
def test_unknown_suffix_lists_the_known_ones(model: Pipeline, tmp_path: Path, name: str) -> None:
    with pytest.raises(
        DataError,
        match=r"must end in \.csv, \.tsv, \.txt, \.jsonl, .*, and text and JSON may also end in \.gz",
    ):
        predict_file(model, tmp_path / name, tmp_path / "predictions.csv")


# --- columns to keep ---


def test_kept_columns_come_first_as_they_were_written(model: Pipeline, tmp_path: Path) -> None:
    text = 'id,n,code,flag,day,size,note\n007,1.50,007,yes,,S,NA\n,"2",7,,,,"a ""b"", c"\n1e3,,,no,,M,\n'
    (tmp_path / "rows.csv").write_text(text)
    predict_file(model, tmp_path / "rows.csv", tmp_path / "out.csv", keep=["note", "id", "n", "id"])
    found = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    assert list(found)[:4] == ["note", "id", "n", "prediction"]
    assert found[["note", "id", "n"]].to_numpy().tolist() == [
        ["NA", "007", "1.50"],
        ['a "b", c', "", "2"],
        ["", "1e3", ""],
    ]
    without = predictions(model, tmp_path / "rows.csv")
    assert found["prediction"].tolist() == without["prediction"].tolist()


def test_kept_columns_do_not_change_with_the_format_of_numbers(model: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(TEXT_LIKE_TRAINING.encode("cp1252"))
    predict_file(model, tmp_path / "rows.csv", tmp_path / "out.csv", how=LIKE_TRAINING, keep=["n", "flag"])
    assert pd.read_csv(tmp_path / "out.csv", dtype=str)["n"].tolist() == ["1,0", "2,5", "?", "4,0"]


def test_kept_columns_of_parquet_keep_their_types(model: Pipeline, tmp_path: Path) -> None:
    more = {
        "id": pd.array([2**60 + 1, None] * 10, dtype="Int64"),
        "time": pd.Timestamp("2024-01-31 12:30", tz="UTC"),
        "kind": pd.Categorical(["x", "y"] * 10),
        "list": [[1, 2]] * 20,
    }
    path = write(tmp_path / "rows.parquet", RAW.assign(**more))
    predict_file(model, path, tmp_path / "out.parquet", keep=list(more), chunk_rows=7)
    found, source = pq.read_table(tmp_path / "out.parquet"), pq.read_table(path)
    for name in more:
        assert found[name].to_pylist() == source[name].to_pylist()
        assert found.schema.field(name).type == source.schema.field(name).type
    predict_file(model, path, tmp_path / "out.csv", keep=["id", "time"])
    first, second = (tmp_path / "out.csv").read_text().splitlines()[1:3]
    assert first.startswith(f"{2**60 + 1},2024-01-31 12:30:00+00:00,a")
    assert second.startswith(",2024-01-31 12:30:00+00:00,b")


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("nmae", r"--keep 'nmae': .*rows\.csv has no such column; it has prediction, probability_a, twice, twice, n,"),
        ("twice", r"rows\.csv: duplicate column twice; each name must occur once\."),
        ("prediction", r"--keep 'prediction': a column of the predictions has this name; rename yours\."),
        ("probability_a", r"--keep 'probability_a': a column of the predictions has this name"),
        ("\n" + "x" * 500, r"--keep '\\nxxx"),
    ],
)
def test_column_that_cannot_be_kept_is_named(model: Pipeline, tmp_path: Path, keep: str, message: str) -> None:
    (tmp_path / "rows.csv").write_text("prediction,probability_a,twice,twice,n,code,flag,day,size\nx,x,x,x,1,,,,\n")
    with pytest.raises(DataError, match=message) as caught:
        predict_file(model, tmp_path / "rows.csv", tmp_path / "out.csv", keep=[keep])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


# --- a folder of Parquet parts ---


def test_parts_of_a_folder_are_one_table_in_the_order_of_their_names(
    model: Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "parts"
    (folder / "later").mkdir(parents=True)
    caplog.set_level(logging.INFO, logger="src")
    rows = RAW.assign(id=range(20), more=1)
    write(folder / "b.parquet", rows[5:12])
    write(folder / "a.parquet", rows[:5].astype({"id": "int32"})[[*reversed(rows.columns)]])
    write(folder / "later" / "c.parquet", rows[12:])
    # Of a run of another program, and of DVC.
    write(folder / "_SUCCESS.parquet", rows)
    (folder / ".gitignore").write_text("/a.parquet\n")
    (folder / ".part.parquet").write_text("not complete")
    predict_file(model, folder, tmp_path / "out.parquet", keep=["id"], chunk_rows=3)
    assert caplog.messages[:-1] == [f"{folder}: ignoring column more, which the model does not use"]
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert found["id"].tolist() == list(range(20))
    whole = predictions(model, write(tmp_path / "whole.parquet", RAW))
    pd.testing.assert_frame_equal(found.drop(columns="id"), whole)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, r"parts has no Parquet files; name a file, or a folder of Parquet parts\."),
        ({"a": RAW, "b": RAW.drop(columns="n")}, r"only one of .*b\.parquet and .*a\.parquet has column n; give all"),
        ({"a": RAW, "b": b"text"}, r"b\.parquet cannot be read as Parquet: "),
        ({"a": RAW, "b": RAW.assign(n="1")}, r"the types of its parts do not match: .*b\.parquet: .* Field n "),
        ({"a": RAW, "b": RAW.assign(n=[*[1.0] * 18, np.inf, 2.0])},
         r"b\.parquet: column 'n': 1 of 20 values are not finite numbers, for example .* in row 19; correct it"),
        ({"a": RAW.drop(columns="n")}, r"parts: missing column n; the model needs n, code, flag, day, size\."),
        ({"a": RAW.head(0)}, r"parts has no rows\."),
    ],
)  # fmt: skip
def test_part_that_does_not_suit_the_others_is_named(
    model: Pipeline, tmp_path: Path, parts: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, content in parts.items():
        path = folder / f"{name}.parquet"
        path.write_bytes(content) if isinstance(content, bytes) else write(path, content)
    (tmp_path / "out.csv").write_text("older predictions")
    with pytest.raises(DataError, match=message):
        predict_file(model, folder, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "older predictions"


def test_rows_in_memory_do_not_grow_with_the_number_of_parts(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for part in range(10):
        write(folder / f"{part}.parquet", RAW)
    n_rows = []

    class Recorder(DummyClassifier):
        def predict(self, X: pd.DataFrame) -> Any:
            n_rows.append(len(X))
            return super().predict(X)

    row_wise = FunctionTransformer(prepare_rows, kw_args={"columns": COLUMNS, "features": FEATURES})
    recorder = Pipeline([("features", row_wise), ("estimator", Recorder())]).fit(RAW, Y)
    predict_file(recorder, folder, tmp_path / "out.csv", chunk_rows=7)
    assert sum(n_rows) == 200
    assert max(n_rows) == 7


# --- stdin and stdout ---

CSV_ROWS = RAW.to_csv(index=False).encode()


@pytest.fixture
def pipe(model: Pipeline, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[bytes]"]:
    """Run a shell pipeline with `predict` in it, in a folder with a model."""
    (tmp_path / "models").mkdir()
    joblib.dump(model, tmp_path / "models/model.joblib")
    shutil.copy(Path(__file__).parents[1] / "params.yaml", tmp_path)
    write(tmp_path / "rows.parquet", RAW)
    (tmp_path / "rows.csv").write_bytes(CSV_ROWS)
    # `predict` gives its own exit code, which a pipeline would hide.
    program = f'"{sys.executable}" -m src.predict --trust "$@"; echo $? >code'
    (tmp_path / "predict").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "predict").chmod(0o755)

    def run(line: str) -> "subprocess.CompletedProcess[bytes]":
        environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        return subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environ, capture_output=True, check=True)

    return run


def test_rows_flow_through_a_pipe(
    model: Pipeline, tmp_path: Path, pipe: Callable[..., "subprocess.CompletedProcess[bytes]"]
) -> None:
    result = pipe("./predict --input - --output - --keep code,n <rows.csv")
    found = pd.read_csv(io.BytesIO(result.stdout), dtype=str, keep_default_na=False)
    assert list(found) == ["code", "n", "prediction", "probability_a", "probability_b"]
    assert found["prediction"].tolist() == model.predict(RAW).tolist()
    assert found["code"].tolist() == ["007", "7", "", "None"] * 5
    lines = result.stderr.decode().splitlines()
    assert lines[-1] == "wrote 20 predictions to standard output"
    predict_file(model, tmp_path / "rows.csv", tmp_path / "out.csv", keep=["code", "n"])
    assert result.stdout == (tmp_path / "out.csv").read_bytes()


def test_parquet_flows_through_a_pipe(
    model: Pipeline, pipe: Callable[..., "subprocess.CompletedProcess[bytes]"]
) -> None:
    result = pipe("./predict --input - --output - --format parquet <rows.parquet")
    assert pd.read_parquet(io.BytesIO(result.stdout))["prediction"].tolist() == model.predict(RAW).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", "--format parquet"])
def test_pipe_closed_by_its_reader_ends_quietly(
    tmp_path: Path, pipe: Callable[..., "subprocess.CompletedProcess[bytes]"], options: str
) -> None:
    pd.concat([RAW] * 10_000).to_parquet(tmp_path / "rows.parquet")
    result = pipe(f"./predict --input rows.parquet --output - {options} | head -c 10")
    assert len(result.stdout) == 10
    assert (tmp_path / "code").read_text() == "0\n"
    assert b"Error" not in result.stderr
    assert b"Exception" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("./predict --input - --output out.csv </dev/null", "DataError: standard input cannot be read as csv: Empty"),
        ("echo n,code | ./predict --input - --output out.csv", "DataError: standard input: missing column flag"),
        ("./predict --input - --output out.csv <&-", "DataError: standard input is closed."),
        ("./predict --input - --output - <rows.parquet", "DataError: standard input is Parquet: "),
        ("./predict --input rows.csv --output out.txt", "DataError: out.txt must end in .csv or .parquet, or be - for"),
    ],
)  # fmt: skip
def test_broken_input_is_named_and_leaves_no_file(
    tmp_path: Path, pipe: Callable[..., "subprocess.CompletedProcess[bytes]"], line: str, message: str
) -> None:
    result = pipe(line)
    assert result.stderr.decode().splitlines()[-1].startswith(message)
    assert (tmp_path / "code").read_text() == "2\n"
    assert result.stdout == b""
    assert list(tmp_path.glob("out*")) == []


def test_names_with_a_comma_are_kept_in_quotes(
    tmp_path: Path, pipe: Callable[..., "subprocess.CompletedProcess[bytes]"]
) -> None:
    RAW.assign(**{"a,b": 1, "ä": 2, "$x": 3}).to_parquet(tmp_path / "rows.parquet")
    result = pipe("""./predict --input rows.parquet --output - --keep '"a,b",ä' --keep '$x'""")
    assert result.stdout.decode().startswith('"a,b",ä,$x,prediction,')


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


def test_format_comes_from_the_workspace_or_the_revision(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    params = tmp_path / "params.yaml"
    params.write_text('data_load: {source: {kind: file, separator: ";", na_values: ["?"]}}\n')
    git(tmp_path, "add", "params.yaml")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    git(tmp_path, "tag", "v1")
    params.write_text("data_load: {source: {kind: sklearn, name: iris}}\n")
    assert load_table_file(tmp_path) == TableFile()
    assert load_table_file(tmp_path, "v1") == TableFile(separator=";", na_values=["?"])


@pytest.mark.parametrize("content", [None, "data_load: {source: iris}\n", "old: 1\n"])
def test_default_format_is_used_without_settings_of_a_file(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "params.yaml").write_text(content)
    assert load_table_file(tmp_path) == TableFile()


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("hacked",)


@pytest.fixture
def run_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Predict rows.csv with a model of the workspace, of which `dvc.lock` records another content or the same."""

    def run(content: object, *options: str, recorded: object = "same") -> int:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "models").mkdir()
        path = tmp_path / "models/model.joblib"
        if recorded:
            joblib.dump(content if recorded == "same" else recorded, path)
            out = {
                "path": "models/model.joblib",
                "md5": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
            }
            lock = {"schema": "2.0", "stages": {"train": {"cmd": "train", "outs": [out]}}}
            (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
        joblib.dump(content, path)
        params = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8"))
        how = {"separator": ";", "decimal": ",", "encoding": "cp1252", "na_values": ["?"]}
        params["data_load"] |= {"source": {"kind": "file", **how}, "external_path": "data/external/table.csv"}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        (tmp_path / "rows.csv").write_bytes(TEXT_LIKE_TRAINING.encode("cp1252"))
        monkeypatch.setattr("sys.argv", ["predict", "--input", "rows.csv", "--output", "predictions.csv", *options])
        return main()

    loggers = [logging.getLogger(name) for name in ("src", "__main__")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    yield run
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_command_reads_rows_in_the_format_of_the_settings(model: Pipeline, run_command: Callable[..., int]) -> None:
    assert run_command(model) == 0
    assert pd.read_csv("predictions.csv")["prediction"].tolist() == model.predict(RAW.head(4)).tolist()


@pytest.mark.parametrize("recorded", ["another model", None])
def test_model_that_dvc_lock_does_not_name_is_refused_before_it_is_loaded(
    recorded: str | None, run_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(Malicious(), recorded=recorded) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("VersionError: models/model.joblib is not the model of dvc.lock (")
    assert line.endswith("or load it with --trust.")
    assert not Path("hacked").exists()


def test_user_can_trust_a_model_that_dvc_lock_does_not_name(model: Pipeline, run_command: Callable[..., int]) -> None:
    assert run_command(model, "--trust", recorded="another model") == 0
    assert len(pd.read_csv("predictions.csv")) == 4


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], np.arange(3), "text", LogisticRegression(), None])
def test_file_that_holds_no_pipeline_is_one_line(
    content: object, run_command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(content) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"MissingInputError: the model is a {type(content).__name__}, not a fitted Pipeline")


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("data_load: {source: {kind: file, separator: ';;'}}\n")
    with pytest.raises(ConfigError, match=r"params\.yaml: data_load\.source: separator is not valid"):
        load_table_file(tmp_path)


def test_codes_keep_their_zeros_and_none_is_a_level(model: Pipeline, tmp_path: Path) -> None:
    found = predictions(model, write(tmp_path / "rows.csv", RAW.iloc[[0, 1, 3]]))
    assert found["prediction"].tolist() == ["a", "b", "b"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_large_integer_stays_the_same_level_beside_a_missing_value(tmp_path: Path, suffix: str) -> None:
    rows = pd.DataFrame({"account": pd.array([2**60 + row for row in range(8)], dtype="Int64")})
    columns = {"account": {"kind": "high_cardinality"}}
    row_wise = FunctionTransformer(prepare_rows, kw_args={"columns": columns, "features": {}})
    model = Pipeline([("features", row_wise), ("encode", OneHotEncoder()), ("estimator", KNeighborsClassifier(1))])
    model.fit(rows, np.arange(8))
    found = predictions(model, write(tmp_path / f"rows{suffix}", rows))["prediction"]
    assert found.tolist() == list(range(8))
    model.fit(pd.concat([rows, pd.DataFrame({"account": [pd.NA]})]).convert_dtypes(), np.arange(9))
    rows.loc[3, "account"] = pd.NA
    found = predictions(model, write(tmp_path / f"rows{suffix}", rows))["prediction"]
    assert found.tolist() == [0, 1, 2, 8, 4, 5, 6, 7]


def test_unknown_levels_and_empty_rows_are_predicted(model: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("n,code,flag,day,size\n,,,,\n3,new,yes,15.03.2024,XXL\n")
    assert len(predictions(model, tmp_path / "rows.csv")) == 2


def test_regression_has_no_probabilities(tmp_path: Path) -> None:
    model = make_model(DummyRegressor(), np.arange(20.0))
    found = predictions(model, write(tmp_path / "rows.csv", RAW))
    assert found.to_dict("list") == {"prediction": [9.5] * 20}


def test_extra_columns_are_ignored_with_a_warning(
    model: Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "rows.csv", RAW.assign(target="a", more=1)[["more", *reversed(RAW.columns), "target"]])
    assert predictions(model, path)["prediction"].tolist() == model.predict(RAW).tolist()
    assert f"{path}: ignoring column more, target, which the model does not use" in caplog.messages


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("n,code,flag,size\n1,7,yes,S\n", ": missing column day; the model needs n, code, flag, day, size."),
        (
            "n,code,flag,day,size\n1,7,yes,,S\nx,7,,,\n",
            ": column 'n': 1 of 2 values are not finite numbers, for example ",
        ),
        (
            "n,code,flag,day,size\ninf,7,yes,,S\n",
            "example 'inf' in row 1; correct it, or leave it empty if it is missing.",
        ),
        (
            "n,code,flag,day,size\n1,7,perhaps,,S\n",
            ": column 'flag': 1 of 1 values are not booleans, for example 'perh",
        ),
        ("n,code,flag,day,size\n1,7,,2024-01-31,S\n", ": column 'day': 1 of 1 values are not dates, for example '"),
        ("n,code,flag,day,size\n1,7,yes\n", " cannot be read as csv: row 2 has 3 fields instead of 5."),
        (
            'n,code,flag,day,size\n1,7,yes,,S\n1,7,yes,,"S\n1,7,yes,,S\n',
            "a quote in column 'size' of row 3 is not clos",
        ),
        (
            'n,code,flag,day,size,more\n1,7,yes,,S,x\n1,7,yes,,S,"x\n1,7,yes,,S,x\n',
            "a quote in column 'more' of row 3 ",
        ),
        ("PK\x03\x04", " is a zip archive or an Excel workbook: rename it to .xlsx, or save its table as CSV."),
        ("n,n,code,flag,day,size\n1,1,7,yes,,S\n", ": duplicate column n; each name must occur once."),
        ("n,code,flag,day,size\n", " has no rows."),
        ("", " cannot be read as csv: Empty CSV file."),
    ],
)
def test_wrong_rows_are_refused_and_nothing_is_written(
    model: Pipeline, tmp_path: Path, content: str, message: str
) -> None:
    path, output = tmp_path / "rows.csv", tmp_path / "predictions.csv"
    path.write_text(content)
    output.write_text("older predictions")
    with pytest.raises(DataError) as caught:
        predict_file(model, path, output)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert output.read_text() == "older predictions"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["predictions.csv", "rows.csv"]


@pytest.mark.parametrize("more", ["more,more", "more,"])
def test_columns_after_those_of_the_model_may_have_any_names(model: Pipeline, tmp_path: Path, more: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"n,code,flag,day,size,{more}\n1,7,yes,,S,x,y\n")
    assert len(predictions(model, path)) == 1


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_missing_file_is_named(model: Pipeline, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is missing"):
        predict_file(model, tmp_path / name, tmp_path / "predictions.csv")


def test_file_that_is_not_parquet_is_named(model: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_text("n\n1\n")
    with pytest.raises(DataError, match=r"rows\.parquet cannot be read as parquet: "):
        predict_file(model, tmp_path / "rows.parquet", tmp_path / "predictions.csv")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_wrong_value_in_a_late_chunk_is_named_by_its_row(model: Pipeline, tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"rows{suffix}", RAW.assign(n=[*["1"] * 18, "x", "2"]))
    with pytest.raises(DataError, match="for example 'x' in row 19"):
        predict_file(model, path, tmp_path / "predictions.csv", chunk_rows=7)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_chunks_give_the_same_predictions_as_the_whole(model: Pipeline, tmp_path: Path, suffix: str) -> None:
    path, output = write(tmp_path / f"rows{suffix}", RAW), tmp_path / "chunks.parquet"
    assert predict_file(model, path, output, chunk_rows=7) == 20
    pd.testing.assert_frame_equal(pd.read_parquet(output), predictions(model, path))


def test_classes_can_be_numbers(tmp_path: Path) -> None:
    model = make_model(DummyClassifier(strategy="prior"), np.array([1, 2, 1, 1] * 5))
    found = predictions(model, write(tmp_path / "rows.csv", RAW))
    assert json.loads(found.head(1).to_json(orient="records")) == [
        {"prediction": 1, "probability_1": 0.75, "probability_2": 0.25}
    ]


def test_progress_is_shown_on_a_terminal_only(
    model: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "rows.csv", RAW)
    predict_file(model, path, tmp_path / "predictions.csv")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    predict_file(model, path, tmp_path / "predictions.csv")
    assert "predicting: 20 rows" in capsys.readouterr().err


def test_failing_feature_in_a_late_chunk_keeps_the_old_output(tmp_path: Path) -> None:
    columns, features = {"n": {"kind": "number"}}, {"log_n": {"log": "n"}}
    row_wise = FunctionTransformer(prepare_rows, kw_args={"columns": columns, "features": features})
    rows = pd.DataFrame({"n": [1.0] * 20})
    model = Pipeline([("features", row_wise), ("estimator", DummyClassifier())]).fit(rows, Y)
    rows.loc[17, "n"] = 0.0
    rows.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "predictions.csv").write_text("older predictions")
    with pytest.raises(FeatureError, match="gives infinity or NaN"):
        predict_file(model, tmp_path / "rows.parquet", tmp_path / "predictions.csv", chunk_rows=7)
    assert (tmp_path / "predictions.csv").read_text() == "older predictions"


def test_full_disk_keeps_the_old_output(model: Pipeline, tmp_path: Path) -> None:
    pd.concat([RAW] * 100).to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "predictions.csv").write_text("older predictions")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file may not grow beyond this: writing fails as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            predict_file(model, tmp_path / "rows.parquet", tmp_path / "predictions.csv", chunk_rows=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "predictions.csv").read_text() == "older predictions"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions.csv", "rows.parquet"]
