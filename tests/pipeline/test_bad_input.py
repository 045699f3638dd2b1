"""Bad input gives one clear message and exit code 2, and changes no output."""

import shutil
from pathlib import Path

import pytest

from tests.pipeline.clone import LAUNCHER, Clone
from tests.pipeline.versions import MAKE


def outputs(clone: Clone) -> dict[Path, bytes]:
    folders = ("data/raw", "data/processed", "models", "reports")
    return {
        path: path.read_bytes() for folder in folders for path in (clone.path / folder).rglob("*") if path.is_file()
    }


def files(clone: Clone) -> dict[Path, bytes]:
    """Read all files of the clone but its settings, what DVC and git keep, and compiled code."""
    ignored = (".dvc/", ".git/", "params.yaml")
    return {
        path: path.read_bytes()
        for path in sorted(clone.path.rglob("*"))
        if path.is_file() and path.suffix != ".pyc" and not str(path.relative_to(clone.path)).startswith(ignored)
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "params.yaml is missing"),
        ("base:\n  target_column: [a\n", "params.yaml, line 3, column 1: not valid YAML"),
        ("", "params.yaml is empty"),
        ("- base\n- train\n", "params.yaml contains a list"),
    ],
)
def test_launcher_refuses_unreadable_settings(fresh: Clone, content: str | None, expected: str) -> None:
    path = fresh.path / "params.yaml"
    path.unlink() if content is None else path.write_text(content)
    result = fresh.launch(code=2)
    assert result.stderr.startswith(f"ConfigError: {expected}")
    assert len(result.stderr.splitlines()) == 1
    assert not (fresh.path / "mlflow.db").exists()


def test_all_problems_of_the_settings_are_reported_before_any_stage(clone: Clone) -> None:
    before = outputs(clone)
    clone.set_param("data_split.test_size", 1.5)
    clone.set_param("train.cv", 1)
    clone.set_param("train.estimater", "logreg")
    clone.set_param("base.random_state", "42")
    for result in (clone.launch(code=2), clone.stage("featurize", code=2)):
        assert result.stderr.startswith("ConfigError: params.yaml has 4 problems:\n")
        assert "data_split.test_size = 1.5: must be less than 1" in result.stderr
        assert "train.cv = 1: must be greater than or equal to 2" in result.stderr
        assert "train.estimater = 'logreg' is unknown; did you mean estimator?" in result.stderr
        assert "base.random_state = '42': must be a valid integer" in result.stderr
        assert "Traceback" not in result.stderr
    assert outputs(clone) == before


PATHS_OF_THE_USER = ["docs", "mine", "reports/mine", "src", "mlflow.db", "reports/a b"]


@pytest.mark.slow
@pytest.mark.parametrize("command", [LAUNCHER, ("python", "-m", "src.utils.prepare")])
def test_path_of_an_output_is_refused_before_anything_is_deleted(clone: Clone, command: tuple[str, ...]) -> None:
    for name in ("mine/notes.md", "reports/mine/notes.md", "reports/a b/notes.md"):
        (clone.path / name).parent.mkdir()
        (clone.path / name).write_text("mine")
    before = files(clone)
    for path in PATHS_OF_THE_USER:
        clone.set_param("evaluate.plots_dir", path)
        (line,) = clone.run(*command, code=2).stderr.splitlines()
        assert line.startswith(f"ConfigError: params.yaml: evaluate.plots_dir = '{path}'")
    assert files(clone) == before


@pytest.mark.slow
def test_bare_dvc_deletes_nothing_of_the_repository_itself(clone: Clone) -> None:
    before = files(clone)
    for path in ("docs", "tests", "README.md", "mlflow.db", ".venv/bin", "src", "src/stages", "data", "data/external"):
        clone.set_param("evaluate.plots_dir", path)
        assert clone.run("dvc", "repro", code=None).returncode
    assert files(clone) == before


