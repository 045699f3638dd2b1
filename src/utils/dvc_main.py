"""DVC's command, which imports what it needs before it is told to run.

python -m src.utils.dvc_main FD ARGUMENTS
"""

import importlib
import json
import os
import signal
import sys
from contextlib import suppress

# What `dvc repro` imports, half of it only after it has begun.
MODULES = (
    "dvc.cli.parser",
    "dvc.repo.reproduce",
    "dvc.repo.graph",
    "dvc.repo.index",
    "dvc.repo.artifacts",
    "dvc.repo.datasets",
    "dvc.repo.metrics",
    "dvc.repo.plots",
    "dvc.repo.trie",
    "dvc.cachemgr",
    "dvc.data_cloud",
    "dvc.dirs",
    "dvc.lock",
    "dvc.rwlock",
    "dvc.scm",
    "dvc.stage.run",
    "dvc_data.hashfile.db.local",
    "configobj",
    "dulwich.ignore",
    "networkx",
    "pyparsing",
    "ruamel.yaml",
)


def main(number: int, arguments: list[str]) -> int:
    """Run DVC as soon as the pipe says so; gives its exit code.

    Args:
        number: A pipe to read further variables from, as JSON. If it ends before, nothing is run.
        arguments: Those of DVC.
    """
    # Until then there is nothing to tell of an interruption. Whoever ignores it, as in the background, still does.
    handler = signal.getsignal(signal.SIGINT)
    if handler == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in MODULES:
        # What is wrong with it DVC shall say.
        with suppress(ImportError):
            importlib.import_module(name)
    with open(number, encoding="utf-8") as pipe:
        word = pipe.read()
    if not word:
        return 1
    os.environ |= json.loads(word)
    signal.signal(signal.SIGINT, handler)
    from dvc.cli import main as run_dvc

    sys.argv = ["dvc", *arguments]
    code: int = run_dvc(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
