"""Which packages each stage imports."""

import json
import sys

import pandas as pd
import pytest

from tests.pipeline.clone import STAGES, Clone

RUN = """
import json, runpy, sys
before, sys.argv = set(sys.modules), ["stage", "--config", "params.yaml"]
try:
    runpy.run_module(f"src.stages.{STAGE}", run_name="__main__")
except SystemExit as end:
    assert not end.code
loaded = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names) - {"src"}
print(json.dumps(sorted(name for name in loaded if not name.startswith("_"))))
"""
SETTINGS = {"annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection", "yaml"}
RECORD = {"filelock", "psutil"}
# pyarrow imports cloudpickle, and has cython_runtime in its modules.
TABLES = {"cloudpickle", "cython_runtime", "dateutil", "numpy", "pandas", "pyarrow", "six"}
LEARNING = {"joblib", "narwhals", "rich", "scipy", "sklearn", "threadpoolctl", "charset_normalizer"}
FIGURES = {"PIL", "cycler", "fontTools", "kiwisolver", "matplotlib", "mpl_toolkits", "packaging", "pyparsing"}
PAGES = {"jinja2", "markupsafe"}
SKRUB = {"certifi", "idna", "requests", "skrub", "urllib3"}
# scikit-learn's own tests, which skrub imports, import it where it is installed, as for developers.
TESTING = {"_pytest", "iniconfig", "pluggy", "py", "pygments", "pytest"}
ALWAYS = SETTINGS | RECORD | TABLES

NEEDED = {
    # It loads a table of scikit-learn.
    "data_load": ALWAYS | LEARNING,
    "featurize": ALWAYS,
    "data_split": ALWAYS | LEARNING | FIGURES | PAGES | SKRUB,
    "train": ALWAYS | LEARNING | {"tqdm"},
    "evaluate": ALWAYS | LEARNING | FIGURES | PAGES,
}
# Only `train` logs a model.
HEAVY = {"dvc", "matplotlib", "skops", "sklearn"}
HEAVY_FOR_RECORD = {"train": {"skops"}}


def loaded_by(clone: Clone, stage: str) -> set[str]:
    output = clone.run(sys.executable, "-c", RUN.replace("{STAGE}", stage), PYTHONPATH=".").stdout
    loaded: list[str] = json.loads(output.splitlines()[-1])
    return set(loaded)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_imports_only_what_it_uses(clone: Clone, stage: str) -> None:
    clone.set_param("tracking.enabled", False)
    assert loaded_by(clone, stage) - TESTING == NEEDED[stage]


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_reading_a_file_does_not_import_scikit_learn(clone: Clone, name: str) -> None:
    table = pd.DataFrame({"a": [1.0, None, 3.0], "b": ["x", "y", "x"], "target": ["u", "v", "u"]})
    path = clone.path / "data/external" / name
    table.to_csv(path, index=False) if name.endswith("csv") else table.to_parquet(path)
    clone.set_param("tracking.enabled", False)
    clone.set_param("data_load.source", {"kind": "file"})
    clone.set_param("data_load.external_path", f"data/external/{name}")
    assert loaded_by(clone, "data_load") == ALWAYS


# The record is the same for all stages but `train`, which logs a model.
@pytest.mark.slow
@pytest.mark.parametrize("stage", ["data_load", "train"])
def test_tracking_imports_mlflow_and_no_library_of_another_stage(clone: Clone, stage: str) -> None:
    loaded = loaded_by(clone, stage)
    assert "mlflow" in loaded
    assert loaded & HEAVY == NEEDED[stage] & HEAVY | HEAVY_FOR_RECORD.get(stage, set())
