import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LinearRegression, LogisticRegression

from src.config.train import ESTIMATOR_PARAMS, Task
from src.errors import TrackingError
from src.tracking.logged_model import (
    MODEL_PACKAGES,
    describe_columns,
    log_model,
    name_model,
    packages_of,
    pinned_requirements,
    trusted_types,
)
from src.tracking.session import Place
from src.tracking.store import Store
from tests.train.tables import COLUMNS, USED, make_config, make_table, strange_rows

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
pytestmark = [
    # MLflow compares string columns with a range to tell whether they have names.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated:DeprecationWarning"),
    # MLflow's own functions of language models lack the type hints that it asks for.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
]
TASKS: list[Task] = ["classification", "regression"]

# Run where nothing of this repository can be imported.
PREDICT = """
import json, sys, warnings
import mlflow, pandas as pd
rows, path, root = pd.read_parquet(sys.argv[1]), sys.argv[2], sys.argv[3]
assert root not in sys.path
# MLflow's own, of its columns and its functions of language models.
warnings.filterwarnings("ignore")
native = mlflow.sklearn.load_model(path).predict(rows)
general = mlflow.pyfunc.load_model(path).predict(rows)
import src.featurize.features
print(json.dumps([list(native), list(general), src.featurize.features.__file__]))
"""


class Homemade(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """An estimator of a module that is not known to be harmless."""


def fit(task: Task, name: str) -> "Pipeline":
    from src.train.fit import fit_model

    return fit_model(make_table(task), COLUMNS, make_config(name, task, search={"kind": "none"})).model


@pytest.fixture
def code(root: Path) -> Path:
    """Give the folder of the test the code and the lock of this repository."""
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "requirements.txt", root / "requirements.txt")
    return root


@pytest.fixture
def active_run(store: Store) -> Iterator[Any]:  # noqa: ARG001 - opens the store
    import mlflow

    with mlflow.start_run() as run:
        yield run


def log(root: Path, model: "Pipeline", task: Task, *estimators: str) -> Path:
    """Log a model as stage `train` does; returns the folder that MLflow keeps it in."""
    import mlflow

    joblib.dump(model, root / "cached")
    make_table(task).to_parquet(root / "train.parquet", index=False)
    model_id = log_model(Place(root, root), root / "cached", "models/m.joblib", root / "train.parquet", estimators)
    return Path(mlflow.get_logged_model(model_id).artifact_location.removeprefix("file://"))


