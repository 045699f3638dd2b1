"""Each table through the real pipeline: DVC, MLflow, and the logged model in an environment of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from src.data.models import read_model
from tests.pipeline.clone import Clone
from tests.pipeline.conftest import build_once
from tests.tables.tables import NAMES, make_table, read_params

pytestmark = pytest.mark.slow

# Two ways to load a logged model; neither knows of the repository.
PREDICT = """
import json, sys
import mlflow
import pandas as pd
rows = pd.read_parquet(sys.argv[2])
model = mlflow.sklearn.load_model(sys.argv[1], skops_trusted_types=json.loads(sys.argv[3]))
print(json.dumps(model.predict(rows).tolist()))
"""


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment with what a logged model asks for, and nothing else."""

    def build(path: Path) -> None:
        root = Path(__file__).parents[2]
        lock = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
        from src.tracking.content import pinned_requirements

        assert lock
        (path / "requirements.txt").write_text("\n".join(pinned_requirements(root / "requirements.txt")))
        subprocess.run([sys.executable, "-m", "venv", path / "venv"], check=True)
        install = ["-m", "uv", "pip", "install", "--quiet", "--python", path / "venv" / "bin" / "python"]
        subprocess.run([sys.executable, *install, "-r", path / "requirements.txt"], check=True)

    return build_once(tmp_path_factory, "elsewhere", build) / "venv" / "bin" / "python"


@pytest.mark.parametrize("name", NAMES)
def test_table_goes_through_dvc_and_its_model_predicts_elsewhere(
    name: str, fresh: Clone, elsewhere: Path, tmp_path: Path
) -> None:
    params = read_params(name)
    (fresh.path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    make_table(name, fresh.path)
    fresh.launch()
    assert fresh.outcomes() == ["ran"] * 5
    assert fresh.status() == []

    parent = fresh.parent()
    assert parent.data.metrics.items() >= fresh_metrics(fresh).items()
    model_uri = fresh.logged_model_path()
    raw = pd.read_parquet(fresh.path / params["data_load"]["dataset_path"]).head(2000)
    rows = tmp_path / "rows.parquet"
    raw.to_parquet(rows)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW_"))}
    result = subprocess.run(
        [elsewhere, "-c", PREDICT, model_uri, rows, json.dumps([])],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    expected = read_model(fresh.path / params["train"]["model_path"]).predict(raw).tolist()
    assert json.loads(result.stdout.splitlines()[-1]) == expected


def fresh_metrics(clone: Clone) -> dict[str, float]:
    metrics: dict[str, float] = json.loads(clone.read("reports/metrics.json"))
    return {name: value for name, value in metrics.items() if isinstance(value, float)}
