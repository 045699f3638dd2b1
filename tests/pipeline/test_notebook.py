from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from src.versions.load import load_model, load_run, load_table
from tests.pipeline.clone import ROOT, Clone

pytestmark = pytest.mark.slow

NOTEBOOK = "notebooks/explore.ipynb"


def execute(clone: Clone, reference: str | None = None) -> str:
    """Execute the notebook as JupyterLab does, in its own folder, and return what the cells print."""
    notebook = nbformat.read(ROOT / NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("REFERENCE = None", f"REFERENCE = {reference!r}")
    (clone.path / "notebooks").mkdir(exist_ok=True)
    client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": clone.path / "notebooks"}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    return "\n".join(output.get("text", "") or str(output["data"].get("text/plain", "")) for output in outputs)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_notebook_runs_on_the_workspace_and_on_an_earlier_run(clone: Clone) -> None:
    first = clone.parent().info.run_id
    assert "first    logreg" in execute(clone)
    clone.edit("params.yaml", "estimator: logreg", "estimator: knn")
    clone.launch("--name", "second")
    shown = execute(clone, first)
    assert "second       knn" in shown
    # The workspace and the last commit have other results than the run.
    assert load_model(clone.path)[-1].__class__.__name__ == "KNeighborsClassifier"
    assert load_model(clone.path, first)[-1].__class__.__name__ == "LogisticRegression"
    run = load_run(clone.path, first)
    assert run.metrics["test_f1_macro"] == clone.parents()[-1].data.metrics["test_f1_macro"]
    assert run.params["train"]["estimator"] == "logreg"
    assert load_table(clone.path, first).equals(load_table(clone.path, None, "test"))
    # A nested run stands for its parent.
    nested = clone.nested(clone.parents()[-1])["evaluate"].info.run_id
    assert load_run(clone.path, nested).md5s == run.md5s


def test_notebook_is_committed_without_outputs() -> None:
    notebook = nbformat.read(Path(ROOT, NOTEBOOK), as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