def predict_elsewhere(folder: Path, model: Path, rows: pd.DataFrame, python: str = sys.executable) -> list[Any]:
    rows.to_parquet(folder / "rows.parquet", index=False)
    command = [python, "-I", "-B", "-c", PREDICT, str(folder / "rows.parquet"), str(model), str(ROOT)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    native, general, features = json.loads(result.stdout)
    assert Path(features).is_relative_to(model)
    assert general == native
    return list(native)


@pytest.mark.parametrize(("task", "name"), [("classification", "hist_gradient_boosting"), ("regression", "lightgbm")])
@pytest.mark.usefixtures("active_run")
def test_model_predicts_the_same_in_a_fresh_interpreter_without_this_repository(
    code: Path, task: Task, name: str
) -> None:
    model = fit(task, name)
    folder = log(code, model, task, name)
    # As a user's file holds them: whole numbers, booleans, missing values, and categories never seen.
    whole = make_table(n_rows=4, seed=5, gaps=False).drop(columns="target")
    rows = pd.concat([strange_rows(), whole], ignore_index=True)
    assert predict_elsewhere(code, folder, rows) == list(model.predict(rows))
    requirements = (folder / "requirements.txt").read_text().splitlines()
    assert set(MODEL_PACKAGES) <= {re.split(r"[=; ]", line)[0] for line in requirements}
    assert any(line.startswith("lightgbm==") for line in requirements) is (name == "lightgbm")
    assert not [path for path in folder.rglob("*") if path.name in ("train", "stages", "__pycache__")]


def test_logged_model_has_its_path_example_and_run(code: Path, active_run: Any) -> None:
    import mlflow

    folder = log(code, fit("regression", "linear"), "regression", "linear")
    model = mlflow.get_logged_model(folder.parent.name)
    assert (model.tags["dvc.path"], model.source_run_id) == ("models/m.joblib", active_run.info.run_id)
    info = mlflow.models.get_model_info(str(folder))
    assert info.signature.inputs.input_names() == USED
    example = pd.DataFrame(**json.loads((folder / "input_example.json").read_text()))
    assert (list(example.columns), len(example)) == (USED, 5)
    loaded = mlflow.pyfunc.load_model(str(folder))
    few = make_table("regression", n_rows=3, gaps=False)[USED]
    same = few.astype({"weight": "int64", "member": bool})
    np.testing.assert_array_equal(loaded.predict(few), loaded.predict(same))


@pytest.mark.usefixtures("active_run")
def test_model_with_threshold_and_calibration_predicts_elsewhere(code: Path) -> None:
    from src.train.fit import fit_model

    table = make_table()
    table["target"] = table["target"].replace("mid", "low")
    config = make_config("logreg", search={"kind": "none"}, threshold=0.3, calibrate="sigmoid")
    model = fit_model(table, COLUMNS, config).model
    rows = strange_rows()
    folder = log(code, model, "classification", "logreg")
    assert predict_elsewhere(code, folder, rows) == list(model.predict(rows))


# --- trust ---


@pytest.mark.parametrize(("task", "name"), [(task, name) for task in TASKS for name in sorted(ESTIMATOR_PARAMS[task])])
def test_model_of_each_estimator_is_trusted(task: Task, name: str) -> None:
    model = fit(task, name)
    types = trusted_types(model, packages_of([name]))
    assert any(kind.startswith("src.featurize.features.") for kind in types)
    if name == "lightgbm":
        with pytest.raises(TrackingError, match=r"lightgbm\.sklearn\.LGBM"):
            trusted_types(model, packages_of(["knn"]))


@pytest.mark.parametrize(
    ("table", "estimator", "name"),
    [
        ("iris", "logreg", "iris-logreg"),
        ("iris", "xgboost.XGBClassifier", "iris-XGBClassifier"),
        ("penguins", "", "penguins"),
        ("", "", "model"),
        ("a/b:c.d%e\"f'g\nh", "knn", "a_b_c_d_e_f_g_h-knn"),
        ("Größe 💥", "svm", "Größe _-svm"),
        ("x" * 500, "svm", f"{'x' * 100}-svm"),
    ],
)
def test_any_table_gives_a_name_that_mlflow_accepts(store: Store, table: str, estimator: str, name: str) -> None:
    assert name_model(table, estimator) == name
    assert store.client.create_logged_model(store.experiment_id, name).name == name


def test_types_of_other_packages_are_refused_by_name_unless_the_user_named_the_package() -> None:
    assert packages_of(["knn", "xgboost.XGBClassifier", "a.b.C"]) == {"xgboost", "a"}
    name = "tests.tracking.test_logged_model.Homemade"
    assert trusted_types(Homemade(), packages_of([name])) == [name]
    for others in ((), packages_of(["knn", "test.Homemade"])):
        with pytest.raises(TrackingError, match=f"the model contains {name}, which is not from numpy., "):
            trusted_types(Homemade(), others)


# --- columns ---


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, 1.0], "double"),
        ([0.5, None], "double"),
        (["red", "blue"], "string"),
        (["red", None], "string"),
        # Rows may bring these in another type.
        ([1.0, 2.0], "Any"),
        ([1, 2], "Any"),
        ([True, False], "Any"),
        (["1", "2"], "Any"),
        ([None, None], "Any"),
        (pd.to_datetime(["2026-01-01", "2026-01-02"]), "Any"),
    ],
)
def test_column_has_a_type_only_where_rows_cannot_arrive_in_another(values: Any, expected: str) -> None:
    model = LogisticRegression().fit(np.array([[0.0], [1.0]]), ["a", "b"])
    model.predict = lambda rows: np.array(["a"] * len(rows))
    signature = describe_columns(model, pd.DataFrame({"column": values}))
    (column,) = signature.inputs.inputs
    assert (str(column.type).rpartition(".")[2], column.required) == (expected, False)


@pytest.mark.parametrize(
    ("target", "expected"),
    [(["a", "b"], "string"), ([0, 1], "long"), ([False, True], "boolean"), (np.array([0, 1], "uint8"), "long")],
)
def test_prediction_has_the_type_of_the_target(target: Any, expected: str) -> None:
    rows = pd.DataFrame({"a": [0.0, 1.0]})
    (column,) = describe_columns(LogisticRegression().fit(rows, target), rows).outputs.inputs
    assert (column.name, column.type.name) == ("prediction", expected)
    (column,) = describe_columns(LinearRegression().fit(rows, [0.5, 1.0]), rows).outputs.inputs
    assert column.type.name == "double"


# --- requirements ---


def test_requirements_are_the_locked_lines_of_what_a_model_needs(tmp_path: Path) -> None:
    lines = [
        "# locked", "dvc==3.67.1", "mlflow==3.17.2", "mlflow-skinny==3.17.2", "numpy==2.3.5 ; python_version < '3.12'",
        "pandas[parquet]==3.1.1", "scikit-learn==1.9.1", "scikit-learn-extra==1", "",
    ]  # fmt: skip
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    assert pinned_requirements(tmp_path / "requirements.txt") == [lines[index] for index in (2, 4, 5, 6)]
    locked = pinned_requirements(ROOT / "requirements.txt")
    assert {line.partition("==")[0] for line in locked} == set(MODEL_PACKAGES)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.usefixtures("active_run")
def test_model_predicts_the_same_with_its_own_requirements_only(code: Path, tmp_path: Path) -> None:
    model = fit("classification", "lightgbm")
    folder = log(code, model, "classification", "lightgbm")
    python = str(tmp_path / "venv" / "bin" / "python")
    uv = (sys.executable, "-m", "uv")
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv")], check=True)
    requirements = str(folder / "requirements.txt")
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, "--requirement", requirements], check=True)
    rows = make_table().drop(columns="target")
    assert predict_elsewhere(tmp_path, folder, rows, python) == list(model.predict(rows))
