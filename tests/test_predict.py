"""Prediction of a file: by a model that the pipeline's own code fitted, on files as users have them."""

import re
import resource
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from src.config.schema import Train
from src.data.features import add_features
from src.errors import DataError, FeatureError
from src.predict import predict_file
from src.train.train import fit_model

FEATURES = {"ratio": {"ratio": ["height", "width"]}}


def make_rows(n_rows: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "height": random.uniform(1, 9, n_rows),
            "width": random.uniform(1, 9, n_rows),
            "color": random.choice(["red", "green"], n_rows),
        }
    )


def fit(estimator: str) -> Pipeline:
    rows = make_rows(60)
    labels = np.where(rows["height"] > rows["width"], "tall", "wide")
    grid = {"logreg": {"C": [1.0]}, "svm": {"C": [1.0]}, "knn": {"n_neighbors": [3]}}
    settings = Train.model_validate(
        {
            "estimator": estimator,
            "cv": 2,
            "scoring": "accuracy",
            "n_jobs": 1,
            "param_grid": grid,
            "model_path": "model.joblib",
            "cv_metrics_path": "cv.json",
        }
    )
    return fit_model(add_features(rows, FEATURES), labels, FEATURES, settings, random_state=0).model


@pytest.fixture(scope="module")
def model() -> Pipeline:
    return fit("logreg")


def write(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("chunk_rows", [1, 7, 1000])
def test_rows_are_predicted_in_their_order_whatever_the_chunks(
    model: Pipeline, tmp_path: Path, suffix: str, chunk_rows: int
) -> None:
    rows = make_rows(20)
    output = tmp_path / "new folder" / f"it's -out{suffix}"
    assert predict_file(model, write(rows, tmp_path / f"my rows{suffix}"), output, chunk_rows) == 20
    made = pd.read_csv(output) if suffix == ".csv" else pd.read_parquet(output)
    assert list(made.columns) == ["prediction", "probability_tall", "probability_wide"]
    assert made["prediction"].tolist() == model.predict(rows).tolist()
    np.testing.assert_allclose(made.iloc[:, 1:], model.predict_proba(rows), rtol=1e-12)
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_model_without_probabilities_gives_the_class_alone(tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    predict_file(fit("svm"), write(make_rows(5), tmp_path / "rows.parquet"), output)
    assert list(pd.read_parquet(output).columns) == ["prediction"]


def test_progress_is_shown_to_a_terminal_and_to_nobody_else(
    model: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write(make_rows(20), tmp_path / "rows.csv")
    predict_file(model, rows, tmp_path / "out.csv", chunk_rows=5)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    predict_file(model, rows, tmp_path / "out.csv", chunk_rows=5)
    assert re.search(r"predicting: 20 rows", capsys.readouterr().err)


def test_other_columns_are_ignored_with_a_warning(
    model: Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = make_rows(5)
    path = write(rows.assign(note="x", id=range(5))[["note", "color", "width", "id", "height"]], tmp_path / "rows.csv")
    predict_file(model, path, tmp_path / "out.parquet")
    assert "ignoring column note, id" in caplog.text
    assert pd.read_parquet(tmp_path / "out.parquet")["prediction"].tolist() == model.predict(rows).tolist()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_columns_that_are_missing_are_named(model: Pipeline, tmp_path: Path, suffix: str) -> None:
    path = write(make_rows(5).drop(columns=["height", "color"]), tmp_path / f"rows{suffix}")
    refuse(model, path, r"lacks column height, color; the model needs height, width, color", tmp_path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
# pandas closes its reader of a CSV only when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_text_among_numbers_is_named_by_its_row(model: Pipeline, tmp_path: Path, suffix: str) -> None:
    rows = make_rows(20).astype({"width": "str"})
    rows.loc[17, "width"] = "broad"
    path = write(rows, tmp_path / f"rows{suffix}")
    refuse(model, path, r"column width must hold numbers, got \w+, as 'broad' in row 18", tmp_path)


def test_row_whose_feature_cannot_be_computed_is_refused_in_a_late_chunk_too(model: Pipeline, tmp_path: Path) -> None:
    rows = make_rows(20)
    rows.loc[17, "width"] = 0.0
    path = write(rows, tmp_path / "rows.parquet")
    refuse(model, path, "gives infinity or NaN", tmp_path, 7, FeatureError)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.csv", None, "is missing"),
        ("none.parquet", None, "is missing"),
        ("empty.csv", b"", "cannot be read as csv"),
        ("header.csv", b"height,width,color\n", "holds no rows"),
        ("latin.csv", b"height,width,color\n1,2,gr\xfcn\n", "cannot be read as csv"),
        ("zip.parquet", b"PK not parquet", "cannot be read as parquet"),
        ("rows.xlsx", b"", r"must end in \.csv or \.parquet"),
    ],
)
def test_file_that_is_no_table_is_refused(
    model: Pipeline, tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refuse(model, tmp_path / name, reason, tmp_path)


def test_disk_that_is_full_leaves_the_old_output_and_no_half_of_a_new_one(model: Pipeline, tmp_path: Path) -> None:
    rows = write(make_rows(2000), tmp_path / "rows.parquet")
    (tmp_path / "out.csv").write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file may not grow beyond this: writing fails as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            predict_file(model, rows, tmp_path / "out.csv", chunk_rows=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "out.csv").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "rows.parquet"]


def refuse(
    model: Pipeline,
    path: Path,
    reason: str,
    folder: Path,
    chunk_rows: int = 1000,
    kind: type[DataError] = DataError,
) -> None:
    output = folder / "out.csv"
    output.write_text("old")
    before = sorted(folder.iterdir())
    with pytest.raises(kind, match=reason):
        predict_file(model, path, output, chunk_rows)
    assert output.read_text() == "old"
    assert sorted(folder.iterdir()) == before
