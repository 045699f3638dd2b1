"""A clone with three registered results: a good model, a dummy, and another good model."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.clone import Clone, copy_clone
from tests.pipeline.conftest import build_once, template  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def three_results(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811 - the fixture
    """Run the pipeline with logistic regression, a dummy and a support vector machine; each has a branch."""

    def build(path: Path) -> None:
        clone = copy_clone(template, path / "repo")
        clone.git("branch", "logreg")
        for estimator in ("dummy", "svm"):
            clone.edit("params.yaml", r"estimator: \w+", f"estimator: {estimator}")
            clone.launch("--name", estimator)
            clone.commit(f"Run {estimator}")
            clone.git("branch", estimator)

    return build_once(tmp_path_factory, "three-results", build) / "repo"


@pytest.fixture
def clone(three_results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clone]:
    """Return a copy of the clone, which is the working directory."""
    clone = copy_clone(three_results, tmp_path / "repo")
    monkeypatch.chdir(clone.path)
    monkeypatch.setattr("os.environ", clone.env | {"MLFLOW_TRACKING_URI": clone.store})
    yield clone
    logging.getLogger("mlflow").setLevel(logging.NOTSET)
