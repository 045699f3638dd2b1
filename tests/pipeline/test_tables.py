"""Each test table in the real pipeline, and its logged model in a separate environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from src.data.models import read_model
from src.tracking.logged_model import pinned_requirements
from src.tracking.session import numbers
from src.versions.load import load_table
from tests.pipeline.clone import Clone
from tests.pipeline.conftest import build_once
from tests.tables.tables import ROOT, make_table, read_params

pytestmark = pytest.mark.slow

PREDICT = """
import json, sys
import mlflow
import pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
print(json.dumps(list(map(str, model.predict(pd.read_parquet(sys.argv[2]))))))
"""


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an environment with only the requirements of a logged model."""

    def build(path: Path) -> None:
        requirements = path / "requirements.txt"
        requirements.write_text("\n".join(pinned_requirements(ROOT / "requirements.txt")))
        subprocess.run([sys.executable, "-m", "venv", path / "venv"], check=True)
        install = ["-m", "uv", "pip", "install", "--quiet", "--compile-bytecode"]
        python = path / "venv" / "bin" / "python"
        subprocess.run([sys.executable, *install, "--python", python, "--requirement", requirements], check=True)

    return build_once(tmp_path_factory, "elsewhere", build) / "venv" / "bin" / "python"


# A table with everything; `tests/tables` runs the stages on all others.
@pytest.mark.parametrize("name", ["visits"])
def test_pipeline_runs_on_a_table_and_its_model_predicts_elsewhere(
    name: str, fresh: Clone, elsewhere: Path, tmp_path: Path
) -> None:
    params = read_params(name)
    # In parts, searched on a sample.
    params["data_load"]["rows_per_part"] = 700
    params["train"]["max_rows"] = 1000
    (fresh.path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    make_table(name, fresh.path)
    fresh.launch()
    assert fresh.outcomes() == ["ran"] * 5
    assert fresh.status() == []
    fresh.commit("Use visits")
    for table in ("dataset", "test"):
        assert (fresh.path / params["data_load"]["dataset_path"]).is_dir()
        assert load_table(fresh.path, "HEAD", table).equals(load_table(fresh.path, None, table))

    (dataset,) = fresh.parent().inputs.dataset_inputs
    assert json.loads(dataset.dataset.profile)["num_rows"] == len(load_table(fresh.path, None, "dataset"))

    metrics = numbers(json.loads(fresh.read("reports/metrics.json")))
    assert metrics
    assert fresh.parent().data.metrics.items() >= metrics.items()
    raw = pd.read_parquet(fresh.path / params["data_load"]["dataset_path"]).head(2000)
    raw.to_parquet(tmp_path / "rows.parquet")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW_"))}
    result = subprocess.run(
        [elsewhere, "-c", PREDICT, fresh.logged_model(), "rows.parquet"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    expected = read_model(fresh.path / params["train"]["model_path"]).predict(raw)
    assert json.loads(result.stdout.splitlines()[-1]) == list(map(str, expected))
