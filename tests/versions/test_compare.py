import json
import re
from urllib.parse import parse_qs

import pytest

from src.errors import VersionError
from src.versions.compare import compare
from tests.versions.project import Project
from tests.versions.runs import EXPERIMENT, parent_of


def test_two_versions_are_shown_side_by_side(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    compare(project.root, "v1.0.0", "v1.1.0", EXPERIMENT)
    text = capfd.readouterr().out
    assert re.search(r"train.scale +1 +2", text)
    assert re.search(r"f1 +0.6 +0.7", text)
    runs = [parent_of(project, tag).info for tag in ("v1.0.0", "v1.1.0")]
    link = re.search(r"^Runs:  <address that `make ui` prints>/#/compare-runs\?(.*)$", text, re.MULTILINE)
    assert link
    assert parse_qs(link[1]) == {
        "runs": [json.dumps([run.run_id for run in runs])],
        "experiments": [json.dumps([runs[0].experiment_id])],
        "workflowType": ["machine_learning"],
    }
    assert "points" in (project.root / "reports/compare/index.html").read_text()
    assert "Plots: reports/compare/index.html" in text


def test_version_without_a_run_has_no_link_but_is_compared(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    compare(project.root, "v1.0.0", "main", EXPERIMENT)
    text = capfd.readouterr().out
    assert "Runs:  unknown: MLflow has no parent run of one of them" in text
    assert re.search(r"train.scale +1 +3", text)


def test_no_link_without_an_experiment(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    compare(project.root, "v1.0.0", "v1.0.0", None)
    assert "Runs:" not in capfd.readouterr().out


def test_unusable_store_is_named(
    project: Project, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://host")
    compare(project.root, "v1.0.0", "v1.0.0", EXPERIMENT)
    assert "Runs:  unknown: MLflow store nonsense://host" in capfd.readouterr().out


def test_unknown_version_is_refused(project: Project) -> None:
    with pytest.raises(VersionError, match="'--help' is not a tag, branch or commit"):
        compare(project.root, "v1.0.0", "--help", None)
