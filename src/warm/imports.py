"""What the server imports before it forks, and how a fork undoes the side effects of that.

There is no list of modules. The server imports the stages; what a library imports only when
it is first used, each fork records in `.dvc/tmp/warm-imports.json` for the next server.
"""

import gc
import importlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from src.warm.processes import CODE_DIR

STAGES = "src.stages"
# What is needed when a module runs a second time, which is later than everything else.
LATER = ""
# A fork has none of the server's threads, so none may start; nor may an import use the network.
QUIET = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "DO_NOT_TRACK": "true",
}

Stamps = dict[str, tuple[int, int, int]]


def plan_imports(preload: Sequence[str], finish_with: str) -> dict[str, list[str]]:
    """List what to import for each module that the server may be asked to run, in the order of use."""
    learned = read_learned()
    modules = dict.fromkeys([*_stages(), *preload, finish_with, LATER])
    return {module: [name for name in (module, *learned.get(module, [])) if name] for module in modules}


def _stages() -> list[str]:
    """List the modules of the stages in the order in which `dvc.yaml` names them, then the others."""
    modules = [f"{STAGES}.{path.stem}" for path in sorted((CODE_DIR / "stages").glob("*.py"))]
    modules.remove(f"{STAGES}.__init__")
    named: list[str] = []
    with suppress(OSError, UnicodeDecodeError):
        named = re.findall(rf"-m\s+({re.escape(STAGES)}\.\w+)", Path("dvc.yaml").read_text(encoding="utf-8"))
    return list(dict.fromkeys([*(module for module in named if module in modules), *modules]))


def learn(module: str, loaded: set[str]) -> None:
    """Record what `module` imported in this fork beyond the modules that were loaded before.

    Args:
        module: The module that ran, or LATER.
        loaded: Names of the modules that the server had loaded.
    """
    names = [
        name
        for name, loaded_module in list(sys.modules.items())
        if name not in loaded and getattr(getattr(loaded_module, "__spec__", None), "name", None) == name
    ]
    if names:
        learned = read_learned()
        learned[module] = list(dict.fromkeys([*learned.get(module, []), *names]))
        path = _learned_path()
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        # Without a folder of DVC there is no pipeline that would run again.
        with suppress(OSError):
            temporary.write_text(json.dumps(learned), encoding="utf-8")
            temporary.replace(path)


def read_learned() -> dict[str, list[str]]:
    """Read what forks recorded, by module."""
    try:
        learned = json.loads(_learned_path().read_text(encoding="utf-8"))
        return {module: [str(name) for name in found] for module, found in learned.items()}
    # A file of another shape is written anew.
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _learned_path() -> Path:
    # DVC deletes the folder in which an experiment runs, but not its main repository.
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()) / ".dvc" / "tmp" / "warm-imports.json"


@contextmanager
def preloading() -> Iterator[None]:
    """Keep libraries from starting threads and using the network while they are imported."""
    before = dict(os.environ)
    os.environ.update(QUIET)
    # Imported objects stay alive: collecting garbage among them costs an eighth of the time,
    # and a collection in a fork would copy every page of memory that it visits.
    gc.disable()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        gc.freeze()


def load(name: str) -> None:
    """Import a module, or call the function `module:function`; the stage that needs it reports what is wrong."""
    module, _, function = name.partition(":")
    with suppress(Exception):
        imported = importlib.import_module(module)
        if function:
            getattr(imported, function)()


def resize_pools() -> None:
    """Give OpenBLAS the number of threads that it has in other processes: it can change the last bit of a result."""
    from threadpoolctl import ThreadpoolController

    size = n_cpus = len(os.sched_getaffinity(0))
    # OpenBLAS reads both, and the second has precedence.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        wanted = os.environ.get(name, "")
        if wanted.isdigit() and int(wanted):
            size = min(int(wanted), n_cpus)
    for pool in ThreadpoolController().select(internal_api="openblas").lib_controllers:
        pool.set_num_threads(size)


def stamp_code() -> Stamps:
    """Return the modification time, size and inode of each file of this project's code."""
    stamps = {}
    for path in CODE_DIR.rglob("*.py"):
        with suppress(FileNotFoundError):
            facts = path.stat()
            stamps[str(path)] = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    return stamps


def forget_changed_code(stamps: Stamps, cwd: Path) -> None:
    """Unload the modules of this project if they are to be imported again.

    This is so if the code changed since `stamps`, or if `cwd` has code of its own: the folder of an
    experiment, with the code that this process imported, may be deleted at any moment.
    """
    own = cwd / CODE_DIR.name
    if stamp_code() != stamps or (own.is_dir() and own.resolve() != CODE_DIR):
        importlib.invalidate_caches()
        for name in [name for name in sys.modules if name.partition(".")[0] == "src"]:
            del sys.modules[name]