@pytest.mark.slow
def test_bare_dvc_deletes_nothing_of_the_user_if_an_earlier_stage_runs(clone: Clone) -> None:
    for number, path in enumerate(["mine", "reports/mine"]):
        (clone.path / path).mkdir()
        (clone.path / path / "notes.md").write_text("mine")
        clone.set_param("evaluate.plots_dir", path)
        clone.set_param("train.cv", 3 + number)
        result = clone.run("dvc", "repro", code=None)
        assert f"ConfigError: params.yaml: evaluate.plots_dir = '{path}'" in result.stderr
        assert (clone.path / path / "notes.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.estimator", "rf", ("'rf'", "knn", "logreg", "svm")),
        ("train.param_grid.logreg.depth", [1], ("train.param_grid.logreg.depth", "C, fit_intercept", "solver")),
        ("data_load.source.name", "penguins", ("data_load.source.name", "'penguins'", "breast_cancer", "iris", "wine")),
    ],
)
def test_unknown_name_lists_the_allowed_ones(fresh: Clone, key: str, value: object, expected: tuple[str, ...]) -> None:
    fresh.set_param(key, value)
    (line,) = fresh.launch(code=2).stderr.splitlines()
    assert line.startswith("ConfigError: params.yaml: ")
    assert not [word for word in expected if word not in line]


@pytest.mark.parametrize(
    ("column", "rows", "expected"),
    [
        ("gone", None, ("DataError: column 'sepal_width' is missing from the rows",)),
        ("sepal_width", 3, ("FeatureError: ", "'sepal_length_to_sepal_width'", "'sepal_width'", "3 of 150 rows")),
    ],
)
def test_feature_that_cannot_be_computed_is_named(
    clone: Clone, column: str, rows: int | None, expected: tuple[str, ...]
) -> None:
    import pandas as pd

    path = clone.path / "data/raw/dataset.parquet"
    table = pd.read_parquet(path)
    if rows is None:
        table = table.rename(columns={"sepal_width": column})
    else:
        table.loc[: rows - 1, column] = 0.0
    path.chmod(0o644)
    table.to_parquet(path)
    before = outputs(clone)
    result = clone.stage("featurize", code=2)
    error = result.stderr.splitlines()[-1]
    assert not [word for word in expected if word not in error]
    assert outputs(clone) == before


def test_missing_target_column_is_named(clone: Clone) -> None:
    clone.set_param("base.target_column", "species")
    # `data_load` would name the target column of a scikit-learn table like this.
    result = clone.stage("featurize", code=2)
    assert (
        "DataError: base.target_column = 'species' is not in the table; its columns are sepal_length" in result.stderr
    )


@pytest.mark.parametrize(
    ("kept", "stage", "expected"),
    [
        ({"setosa": 50}, "train", "holds only the value 'setosa'"),
        ({"setosa": 50, "virginica": 1}, "train", "too few rows of class 'virginica' (1): cross-validation needs"),
        ({"setosa": 50, "virginica": 1}, "data_split", "too few rows of class 'virginica' (1): a stratified split"),
    ],
)
def test_missing_or_rare_classes_are_named_before_any_fit(
    clone: Clone, kept: dict[str, int], stage: str, expected: str
) -> None:
    import pandas as pd

    name = "train.parquet" if stage == "train" else "features.parquet"
    path = clone.path / "data/processed" / name
    table = pd.read_parquet(clone.path / "data/processed/features.parquet")
    path.chmod(0o644)
    pd.concat([table[table["target"] == label].head(count) for label, count in kept.items()]).to_parquet(path)
    result = clone.stage(stage, code=2)
    assert result.stderr.splitlines()[-1].startswith("DataError: ")
    assert expected in result.stderr


@pytest.mark.parametrize("content", [None, b"a,b\n1,2\n"])
def test_missing_or_damaged_input_names_the_stage_that_makes_it(clone: Clone, content: bytes | None) -> None:
    path = clone.path / "data/processed/features.parquet"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    result = clone.stage("data_split", code=2)
    error = result.stderr.splitlines()[-1]
    assert error.startswith("MissingInputError: data/processed/features.parquet")
    assert "run `dvc repro featurize`" in error


def test_missing_model_names_the_stage_that_makes_it(clone: Clone) -> None:
    (clone.path / "models/model.joblib").unlink()
    result = clone.stage("evaluate", code=2)
    assert "models/model.joblib is missing; stage train makes it" in result.stderr


