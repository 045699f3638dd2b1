import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from src.config.train import ESTIMATOR_PARAMS, Task
from src.errors import TrackingError
from src.tracking.cache import md5_of
from src.tracking.content import attach_metrics, find_logged_model
from src.tracking.logged_model import (
    log_model,
    model_code,
    packages_of,
    pinned_requirements,
    trusted_types,
)
from src.tracking.session import Place
from src.tracking.store import Store, open_store

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

ROOT = Path(__file__).parents[2]


class Homemade(ClassifierMixin, BaseEstimator):  # type: ignore[misc] - scikit-learn ships no types
    """An estimator of a module that is not known to be harmless."""


# MLflow compares string columns with a range to tell whether they have names.
@pytest.mark.filterwarnings("ignore:Operation with range is deprecated:DeprecationWarning")
# MLflow's own functions of language models lack the type hints that it asks for.
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_model_is_found_by_its_hash_and_predicts_what_the_file_predicts(repository: Path) -> None:
    import mlflow

    store, place = open_store(repository, "pipeline"), Place(repository, repository)
    md5 = md5_of(repository / "models" / "model.joblib")
    table_md5 = md5_of(repository / "data" / "train.parquet")
    assert md5 is not None
    assert table_md5 is not None
    assert find_logged_model(store, md5) is None
    with mlflow.start_run() as run:
        log_model(place, "models/model.joblib", md5, {"data/train.parquet": table_md5})
    logged = find_logged_model(store, md5)
    assert logged is not None
    assert logged.source_run_id == run.info.run_id
    info = mlflow.models.get_model_info(logged.model_uri)
    assert info.signature.inputs.input_names() == ["a", "b"]
    table = pd.read_parquet(repository / "data" / "train.parquet")[["a", "b"]]
    expected = list(joblib.load(repository / "models" / "model.joblib").predict(table))
    loaded: Any = mlflow.sklearn.load_model(logged.model_uri)
    assert list(loaded.predict(table)) == expected
    requirements = Path(mlflow.artifacts.download_artifacts(f"{logged.artifact_location}/requirements.txt")).read_text()
    assert "numpy==2.4.0" in requirements.splitlines()
    assert "scikit-learn==1.9.1" in requirements

    # The stage that scores it ties its metrics to it.
    scoring = store.client.create_run(store.experiment_id).info.run_id
    attach_metrics(store, scoring, md5, {"test_f1": 0.5})
    assert store.client.get_run(scoring).data.metrics == {"test_f1": 0.5}
    assert [item.model_id for item in store.client.get_run(scoring).inputs.model_inputs] == [logged.model_id]
    metrics = store.client.get_logged_model(logged.model_id).metrics
    assert {metric.key: metric.value for metric in metrics} == {"test_f1": 0.5}


def test_model_whose_content_is_gone_is_left_out(store: Store, place: Place) -> None:
    log_model(place, "models/model.joblib", "0" * 32, {})
    assert store.client.search_logged_models([store.experiment_id]) == []


def test_file_that_is_not_the_one_that_was_hashed_is_never_unpickled(repository: Path) -> None:
    store, place = open_store(repository, "pipeline"), Place(repository, repository)
    (repository / "models" / "model.joblib").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    log_model(place, "models/model.joblib", "0" * 32, {})
    assert not (repository / "owned").exists()
    assert store.client.search_logged_models([store.experiment_id]) == []


def test_model_of_scikit_learn_is_trusted() -> None:
    model = LogisticRegression().fit([[0.0], [1.0]], ["a", "b"])
    assert isinstance(trusted_types(model), list)


def test_model_that_holds_something_else_is_refused_by_name() -> None:
    with pytest.raises(
        TrackingError, match=r"the model holds tests\.tracking\.test_logged_model\.Homemade, which is not of"
    ):
        trusted_types(Homemade())


