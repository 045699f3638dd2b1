import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"

# Each may import what is above it, and nothing beside it.
LAYERS = [
    {"errors", "atomic", "text", "warm"},
    {"config"},
    {"compute"},
    {"data"},
    {"data_load", "featurize", "data_split"},
    {"train", "report"},
    {"tracking"},
    {"utils"},
    {"stages", "versions"},
    {"new_data", "predict"},
    {"service"},
]
STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
# They record or report what a stage does or refuses, and cannot change what it writes.
WITHOUT_EFFECT_ON_OUTPUTS = (
    "src/errors.py",
    "src/atomic.py",
    "src/text.py",
    "src/compute/",
    "src/tracking/",
    "src/utils/",
    "src/warm/",
)
# The fitted model holds prepare_rows: reading it back imports its module.
NEEDED_TO_READ_THE_MODEL = {"evaluate": {"src.featurize.features"}}
HEAVY = {"sklearn", "mlflow", "dvc", "matplotlib"}

IMPORT_ALL = """
import importlib, json, logging, os, signal, sys
# What scikit-learn sets for OpenMP when it is imported is not ours.
import sklearn

def state():
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "src"]
    loggers = [logging.getLogger(name) for name in [None, *names]]
    return {
        "files": sorted(os.listdir()),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "logging": [repr(item) for logger in loggers for item in (*logger.handlers, *logger.filters)],
        "levels": [logger.level for logger in loggers if logger.level and logger is not logging.root],
        "root level": logging.root.level,
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
    }

changed = {}
for name in sys.argv[1:]:
    before = state()
    importlib.import_module(name)
    after = state()
    changes = [key for key in before if before[key] != after[key]]
    if changes:
        changed[name] = changes
print(json.dumps(changed))
"""


def paths() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def file_of(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def package_of(module: str) -> str:
    return module.split(".")[1]


@cache
def imports_of(module: str) -> frozenset[str]:
    """Find the modules of src that a module imports, also within functions."""
    path = file_of(module)
    assert path is not None, module
    return frozenset(_imported(ast.parse(path.read_text(encoding="utf-8"))))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "src")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module and node.module.split(".")[0] == "src":
                for alias in node.names:
                    submodule = f"{node.module}.{alias.name}"
                    yield submodule if file_of(submodule) else node.module


def closure_of(module: str) -> set[str]:
    found, waiting = set(), [module]
    while waiting:
        here = waiting.pop()
        if here not in found:
            found.add(here)
            waiting.extend(imports_of(here))
    return found


def modules() -> list[str]:
    return [name_of(path) for path in paths()]


def definition() -> dict[str, dict[str, object]]:
    stages: dict[str, dict[str, object]] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return stages


def in_fresh_interpreter(code: str, *arguments: str, cwd: Path) -> object:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=env, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_every_package_has_its_layer() -> None:
    assert {package_of(module) for module in modules() if module != "src"} == set().union(*LAYERS)


@pytest.mark.parametrize("module", [name for name in modules() if name != "src"])
def test_imports_point_one_way(module: str) -> None:
    (depth,) = [depth for depth, layer in enumerate(LAYERS) if package_of(module) in layer]
    allowed = set().union(*LAYERS[:depth]) | ({package_of(module)} if package_of(module) != "stages" else set())
    assert {name for name in imports_of(module) if package_of(name) not in allowed} == set()


def test_no_modules_import_each_other_in_a_cycle() -> None:
    order = list(TopologicalSorter({module: imports_of(module) for module in modules()}).static_order())
    assert set(order) == set(modules())


def test_packages_themselves_import_nothing_but_the_way_to_a_warm_fork() -> None:
    found = {name_of(path): imports_of(name_of(path)) for path in paths() if path.name == "__init__.py"}
    # `python -m src.stages.NAME` imports the package before anything heavy: only there a
    # command can hand itself over in time.
    assert {name: imported for name, imported in found.items() if imported} == {"src.stages": {"src.warm.client"}}


def test_importing_a_module_does_nothing(tmp_path: Path) -> None:
    assert in_fresh_interpreter(IMPORT_ALL, *modules(), cwd=tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["src.stages.featurize", "src.stages.data_load", "src.utils.start_pipeline"])
def test_start_of_a_command_does_not_wait_for_what_it_may_not_need(module: str, tmp_path: Path) -> None:
    code = f"import json, sys\nimport {module}\nprint(json.dumps(sorted({{n.split('.')[0] for n in sys.modules}})))"
    loaded = in_fresh_interpreter(code, cwd=tmp_path)
    assert isinstance(loaded, list)
    assert HEAVY & set(loaded) == set()


def test_settings_are_checked_without_any_library_of_data(tmp_path: Path) -> None:
    code = "import json, sys\nimport src.config.load\nprint(json.dumps(sorted(sys.modules)))"
    loaded = in_fresh_interpreter(code, cwd=tmp_path)
    assert isinstance(loaded, list)
    assert {"pandas", "numpy", *HEAVY} & set(loaded) == set()


@pytest.mark.parametrize("stage", STAGES)
def test_entry_of_a_stage_names_the_folders_of_its_code(stage: str) -> None:
    modules = closure_of(f"src.stages.{stage}") | NEEDED_TO_READ_THE_MODEL.get(stage, set())
    files = {path.relative_to(ROOT).as_posix() for path in map(file_of, modules) if path}
    files = {file for file in files if not file.startswith(WITHOUT_EFFECT_ON_OUTPUTS)}
    deps = definition()[stage]["deps"]
    assert isinstance(deps, list)
    named = [dep for dep in deps if dep.startswith("src/")]
    packages = ("src/__init__.py", "src/stages/__init__.py")
    assert {file for file in files if not file.startswith(tuple(named))} - set(packages) == set()
    assert [dep for dep in named if not any(file.startswith(dep) for file in files)] == []


def test_stages_have_one_name_everywhere() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert {path.stem for path in (SRC / "stages").glob("*.py")} - {"__init__"} == set(STAGES)
    assert set(params) - {"base", "compute", "tracking", "registry", "serve", "monitor"} == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_decorated_function_has_the_name_of_its_stage(stage: str) -> None:
    tree = ast.parse((SRC / "stages" / f"{stage}.py").read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    decorated = [function.name for function in functions if "mlflow_run" in map(ast.unparse, function.decorator_list)]
    assert decorated == [stage]
    assert ast.unparse(tree.body[-1]) == f"if __name__ == '__main__':\n    run_stage({stage})"


@pytest.mark.parametrize("stage", STAGES)
def test_command_runs_the_module_of_its_stage(stage: str) -> None:
    assert definition()[stage]["cmd"] == f"python -m src.stages.{stage} --config params.yaml"


@pytest.mark.parametrize("stage", STAGES)
def test_paths_of_outputs_are_written_in_the_settings_only(stage: str) -> None:
    kinds = [definition()[stage].get(kind, []) for kind in ("outs", "metrics", "plots")]
    items = [item for kind in kinds if isinstance(kind, list) for item in kind]
    outputs = [next(iter(item)) if isinstance(item, dict) else item for item in items]
    assert outputs
    assert [output for output in outputs if not re.fullmatch(rf"\$\{{{stage}\.\w+_(path|dir)\}}", output)] == []
