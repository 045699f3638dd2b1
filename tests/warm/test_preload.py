"""The warm server has everything imported, and nothing of it is stale or started."""

import json
import os
import sys

import pytest

from src.warm.preload import set_pools
from tests.pipeline.clone import STAGES, Clone
from tests.pipeline.conftest import clone, template  # noqa: F401 - fixtures of both folders

# What the server does and then its fork, without the way in between.
RUN = """
import json, os, runpy, sys
from src.warm.preload import load, needed_by, preloading, set_pools, steps
needed = needed_by("src.stages.{STAGE}", with_tracking=True)
names = [name for name in steps(with_tracking=True) if name in needed]
with preloading():
    for name in names:
        load(name)
missing = [name for name in names if name.partition(":")[0] not in sys.modules]
if "{STAGE}" == "train":
    import mlflow.utils.requirements_utils as requirements
    assert requirements._PACKAGES_TO_MODULES, "a fork has to look for all packages itself"
n_threads = len(os.listdir("/proc/self/task"))
before, sys.argv = set(sys.modules), ["stage", "--config", "params.yaml"]
set_pools()
sys.modules.pop("src.stages.{STAGE}")
try:
    runpy.run_module("src.stages.{STAGE}", run_name="__main__")
except SystemExit as end:
    assert not end.code
new = {name for name in set(sys.modules) - before if getattr(sys.modules[name], "__file__", None)}
print(json.dumps({"missing": missing, "threads": n_threads, "new": sorted(new - {f"src.stages.{STAGE}"})}))
"""

ABOVE = (
    "import os, pathlib; above = pathlib.Path(f'/proc/{os.getppid()}/cmdline').read_text(); "
    "pathlib.Path('above-' + os.environ['DVC_STAGE']).write_text(above)"
)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_finds_everything_imported_and_no_thread_started(clone: Clone, stage: str) -> None:  # noqa: F811 - the fixture is imported
    output = clone.run(sys.executable, "-c", RUN.replace("{STAGE}", stage), PYTHONPATH=".").stdout
    assert json.loads(output.splitlines()[-1]) == {"missing": [], "threads": 1, "new": []}


@pytest.mark.parametrize(
    ("environ", "size"),
    [
        ({}, None),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"}, 1),
        ({"OPENBLAS_NUM_THREADS": "4096"}, None),
        ({"OPENBLAS_NUM_THREADS": "0"}, None),
        ({"OPENBLAS_NUM_THREADS": "many"}, None),
    ],
)
def test_pools_get_the_size_that_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], size: int | None
) -> None:
    import numpy  # noqa: F401 - brings the pool
    from threadpoolctl import ThreadpoolController

    for name in ("OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    set_pools()
    pools = ThreadpoolController().select(internal_api="openblas").lib_controllers
    assert {pool.num_threads for pool in pools} == {size or len(os.sched_getaffinity(0))}


@pytest.mark.slow
def test_stages_of_the_pipeline_run_warm_and_write_the_same_bytes(clone: Clone) -> None:  # noqa: F811 - the fixture is imported
    lock = clone.lock()
    for stage in STAGES:
        clone.in_stage(stage, ABOVE)
    clone.launch(PIPELINE_WARM="")
    above = [(clone.path / f"above-{stage}").read_text() for stage in STAGES]
    assert [command for command in above if "src.warm.server" not in command] == []
    clone.git("checkout", "--quiet", "src")
    clone.launch("-f", PIPELINE_WARM="0")
    assert clone.lock() == lock