@pytest.mark.parametrize("deleted", [False, True])
def test_unknown_run_id_is_replaced_with_a_warning(clone: Clone, deleted: bool) -> None:
    from mlflow import MlflowClient

    run_id = "0123456789abcdef0123456789abcdef"
    if deleted:
        run_id = clone.launch("--open").stdout.strip()
        MlflowClient(clone.store).delete_run(run_id)
    result = clone.stage("featurize", MLFLOW_RUN_ID=run_id)
    assert f"WARNING: MLflow run {run_id} does not exist" in result.stderr
    parent = clone.parent()
    assert parent.info.run_id != run_id
    assert clone.nested(parent)["featurize"].info.status == "FINISHED"


def test_stage_that_raises_is_recorded_with_its_traceback(clone: Clone) -> None:
    from mlflow import MlflowClient

    clone.in_stage("train", 'raise RuntimeError("the disk caught fire")')
    before = clone.lock()
    dvc = clone.run("dvc", "repro", code=None).returncode
    result = clone.launch(code=None)
    assert result.returncode == dvc != 0
    assert clone.lock() == before
    parent = clone.parent()
    failed = clone.nested(parent)["train"]
    assert (parent.info.status, failed.info.status) == ("FAILED", "FAILED")
    assert clone.outcomes(parent) == ["unchanged", "unchanged", "unchanged", "failed", "stale"]
    assert parent.data.tags["stage.train.run_id"] == failed.info.run_id
    assert "test_f1_macro" not in parent.data.metrics
    traceback = Path(MlflowClient(clone.store).download_artifacts(failed.info.run_id, "traceback.txt")).read_text()
    assert "the disk caught fire" in traceback


def test_grid_value_that_scikit_learn_refuses_gives_one_line(clone: Clone) -> None:
    clone.set_param("train.param_grid.logreg.C", [-1.0])
    result = clone.stage("train", code=2)
    assert result.stderr.splitlines()[-1].startswith(
        "TrainError: logreg with C = -1.0, max_iter = 1000 cannot be fitted"
    )


def test_full_disk_gives_one_line_and_keeps_the_outputs(clone: Clone) -> None:
    # Every write to /dev/full fails with ENOSPC.
    clone.edit(
        "src/data/files.py", r"pq.write_table\(rows, partial, .*\)$", "open('/dev/full', 'wb').write(b'0' * 10**6)"
    )
    before = outputs(clone)
    result = clone.stage("featurize", code=2)
    assert "No space left on device" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert outputs(clone) == before


@pytest.mark.parametrize("arguments", [LAUNCHER, ("dvc", "repro")], ids=["launcher", "bare DVC"])
def test_model_that_was_replaced_is_not_evaluated(clone: Clone, arguments: tuple[str, ...]) -> None:
    (clone.path / "models/model.joblib").write_bytes(b"cposix\nsystem\n(S'touch hacked'\ntR.")
    result = clone.run(*arguments, "--single-item", "evaluate", code=255)
    assert "VersionError: models/model.joblib is not the model of dvc.lock (MD5 " in result.stderr
    assert "Traceback" not in result.stderr
    assert not (clone.path / "hacked").exists()


def test_missing_python_is_named(fresh: Clone) -> None:
    result = fresh.run("make", "install", "PYTHON=/nonexistent", code=2)
    assert (
        "\nPYTHON=/nonexistent is no Python interpreter; set for example PYTHON=python3.12.\n" in f"\n{result.stderr}"
    )
    assert "is required" not in result.stderr


def test_python_without_venv_names_the_package_to_install(fresh: Clone) -> None:
    python = fresh.path / "python-without-venv"
    python.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexit 0\n')
    python.chmod(0o755)
    result = fresh.run("make", "install", f"PYTHON={python}", code=2)
    assert "apt-get install python3-venv" in result.stderr
    assert not (fresh.path / ".venv").exists()


def test_targets_name_the_variable_that_they_need(fresh: Clone) -> None:
    if shutil.which("make") is None:
        pytest.fail("make is needed")
    (fresh.path / ".venv").symlink_to(Path(__file__).parents[2] / ".venv")
    for target, variable in (("remote", "URL="), ("cache", "DIR=")):
        assert variable in fresh.run(*MAKE, target, code=2).stderr
