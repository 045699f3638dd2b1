import ast
import io
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

from src.config.training import ESTIMATOR_PARAMS, Task
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
