"""What makes a process what it is, beyond what a fork can take over from its client."""

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from src.tracking import names

# The folder that `src` was imported from.
CODE = Path(__file__).resolve().parents[1]
# These differ from stage to stage and nothing reads them at import. Whatever else differs
# may have been read by the server already: such a stage runs as a process of its own.
FREE_VARIABLES = ("DVC_", "PIPELINE_", names.MLFLOW_RUN_ID, "_", "OLDPWD", "PWD", "SHLVL")


def process_settings() -> dict[str, Any]:
    """Describe what a fork has of the server and cannot take over from its client.

    Where they differ in it, a fork would not be the process that the client would be.
    """
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    settings = {
        "python": [sys.prefix, os.path.realpath(sys.executable), sys.flags, sys.warnoptions, sys._xoptions],
        "code": str(CODE),
        "user": [os.getresuid(), os.getresgid(), os.getgroups()],
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in limits},
        "cpus": sorted(os.sched_getaffinity(0)),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "ignored": sorted(n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "environ": {name: value for name, value in os.environ.items() if not _is_free(name)},
    }
    # As it arrives: JSON has no tuples.
    as_received: dict[str, Any] = json.loads(json.dumps(settings))
    return as_received


def _is_free(name: str) -> bool:
    return any(name.startswith(free) if free.endswith("_") and free != "_" else name == free for free in FREE_VARIABLES)


def umask() -> int:
    """Read the umask of this process, which can only be read by changing it."""
    value = os.umask(0)
    os.umask(value)
    return value


def inherits_files() -> bool:
    """Tell whether whoever started this process gave it files besides the standard three, which must be open."""
    numbers = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
    inherited = set()
    for number in numbers:
        try:
            if os.get_inheritable(number):
                inherited.add(number)
        except OSError:
            # The listing's own.
            continue
    return inherited != {0, 1, 2}