def test_requirements_of_a_model_are_the_locked_lines_of_what_it_needs(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lines = [
        "# locked",
        "dvc==3.67.1",
        "mlflow==3.17.2",
        "mlflow-skinny==3.17.2",
        "numpy==2.3.5 ; python_full_version < '3.12'",
        "pandas[parquet]==3.1.1",
        "scikit-learn==1.9.1",
        "scikit-learn-extra==1",
        "",
    ]
    lock.write_text("\n".join(lines))
    assert pinned_requirements(lock) == [lines[index] for index in (2, 4, 5, 6)]


def test_lock_of_this_project_names_all_that_a_model_needs() -> None:
    from src.tracking.logged_model import MODEL_PACKAGES

    pinned = pinned_requirements(Path(__file__).parents[2] / "requirements.txt")
    assert {line.partition("==")[0] for line in pinned} == set(MODEL_PACKAGES)


TASKS: list[Task] = ["classification", "regression"]


def fitted(task: Task, name: str) -> "Pipeline":
    from src.train.fit import fit_model
    from tests.train.tables import COLUMNS, make_config, make_table

    return fit_model(make_table(task), COLUMNS, make_config(name, task, search={"kind": "none"})).model


@pytest.mark.parametrize(("task", "name"), [(task, name) for task in TASKS for name in sorted(ESTIMATOR_PARAMS[task])])
def test_model_of_every_estimator_is_trusted(task: Task, name: str) -> None:
    assert trusted_types(fitted(task, name), packages_of([name]))


def test_package_is_trusted_only_if_the_user_named_a_class_of_it() -> None:
    assert packages_of(["knn", "xgboost.XGBClassifier", "a.b.C"]) == {"xgboost", "a"}
    assert trusted_types(Homemade(), packages_of(["tests.tracking.test_logged_model.Homemade"]))
    with pytest.raises(TrackingError, match="Homemade"):
        trusted_types(Homemade(), packages_of(["knn", "test.Homemade"]))
    model = fitted("classification", "lightgbm")
    with pytest.raises(TrackingError, match=r"lightgbm\.sklearn\.LGBMClassifier"):
        trusted_types(model, packages_of(["knn"]))


def test_code_of_a_model_is_all_that_its_features_import(tmp_path: Path) -> None:
    code = model_code(ROOT)
    assert {"src/__init__.py", "src/data/__init__.py", "src/featurize/features.py", "src/errors.py"} <= set(code)
    for name in code:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    # -I leaves the working folder and PYTHONPATH out.
    command = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import src.featurize.features as f; print(f.__file__)"
    )
    result = subprocess.run([sys.executable, "-I", "-c", command], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == str(tmp_path / "src" / "featurize" / "features.py")


# Run where nothing of this repository can be imported.
PREDICT = """
import json, sys, warnings
import mlflow, pandas as pd
rows, path = pd.read_parquet(sys.argv[1]), sys.argv[2]
assert not [name for name in sys.path if name == sys.argv[3]]
# MLflow's own, of its columns and its functions of language models.
warnings.filterwarnings("ignore")
native = mlflow.sklearn.load_model(path).predict(rows)
general = mlflow.pyfunc.load_model(path).predict(rows)
import src.featurize.features
print(json.dumps([list(native), list(general), src.featurize.features.__file__]))
"""


def log(repository: Path, model: "Pipeline", table: pd.DataFrame, named: Sequence[str]) -> Path:
    """Log a model as stage `train` does; gives the folder that MLflow keeps it in."""
    import mlflow

    for name in [*model_code(ROOT), "requirements.txt"]:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_bytes((ROOT / name).read_bytes())
    store = open_store(repository, "pipeline")
    joblib.dump(model, repository / "model.joblib")
    table.to_parquet(repository / "train.parquet", index=False)
    model_md5, table_md5 = (str(md5_of(repository / name)) for name in ("model.joblib", "train.parquet"))
    with mlflow.start_run():
        log_model(Place(repository, repository), "model.joblib", model_md5, {"train.parquet": table_md5}, named)
    found = find_logged_model(store, model_md5)
    assert found is not None
    return Path(found.artifact_location.removeprefix("file://"))


def predict_elsewhere(python: Path, folder: Path, model: Path, rows: pd.DataFrame) -> list[Any]:
    rows.to_parquet(folder / "rows.parquet", index=False)
    command = [str(python), "-I", "-c", PREDICT, str(folder / "rows.parquet"), str(model), str(ROOT)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    native, general, code = json.loads(result.stdout)
    assert Path(code).is_relative_to(model)
    assert general == native
    return list(native)


def raw_rows() -> pd.DataFrame:
    """Give rows as a user's file holds them: whole numbers, truths, gaps, and levels never seen."""
    from tests.train.tables import make_table, strange_rows

    whole = make_table(n_rows=4, seed=5, gaps=False).drop(columns="target")
    return pd.concat([strange_rows(), whole], ignore_index=True)


# MLflow compares string columns with a range to tell whether they have names.
@pytest.mark.filterwarnings("ignore:Operation with range is deprecated:DeprecationWarning")
# MLflow's own functions of language models lack the type hints that it asks for.
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
@pytest.mark.parametrize(
    ("task", "name"), [("classification", "hist_gradient_boosting"), ("regression", "mlp"), ("regression", "lightgbm")]
)
def test_model_predicts_the_same_where_this_repository_is_not(repository: Path, task: Task, name: str) -> None:
    from tests.train.tables import make_table

    model = fitted(task, name)
    folder = log(repository, model, make_table(task), packages_of([name]))
    predicted = predict_elsewhere(Path(sys.executable), repository, folder, raw_rows())
    assert predicted == list(model.predict(raw_rows()))
    requirements = (folder / "requirements.txt").read_text()
    assert ("lightgbm==" in requirements) == (name == "lightgbm")


@pytest.mark.filterwarnings("ignore:Operation with range is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_signature_names_types_where_rows_can_come_as_no_other(repository: Path) -> None:
    import mlflow

    from tests.train.tables import USED, make_table

    model = fitted("regression", "linear")
    folder = log(repository, model, make_table("regression"), [])
    signature = mlflow.models.get_model_info(str(folder)).signature
    inputs = {column.name: str(column.type).rpartition(".")[2] for column in signature.inputs}
    assert list(inputs) == USED
    assert inputs == {
        "height": "double",
        "weight": "Any",
        "colour": "string",
        "size": "string",
        "postcode": "string",
        "member": "Any",
        "clinic": "string",
    }
    assert not any(column.required for column in signature.inputs)
    assert [(column.name, column.type.name) for column in signature.outputs] == [("prediction", "double")]
    loaded = mlflow.pyfunc.load_model(str(folder))
    few = make_table("regression", n_rows=3, gaps=False)[USED]
    same = few.astype({"weight": "int64", "member": bool})
    np.testing.assert_array_equal(loaded.predict(few), loaded.predict(same))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Operation with range is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_model_predicts_the_same_with_its_own_requirements_only(repository: Path, tmp_path: Path) -> None:
    from tests.train.tables import make_table

    model = fitted("classification", "lightgbm")
    folder = log(repository, model, make_table(), packages_of(["lightgbm"]))
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(folder / "requirements.txt")], check=True
    )
    assert predict_elsewhere(python, tmp_path, folder, raw_rows()) == list(model.predict(raw_rows()))
