"""DVC's command line, which imports what it needs, waits for the launcher, and reports what it did.

python -m src.utils.dvc_main FD ARGUMENTS
"""

import json
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

# What DVC logs about a stage, and the outcome that it means; the first argument is the stage's name.
MESSAGES = {
    "Running stage '%s':": "ran",
    "Stage '%s' didn't change, skipping": "unchanged",
    "Stage '%s' is cached - skipping run, checking out outputs": "restored",
}
OUTCOMES_PATH = "PIPELINE_OUTCOMES"


class Outcomes(logging.Handler):
    """Collect what DVC did with each stage from its log."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Note the outcome of a stage, if the record is about one."""
        if record.msg in MESSAGES and isinstance(record.args, tuple):
            self.found[str(record.args[0])] = MESSAGES[record.msg]


def main(number: int, arguments: list[str]) -> int:
    """Run DVC once the launcher says so; returns its exit code.

    Args:
        number: File descriptor of a pipe from which variables are read as JSON. If it is closed
            empty, nothing is run.
        arguments: Those of DVC.
    """
    # Before it runs there is nothing to report about an interruption.
    handler = signal.getsignal(signal.SIGINT)
    if handler == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # DVC reports problems itself, when it runs.
    with suppress(Exception):
        from dvc.repo import Repo

        # Reading the repository imports most of what a run needs.
        with Repo() as repo:
            _ = repo.index.graph, repo.cache.local, repo.stage_cache
    with open(number, encoding="utf-8") as pipe:
        text = pipe.read()
    if not text:
        return 1
    os.environ |= json.loads(text)
    signal.signal(signal.SIGINT, handler)
    from dvc.cli import main as run_dvc

    outcomes = Outcomes()
    logging.getLogger("dvc").addHandler(outcomes)
    sys.argv = ["dvc", *arguments]
    try:
        code: int = run_dvc(arguments)
    finally:
        if path := os.environ.get(OUTCOMES_PATH):
            Path(path).write_text(json.dumps(outcomes.found), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
